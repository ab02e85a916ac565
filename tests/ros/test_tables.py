"""The tables agree: names and QoS, the parameter file, the security policy, the processes. Needs no ROS."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from segzero_ros.cli.main import build_parser
from segzero_ros.config import parameters
from segzero_ros.ros import processes
from segzero_ros.ros.qos import ENDPOINTS

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config" / "segzero.yaml"
POLICY = ROOT / "config" / "sros2_policy.xml"
RULES = {
    "subscribe": ("topics", "subscribe"),
    "publish": ("topics", "publish"),
    "service": ("services", "reply"),
    "action": ("actions", "execute"),
}


def test_names_are_relative_so_that_they_can_be_moved():
    assert [name for name in ENDPOINTS if name.startswith(("/", "~"))] == ["/tf", "/tf_static", "/diagnostics"]
    assert all(endpoint.meaning for endpoint in ENDPOINTS.values())


def test_the_parameter_file_has_every_parameter_with_its_default_and_its_meaning():
    yaml = pytest.importorskip("yaml", reason="needs PyYAML, which ROS brings along")
    text = CONFIG.read_text(encoding="utf-8")
    assert yaml.safe_load(text) == {"/**": {"ros__parameters": {p.name: p.default for p in parameters()}}}
    lines = text.splitlines()
    for parameter in parameters():
        comment = lines[next(i for i, line in enumerate(lines) if line.strip().startswith(f"{parameter.name}:")) - 1]
        assert parameter.description[1:] in comment
        assert all(choice in comment for choice in parameter.choices)
        assert parameter.low is None or f"{parameter.low:g}..{parameter.high:g}" in comment
        assert parameter.live == ("live" in comment)


@pytest.mark.parametrize("name", ENDPOINTS)
def test_the_security_policy_allows_every_name_of_the_node(name):
    kind, rule = RULES[ENDPOINTS[name].role]
    allowed = ET.parse(POLICY).getroot().findall(f".//profile[@node='segzero']/{kind}[@{rule}='ALLOW']/*")  # noqa: S314
    assert name in [element.text for element in allowed]


def test_the_security_policy_allows_the_node_nothing_that_it_does_not_use():
    profile = ET.parse(POLICY).getroot().find(".//profile[@node='segzero']")  # noqa: S314
    names = {element.text for element in profile.iter() if element.tag in ("topic", "service", "action")}
    extra = names - set(ENDPOINTS)
    assert {name for name in extra if name[0] != "~"} == {"/clock", "/rosout", "/parameter_events"}


def test_the_demo_is_camera_node_and_client():
    table = processes.demo(command="the mug")
    assert [process.executable for process in table] == ["tabletop_camera", "segzero_node", "segzero"]
    assert [process.executable for process in processes.demo(camera="none")] == ["segzero_node"]


def test_cameras_have_one_host_and_a_node_each_that_is_told_where_it_is():
    host, *nodes = processes.cameras(cameras="front, left", namespace="arm", bundle="b", backend="onnx", use_depth=True)
    words = host.arguments
    assert (words[0], words[3:]) == ("host", ("--bundle", "b", "--backend", "onnx"))
    assert [node.namespace for node in nodes] == ["arm/front", "arm/left"]
    assert {node.parameters["host"] for node in nodes} == {words[2]}
    assert all(node.parameters["use_depth"] for node in nodes)
    assert [node.namespace for node in processes.cameras(cameras="a,b", host="/run/h.sock")] == ["a", "b"]


@pytest.mark.parametrize("names", ["", " , ", "front,front", "front,2nd", "a-b"])
def test_cameras_that_are_no_names_are_refused(names):
    with pytest.raises(ValueError, match=r"launch argument cameras: .*, want names with commas"):
        processes.cameras(cameras=names)


def test_every_process_of_the_table_can_be_started():
    for process in processes.demo(command="the mug", namespace="arm", image="/eye/image", config="/tmp/x.yaml"):  # noqa: S108
        executable = processes.executable_path(process.executable)
        assert executable.read_text(encoding="utf-8").startswith("#!/usr/bin/env python3\n")
        assert executable.stat().st_mode & 0o111
        words = process.command_line()
        assert words[words.index("--ros-args") :][-2:] == ["--log-level", f"arm.{process.name}:=info"]
        assert "__ns:=/arm" in words


def test_the_node_is_only_given_names_it_has():
    process = processes.node(bundle="b", backend="fake", image="/i", depth="/d", camera_info="/c", use_depth=True)
    assert set(process.parameters) <= {parameter.name for parameter in parameters()}
    assert set(process.remaps) <= set(ENDPOINTS)


def test_the_common_arguments_of_the_launch_files_are_the_nodes_and_change_nothing_by_default():
    table = processes.COMMON_ARGUMENTS
    defaults = {name: processes.read_argument(name, default) for name, (default, _, _) in table.items()}
    assert processes.node(**defaults) == processes.node()
    assert processes.demo(**defaults) == processes.demo()


def test_parameters_are_spelled_as_yaml_that_keeps_their_type():
    process = processes.node(bundle="it's: 7", use_depth=True)
    assert "bundle:='it''s: 7'" in process.ros_arguments()
    assert "use_depth:=true" in process.ros_arguments()


def test_an_unknown_executable_is_named():
    with pytest.raises(FileNotFoundError, match="no executable 'segzro_node'"):
        processes.executable_path("segzro_node")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("use_depth", "True", True),
        ("use_depth", "0", False),
        ("autostart", "OFF", False),
        ("respawn", "1", True),
        ("use_sim_time", "false", False),
        ("warm_frame_hz", "0", 0.0),
        ("warm_frame_hz", "7.5", 7.5),
        ("bundle", "20240501", "20240501"),
        ("model", "1e3", "1e3"),
        ("server", "", ""),
        ("namespace", "/robot1/arm", "/robot1/arm"),
    ],
)
def test_launch_arguments_have_the_type_of_their_parameter(name, text, value):
    read = processes.read_argument(name, text)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("use_depth", "perhaps"),
        ("respawn", "2"),
        ("warm_frame_hz", "fast"),
        ("warm_frame_hz", "-1"),
        ("warm_frame_hz", "nan"),
        ("backend", "cuda"),
        ("bundle", "./here"),
        ("namespace", "robot-1"),
        ("image", "/camera//image"),
        ("config", "/nowhere/robot.yaml"),
        ("config", "/tmp"),  # noqa: S108
    ],
)
def test_a_bad_launch_argument_is_named_with_what_is_wanted(name, text):
    with pytest.raises(ValueError, match=f"^launch argument {name}: .*{text}.*, want "):
        processes.read_argument(name, text)


@pytest.mark.parametrize(
    ("pushed", "namespace", "logger"),
    [
        ("", "", "segzero"),
        ("/robot1", "", "robot1.segzero"),
        ("robot1", "arm/left", "robot1.arm.left.segzero"),
        ("/robot1", "/arm", "arm.segzero"),
    ],
)
def test_the_log_level_is_that_of_the_logger_whatever_namespace_is_around(pushed, namespace, logger):
    process = processes.node(namespace=namespace, log_level="warn", enclave="/segzero")
    assert process.log_arguments(pushed) == ["--enclave", "/segzero", "--log-level", f"{logger}:=warn"]


@pytest.mark.parametrize("command", ["-h", "--json", "--wait=1", "the mug", "--"])
def test_a_command_that_looks_like_an_option_is_said_as_it_is(command):
    options = build_parser().parse_args([*processes.client(command).arguments, "--ros-args", "-r", "__ns:=/arm"])
    assert (options.command.strip(), options.wait, options.json) == (command, processes.NODE_WAIT_S, False)
