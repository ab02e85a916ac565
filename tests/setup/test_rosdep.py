"""What a robot's Python needs is what rosdep brings: every import of node and commands has a key, and none is pip's."""

import ast
import functools
import importlib.util
import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEYS = json.loads((Path(__file__).parent / "rosdep_keys.json").read_text("utf-8"))
PACKAGE = ET.parse(ROOT / "package.xml").getroot()  # noqa: S314
DEPENDENCIES = {element.text for element in PACKAGE if element.tag.endswith("depend")}
RUN = {element.text for element in PACKAGE if element.tag in ("depend", "exec_depend")}
STARTS = (  # what a robot's own Python runs: nodes, and every command but those that open engines here
    *("ros.executor.process", "ros.node", "ros.camera_node", "ros.client", "ros.processes"),
    *("cli.main", "cli.say", "cli.engines", "cli.host", "engines.install", "host.start"),
)
# The demo's camera needs MuJoCo, which no robot does; recordings need mcap, without which `record` is refused.
ELSEWHERE = (
    "segzero_ros.tabletop",
    "segzero_ros.backends.tensorrt",
    *(f"segzero_ros.recorder.{name}" for name in ("store", "reader", "finish")),
)


def file_of(module):
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache
def imported(module):
    """Every module that a file imports, late ones too, what is for type checkers only left out."""
    tree = ast.parse(file_of(module).read_text("utf-8"))
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    nodes = [node for node in ast.walk(tree) if id(node) not in typing_only]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            ours = [name for name in inside if name.startswith("segzero_ros.") and file_of(name).is_file()]
            names += ours or [node.module]
    return tuple(names)


def reached():
    """Every module of ours that STARTS lead to without an engine, and what they import of others: module -> file."""
    left, seen, foreign = [f"segzero_ros.{name}" for name in STARTS], set(), {}
    while left:
        module = left.pop()
        if module in seen or module.startswith(ELSEWHERE):
            continue
        seen.add(module)
        for name in imported(module):
            if name.startswith("segzero_ros") and file_of(name).is_file():
                left.append(name)
            elif not name.startswith("segzero_ros"):
                foreign.setdefault(name.partition(".")[0], module)
    return seen, foreign


def test_everything_that_a_robots_python_imports_has_a_key_in_package_xml():
    seen, foreign = reached()
    assert {"segzero_ros.ros.node", "segzero_ros.host.link", "segzero_ros.worker"} <= seen
    needed = {name: KEYS["modules"].get(name, name) for name in foreign if name not in sys.stdlib_module_names}
    assert {"rclpy", "numpy", "cv2"} <= needed.keys()
    assert {name: foreign[name] for name, key in needed.items() if key not in RUN} == {}


def test_the_environments_of_the_engines_can_be_made():
    """`segzero engines install` calls venv, which Debian and Ubuntu keep in a package of its own."""
    assert "python3-venv" in RUN


@pytest.mark.parametrize("distribution", sorted(KEYS["released"]))
def test_every_dependency_is_released_or_a_key_of_the_system(distribution):
    known = {*KEYS["released"][distribution], *KEYS["ubuntu"]}
    assert DEPENDENCIES - known == set()


def test_no_key_installs_by_pip():
    assert all(isinstance(packages, list) and packages for packages in KEYS["ubuntu"].values())
    assert not [name for name in DEPENDENCIES if re.search(r"-pip$", name)]


def test_the_table_holds_no_key_that_nothing_uses():
    assert {*KEYS["ubuntu"]} - DEPENDENCIES == set()
    assert {*KEYS["modules"].values()} - DEPENDENCIES == set()


def test_the_search_sees_a_late_import(tmp_path, monkeypatch):
    (tmp_path / "late.py").write_text("def f():\n    import onnxruntime\n")
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert imported.__wrapped__("late") == ("onnxruntime",)


def test_this_pythons_own_modules_are_what_they_say():
    assert [name for name in KEYS["modules"] if importlib.util.find_spec(name) is None] == []
