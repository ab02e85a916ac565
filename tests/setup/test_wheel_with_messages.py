"""The two wheels: pure without the messages; with them of one Python, libraries where ROS 2's wheels have theirs."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import setuptools

ROOT = Path(__file__).parents[2]


def set_up(monkeypatch: pytest.MonkeyPatch, environment: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The names of setup.py, and what it hands to setuptools."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **options: given.update(options))
    monkeypatch.setenv("SEGZERO_WITH_MESSAGES", environment)
    return runpy.run_path(str(ROOT / "setup.py")), given


@pytest.mark.parametrize(("environment", "pure"), [("", True), (".venv", False)])
def test_only_a_wheel_with_messages_is_of_one_machine(environment, pure, monkeypatch) -> None:
    _, given = set_up(monkeypatch, environment)
    assert bool(given["distclass"]().has_ext_modules()) is not pure


@pytest.mark.parametrize("missing", ["bin/python", "bin/cmake", "lib"])
def test_an_environment_that_cannot_build_them_is_refused_in_words(missing, tmp_path, monkeypatch) -> None:
    parts = {"bin/python", "bin/cmake", "lib"} - {missing}
    (tmp_path / "bin").mkdir()
    for part in parts - {"lib"}:
        (tmp_path / part).touch()
    if "lib" in parts:
        (tmp_path / f"lib/python{sys.version_info.major}.{sys.version_info.minor}").mkdir(parents=True)
    names, _ = set_up(monkeypatch, str(tmp_path))
    with pytest.raises(SystemExit, match="run make setup with this Python"):
        names["messages"]()


def test_a_build_that_fails_says_what_the_tools_said(monkeypatch) -> None:
    names, _ = set_up(monkeypatch, ".venv")
    with pytest.raises(SystemExit, match=r"(?s)could not be built.*no such thing"):
        names["run"]([sys.executable, "-c", "import sys; sys.exit('no such thing')"])


def test_libraries_and_index_go_beside_ros_and_nothing_of_the_building_machine_does(tmp_path, monkeypatch) -> None:
    names, _ = set_up(monkeypatch, ".venv")
    index = "share/ament_index/resource_index"
    taken = ["lib/liba.so", "share/segzero_ros/msg/A.msg", "share/segzero_ros/package.xml", f"{index}/packages/a"]
    left = ["lib/python3.11/a.py", "share/segzero_ros/cmake/a.cmake", f"{index}/parent_prefix_path/a"]
    left += ["share/segzero_ros/local_setup.bash", "share/segzero_ros/hook/path.dsv"]
    for name in taken + left:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files = names["files_beside"](tmp_path)
    assert sorted(f"{folder}/{Path(file).name}" for folder, found in files for file in found) == sorted(taken)
