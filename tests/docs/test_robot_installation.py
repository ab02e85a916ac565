"""What the documents tell a robot's owner to install goes where it may, in versions that live with ROS 2's own."""

import re

import pytest

from tests.docs.test_readme import DOCS, all_commands
from tools.readme import ROOT

GETTING_STARTED = (ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")
ENVIRONMENT = re.compile(r"(\S*/bin/(pip|python -m pip)) install ")


def test_nothing_is_installed_into_the_systems_python():
    """PEP 668: Ubuntu 24.04's pip refuses."""
    lines = [line for line in all_commands(r".*pip install") if not line.startswith("setup.py ")]  # the README's tree
    assert lines
    assert [line for line in lines if not ENVIRONMENT.search(line)] == []


@pytest.mark.parametrize("line", all_commands(r".*/segzero/bin/pip install"))
def test_numpy_stays_what_ros_was_compiled_against(line):
    assert '"numpy<2"' in line
    assert "runtime.txt" not in line


def test_the_environment_sees_ros_and_is_made_before_it_is_used():
    lines = [line.strip() for line in GETTING_STARTED.splitlines()]
    made = lines.index("python3 -m venv --system-site-packages ~/segzero")
    used = [at for at, line in enumerate(lines) if "segzero/bin" in line]
    assert used and min(used) > made


def test_the_versions_are_the_tested_ones_but_for_numpy():
    pinned = (ROOT / "requirements" / "constraints.txt").read_text(encoding="utf-8")
    wanted = re.findall(r"([\w-]+==[\d.]+)", re.search(r'bin/pip install "numpy<2" (.*)', GETTING_STARTED).group(1))
    assert [name for name in wanted if name.lower() not in pinned.lower()] == []
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    assert [name for name in wanted if name not in dockerfile] == []


def test_it_is_said_what_was_tried_and_what_was_not():
    assert {"tried", "not tried", "does not work"} <= set(
        re.findall(r"^\| ([a-z ]+) \|", GETTING_STARTED, re.MULTILINE)
    )


def test_no_document_promises_a_distribution_that_is_about_to_end():
    pages = [*DOCS, ROOT / "CMakeLists.txt", *sorted(ROOT.glob("tools/*.py"))]
    assert [page.name for page in pages if "kilted" in page.read_text(encoding="utf-8").lower()] == []
