"""The trial in a clean root gives it what package.xml names and nothing that would hide a missing dependency."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "try_install.sh"
PACKAGE_XML = (ROOT / "package.xml").read_text(encoding="utf-8")
PACKAGES = set(re.search(r"^packages=(\S+)$", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE).group(1).split(","))


@pytest.mark.parametrize("name", ["try_install.sh", "try_wheel.sh"])
def test_it_is_shell(name):
    subprocess.run(["bash", "-n", ROOT / "tools" / name], check=True)


def test_the_root_has_what_rosdep_would_install():
    assert set(re.findall(r"<exec_depend>(python3-[\w-]+)</exec_depend>", PACKAGE_XML)) <= PACKAGES


def test_the_root_has_no_python_package_besides():
    python = {name for name in PACKAGES if name.startswith("python3-")}
    keys = set(re.findall(r"<exec_depend>(python3-[\w-]+)</exec_depend>", PACKAGE_XML))
    assert python - keys == {"python3-dev"}  # for CMake, which builds the messages
