"""The launch files, under the real `launch` and `launch_ros`, which come with a ROS installation and not from PyPI."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("launch", reason="needs `launch`, which comes with a ROS installation")
pytest.importorskip("launch_ros", reason="needs `launch_ros`, which comes with a ROS installation")

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    IncludeLaunchDescription,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessExit, OnProcessIO
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource

from launch import LaunchContext, LaunchDescription, LaunchService
from segzero_ros.ros import processes

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "launch").glob("*.launch.py"))
OF_BRINGUPS = ("autostart", "use_sim_time", "respawn", "enclave")
PATIENCE_S = 120.0


def module_of(file: Path):
    spec = importlib.util.spec_from_file_location(file.name.replace(".", "_"), file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def started(file: Path, **arguments: str):
    """What a launch file starts with these arguments: (package, executable, command line) each."""
    context = LaunchContext()
    *declared, start = module_of(file).generate_launch_description().entities
    for argument in declared:
        argument.visit(context)
    context.launch_configurations.update(arguments)
    return [(node.node_package, node.node_executable, node) for node in start.execute(context)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_argument_has_a_meaning_and_a_default_that_works(file):
    description = module_of(file).generate_launch_description()
    declared = [entity for entity in description.entities if isinstance(entity, DeclareLaunchArgument)]
    assert {"image", "bundle", "namespace", "backend", "use_depth", "config", "log_level", *OF_BRINGUPS} <= {
        a.name for a in declared
    }
    assert all(argument.description and argument.default_value is not None for argument in declared)
    assert started(file)


def test_the_demo_starts_the_processes_of_the_table():
    file = ROOT / "launch" / "demo.launch.py"
    names = [(package, executable) for package, executable, _ in started(file, command="the mug")]
    assert names == [(processes.PACKAGE, process.executable) for process in processes.demo(command="the mug")]
    assert [executable for _, executable, _ in started(file, camera="none")] == ["segzero_node"]


def test_cameras_start_one_host_and_a_node_each():
    file = ROOT / "launch" / "cameras.launch.py"
    table = [executable for _, executable, _ in started(file, cameras="front,left,arm/hand")]
    assert table == ["segzero", "segzero_node", "segzero_node", "segzero_node"]
    assert [executable for _, executable, _ in started(file, host="/run/host.sock")] == ["segzero_node"] * 2


def test_a_wrong_choice_is_refused_by_name():
    module = module_of(ROOT / "launch" / "demo.launch.py")
    context = LaunchContext()
    context.launch_configurations["camera"] = "webcam"
    argument = next(e for e in module.generate_launch_description().entities if getattr(e, "name", "") == "camera")
    with pytest.raises(RuntimeError, match="webcam"):
        argument.visit(context)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
@pytest.mark.parametrize(
    ("name", "text"), [("config", "/nowhere.yaml"), ("warm_frame_hz", "often"), ("use_depth", "2")]
)
def test_a_wrong_value_is_refused_by_its_arguments_name(file, name, text):
    with pytest.raises(ValueError, match=f"launch argument {name}: got '{text}'"):
        started(file, **{name: text})


@pytest.mark.parametrize(("file", "respawned"), [("segzero.launch.py", True), ("demo.launch.py", False)])
def test_the_node_alone_is_started_again_when_it_ends(file, respawned):
    wanted = {"": respawned, "true": True, "off": False}
    for text, respawn in wanted.items():
        given = {"respawn": text} if text else {}
        nodes = {executable: node for _, executable, node in started(ROOT / "launch" / file, command="mug", **given)}
        again = {executable for executable, node in nodes.items() if node._ExecuteLocal__respawn}
        assert again == ({"segzero_node"} if respawn else set())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_node_comes_up_and_ends_with_status_0(file, monkeypatch):
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    said, statuses = [], []

    def on_output(event):
        said.append(event.text.decode())
        return EmitEvent(event=Shutdown(reason="it is up")) if "active: say" in said[-1] else None

    arguments = {"backend": "fake", "namespace": "arm"} | ({"camera": "none"} if "demo" in file.name else {})
    service = LaunchService(noninteractive=True)
    service.include_launch_description(
        LaunchDescription(
            [
                IncludeLaunchDescription(PythonLaunchDescriptionSource(str(file)), launch_arguments=arguments.items()),
                RegisterEventHandler(OnProcessIO(on_stdout=on_output, on_stderr=on_output)),
                RegisterEventHandler(OnProcessExit(on_exit=lambda event, _: statuses.append(event.returncode))),
                TimerAction(period=PATIENCE_S, actions=[EmitEvent(event=Shutdown(reason="it never came up"))]),
            ]
        )
    )
    service.run()
    assert "active: say" in "".join(said)
    assert ("arm.front.segzero" if "cameras" in file.name else "arm.segzero") in "".join(said)
    assert set(statuses) == {0}
