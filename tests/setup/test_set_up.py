"""The set-up says clearly what is missing, goes on where it stopped, and keeps the machine's own ROS 2 out."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> ModuleType:
    """Import tools/`name`.py, which is a script's neighbour and no package."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "tools"))


machine, mend_ros_wheels, ros_env, set_up = map(load, ["machine", "mend_ros_wheels", "ros_env", "set_up"])


# -- Python -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "supported"), [((3, 10), False), ((3, 11), True), ((3, 14), True), ((3, 15), False)]
)
def test_only_pythons_with_wheels_are_taken(version: tuple[int, int], supported: bool) -> None:
    assert machine.is_supported(version) is supported


def test_an_old_python_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine.sys, "version_info", (3, 10, 12, "final", 0))
    monkeypatch.setattr(machine.platform, "python_version", lambda: "3.10.12")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(machine.CannotGoOn, match=r"3\.11 to 3\.14 is needed, and python3 is 3\.10\.12.*make PYTHON="):
        machine.usable_python()


def test_a_newer_python_beside_an_old_one_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "python3.12").symlink_to(sys.executable)
    monkeypatch.setattr(machine.sys, "version_info", (3, 10, 12, "final", 0))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.usable_python() == str(tmp_path / "python3.12")


# -- System packages --------------------------------------------------------------------------------------------------


def test_missing_packages_are_one_line_to_copy_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(machine, "missing_packages", lambda python, *, build: ["g++", "libegl1"])
    monkeypatch.setattr(set_up, "is_done", lambda step, text: False)
    assert set_up.main(["demo"]) == 2
    message = capsys.readouterr().err
    assert "\n    sudo apt-get update && sudo apt-get install -y g++ libegl1\n" in message


def test_root_gets_missing_packages_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ["libegl1"]
    monkeypatch.setattr(machine.os, "geteuid", lambda: 0)
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(machine, "missing_packages", lambda python, *, build: list(missing))
    monkeypatch.setattr(machine, "install_packages", lambda packages: [missing.remove(name) for name in packages])
    machine.require_packages("python3", build=True)
    assert missing == []


def test_a_library_that_is_not_there_is_missed() -> None:
    assert not machine.can_load("libsegzero_nowhere.so.1")


def test_another_machine_than_x86_64_is_sent_to_its_own_ros(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.platform, "machine", lambda: "aarch64")
    with pytest.raises(machine.CannotGoOn, match=r"aarch64 Linux.*colcon build"):
        machine.require_wheels_of_ros()


# -- Steps ------------------------------------------------------------------------------------------------------------


def test_a_step_is_done_until_its_inputs_change(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(set_up, "VENV", tmp_path)
    assert not set_up.is_done("ros", "a")
    set_up.mark_done("ros", "a")
    assert set_up.is_done("ros", "a")
    assert not set_up.is_done("ros", "b")
    set_up.mark_undone("ros")
    assert not set_up.is_done("ros", "a")


def test_half_installed_packages_are_installed_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(set_up, "site_packages", lambda: tmp_path)
    whole, half = tmp_path / "whole-1.dist-info", tmp_path / "half-1.dist-info"
    for record in (whole, half):
        record.mkdir()
        (record / "METADATA").write_text("Name: x\n")
    (whole / "INSTALLER").write_text("pip\n")
    set_up.drop_half_installed()
    assert (whole.exists(), half.exists()) == (True, False)


def test_a_failed_step_is_named_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(groups: tuple[str, ...]) -> None:
        set_up.run([sys.executable, "-c", "raise SystemExit(3)"], "a cup of tea")

    monkeypatch.setattr(set_up, "set_up", fail)
    assert set_up.main(["demo"]) == 1
    assert "could not make a cup of tea. What was finished is kept: run make again" in capsys.readouterr().err


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(groups: tuple[str, ...]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(set_up, "set_up", interrupt)
    assert set_up.main(["demo"]) == 130
    assert "interrupted. What was finished is kept: run make again" in capsys.readouterr().err


# -- The wheels' CMake files ------------------------------------------------------------------------------------------

EXPORT = """set_target_properties(std_msgs::std_msgs__rosidl_generator_py PROPERTIES
  INTERFACE_INCLUDE_DIRECTORIES "${_IMPORT_PREFIX}/include/std_msgs;/opt/python/cp311-cp311/include/python3.11;%s"
)
"""


@pytest.mark.parametrize("version", ["cp310-cp310", "cp313-cp313", "cp314-cp314t"])
def test_mending_replaces_both_directories_once(tmp_path: Path, version: str) -> None:
    python = "python3." + version[3:5] + ("t" if version.endswith("t") else "")
    numpy = f"/opt/python/{version}/lib/{python}/site-packages/numpy/_core/include"
    cmake = tmp_path / "share" / "std_msgs" / "cmake" / "export.cmake"
    cmake.parent.mkdir(parents=True)
    cmake.write_text(EXPORT.replace("cp311-cp311/include/python3.11", f"{version}/include/{python}") % numpy)

    assert mend_ros_wheels.mend(tmp_path, "/usr/include/python3", r"/venv\1/numpy") == [cmake]
    mended = cmake.read_text()
    assert r'"${_IMPORT_PREFIX}/include/std_msgs;/usr/include/python3;/venv\1/numpy"' in mended

    assert mend_ros_wheels.mend(tmp_path, "/usr/include/python3", r"/venv\1/numpy") == []
    assert cmake.read_text() == mended


# -- The environment --------------------------------------------------------------------------------------------------


@pytest.fixture
def venv(tmp_path: Path) -> str:
    """Make the directories of a set-up that is complete."""
    for name in ("bin", "lib/python3.11/site-packages/ros_rcl.libs", "ros/install/lib"):
        (tmp_path / name).mkdir(parents=True)
    return str(tmp_path)


def test_the_interfaces_libraries_come_after_the_wheels(venv: str) -> None:
    libraries = ros_env.ros_environment(venv, {})["LD_LIBRARY_PATH"].split(":")
    wheels = [f"{venv}/lib", f"{venv}/lib/python3.11/site-packages/ros_rcl.libs"]
    assert libraries == [*wheels, f"{venv}/ros/install/lib"]


def test_entering_twice_changes_nothing(venv: str) -> None:
    once = ros_env.ros_environment(
        venv, {"PATH": "/usr/bin", "AMENT_PREFIX_PATH": "/opt/ros/humble:/home/a/ws/install"}
    )
    assert ros_env.ros_environment(venv, once) == once


def test_the_machines_own_ros_is_kept_out_with_all_that_is_built_on_it(venv: str) -> None:
    machines = {
        "AMENT_PREFIX_PATH": "/home/a/ws/install/robot:/opt/ros/jazzy",
        "PYTHONPATH": "/home/a/ws/install/robot/lib/python3.12:/opt/ros/jazzy/lib/python3.12/site-packages",
        "LD_LIBRARY_PATH": "/opt/ros/jazzy/lib:/usr/local/cuda/lib64",
        "PATH": "/opt/ros/jazzy/bin:/usr/bin",
        "RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp",
        "HOME": "/home/a",
    }
    entered = ros_env.ros_environment(venv, machines)
    assert entered["AMENT_PREFIX_PATH"] == f"{venv}/ros/install:{venv}"
    assert "PYTHONPATH" not in entered
    assert entered["LD_LIBRARY_PATH"].endswith(f"{venv}/ros/install/lib:/usr/local/cuda/lib64")
    assert entered["PATH"] == f"{venv}/bin:/usr/bin"
    assert "RMW_IMPLEMENTATION" not in entered
    assert entered["HOME"] == "/home/a"


def test_an_overlay_on_the_wheels_stays(venv: str) -> None:
    entered = ros_env.ros_environment(
        venv, {"AMENT_PREFIX_PATH": "/home/a/overlay", "PYTHONPATH": "/home/a/overlay/site"}
    )
    assert entered["AMENT_PREFIX_PATH"] == f"{venv}/ros/install:{venv}:/home/a/overlay"
    assert entered["PYTHONPATH"] == "/home/a/overlay/site"


@pytest.mark.skipif(not (ROOT / ".venv" / ".set-up").exists(), reason="no .venv made by make")
def test_python_of_the_venv_needs_no_environment(tmp_path: Path) -> None:
    """It finds ROS 2, the interfaces and the source tree with nothing set, from anywhere, and hands that on."""
    child = "import rclpy, segzero_ros.msg, segzero_ros; print(segzero_ros.__file__)"
    parent = f"import subprocess; subprocess.run(['python3', '-c', {child!r}], check=True)"
    python = ROOT / ".venv" / "bin" / "python"
    bare = {"HOME": str(tmp_path)}
    run = subprocess.run([python, "-c", parent], cwd=tmp_path, env=bare, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == str(ROOT / "segzero_ros" / "__init__.py"), run.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "tools").glob("*.py")), ids=lambda path: path.name)
def test_the_set_up_can_be_read_by_pythons_too_old_for_the_wheels(path: Path) -> None:
    """Else what the user of one sees would be a syntax error, and not what to do."""
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
