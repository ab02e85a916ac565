"""package.xml, CMakeLists.txt and the Makefile say what the repository holds."""

import ast
import re
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ET.parse(ROOT / "package.xml").getroot()  # noqa: S314
DEPENDENCIES = {element.text for element in PACKAGE if str(element.tag).endswith("depend")}
VERSION = PACKAGE.findtext("version")

#: Modules of ROS 2 that the code may import, and the package that brings each.
ROS_MODULE = re.compile(r"(rclpy|launch|launch_ros|launch_testing|ament_index_python|\w+_(msgs|srvs|interfaces))(\.|$)")


def imported_modules(path: Path) -> Iterator[str]:
    """Return every module that a Python file names in an import, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"\w+\.msg", node.value):
            yield node.value  # importlib.import_module("vision_msgs.msg")


def ros_imports(*folders: str) -> dict[str, str]:
    """Return the ROS packages that the Python files below `folders` import, each with one file that does."""
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return {
        module.split(".")[0]: str(path.relative_to(ROOT))
        for path in files
        for module in imported_modules(path)
        if ROS_MODULE.match(module)
    }


def test_package_xml_lists_every_ros_package_that_is_imported() -> None:
    imported = ros_imports("segzero_ros", "launch", "tests/ros")
    assert imported
    assert {name: file for name, file in imported.items() if name not in DEPENDENCIES} == {}


def test_package_xml_names_no_rosdep_key_of_pip() -> None:
    """Bloom cannot release a package that depends on one."""
    assert not [name for name in DEPENDENCIES if name.endswith("-pip")]


def test_colcon_test_runs_folders_that_are_there() -> None:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    folders = re.findall(r"ament_add_pytest_test\(\w+ (\S+)", text.partition("if(BUILD_TESTING)")[2])
    assert folders
    assert not [folder for folder in folders if not any((ROOT / folder).glob("test_*.py"))]


def test_package_xml_lists_every_package_that_the_build_looks_for() -> None:
    found = set(re.findall(r"find_package\((\w+)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")))
    assert found <= DEPENDENCIES


def test_cmake_builds_every_interface_there_is() -> None:
    listed = set(re.findall(r'"((?:msg|action)/\w+\.\w+)"', (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")))
    assert listed == {str(path.relative_to(ROOT)) for folder in ("msg", "action") for path in (ROOT / folder).iterdir()}


def test_package_xml_is_one_for_interfaces_built_with_ament_cmake() -> None:
    assert (PACKAGE.tag, PACKAGE.get("format"), PACKAGE.findtext("name")) == ("package", "3", "segzero_ros")
    assert PACKAGE.findtext("member_of_group") == "rosidl_interface_packages"
    assert PACKAGE.findtext("export/build_type") == "ament_cmake"
    assert PACKAGE.findtext("license") == "Apache-2.0"


def test_there_is_one_version_number() -> None:
    assert f'\nversion = "{VERSION}"\n' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'__version__ = "{VERSION}"' in (ROOT / "segzero_ros" / "__init__.py").read_text(encoding="utf-8")


def test_what_ros_finds_as_an_executable_is_one() -> None:
    for script in (ROOT / "scripts").iterdir():
        assert script.read_text(encoding="utf-8").startswith("#!/usr/bin/env python3\n"), script
        assert script.stat().st_mode & 0o111 == 0o111, script


@pytest.mark.parametrize("arguments", [[], ["help"]], ids=["make", "make help"])
def test_make_lists_its_targets(arguments: list[str]) -> None:
    listing = subprocess.run(
        ["make", "--no-print-directory", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert phony
    assert re.findall(r"^  make ([\w-]+)", listing.stdout, re.MULTILINE) == phony[1].split()
