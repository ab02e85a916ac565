"""What the documents have a robot's owner install goes where it may: Debian packages, an environment for engines."""

import re

import pytest

from segzero_ros.engines.environment import INSTALLABLE
from tests.docs.test_readme import DOCS, all_commands
from tools.readme import ROOT

GETTING_STARTED = (ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")
DISTRIBUTIONS = ("jazzy", "humble", "lyrical")
ENVIRONMENT = re.compile(r"(\S*/bin/(pip|python -m pip)) install ")


def test_nothing_is_installed_into_the_systems_python():
    """PEP 668: Ubuntu 24.04's pip refuses."""
    lines = [line for line in all_commands(r".*pip install") if not line.startswith("setup.py ")]  # the README's tree
    assert lines
    assert [line for line in lines if not ENVIRONMENT.search(line)] == []


def test_engines_come_by_the_command_and_not_by_pip():
    engines = re.compile(r"pip install.*(onnxruntime|tensorrt-(rtx|llm)|cuda-bindings)")
    assert [line for line in all_commands(r".*pip install") if engines.search(line)] == []
    named = [re.search(r"engines install(?: (\w+))?", line).group(1) for line in all_commands(r".*engines install")]
    assert {name for name in named if name} <= {*INSTALLABLE}
    assert set(named) >= {None, "cuda", "tensorrt", "tensorrt_llm"}


@pytest.mark.parametrize("page", ["getting-started.md", *(f"deploy/{name}.md" for name in DISTRIBUTIONS)])
def test_a_robot_gets_its_engines_before_it_is_launched(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    block = next(block for block in text.split("```") if "engines install" in block and "ros2 launch" in block)
    assert block.index("engines install") < block.index("ros2 launch")


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_each_distribution_says_what_was_run_and_what_was_not(name):
    text = (ROOT / "docs" / "deploy" / f"{name}.md").read_text(encoding="utf-8")
    assert "## What was run" in text and "\nNot run: " in text
    assert f"({name}.md)" in (ROOT / "docs" / "deploy" / "README.md").read_text(encoding="utf-8")


def test_it_is_said_what_was_tried_and_what_was_not():
    assert {"tried", "not tried", "does not work"} <= set(
        re.findall(r"^\| ([a-z ]+) \|", GETTING_STARTED, re.MULTILINE)
    )


def test_no_document_promises_a_distribution_that_is_about_to_end():
    pages = [*DOCS, ROOT / "CMakeLists.txt", *sorted(ROOT.glob("tools/*.py"))]
    assert [page.name for page in pages if "kilted" in page.read_text(encoding="utf-8").lower()] == []
