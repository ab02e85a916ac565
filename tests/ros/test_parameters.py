"""Parameters: declared with descriptions and ranges; what does not fit is refused with a reason."""

import pytest
from rcl_interfaces.srv import DescribeParameters, SetParametersAtomically
from rclpy.parameter import Parameter

from segzero_ros.config import parameters
from segzero_ros.errors import Code
from segzero_ros.ros import processes
from segzero_ros.ros.parameters import shared_names
from tests.ros import robot as robots

SHARED = """
/**:
  ros__parameters:
    use_sim_time: false
    max_vel_x: 0.5
    costmap: {width: 3}
    stale_sec: 7
"""


def test_every_parameter_is_declared_with_its_description_and_range(robot):
    known = parameters()
    request = DescribeParameters.Request(names=[parameter.name for parameter in known])
    described = robot.call(DescribeParameters, "segzero/describe_parameters", request).descriptors
    for parameter, descriptor in zip(known, described, strict=True):
        assert (descriptor.name, descriptor.description) == (parameter.name, parameter.description)
        spans = [*descriptor.integer_range, *descriptor.floating_point_range]
        assert [(span.from_value, span.to_value) for span in spans] == (
            [] if parameter.low is None else [(parameter.low, parameter.high)]
        )


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("busy_policy", "prempt", "did you mean 'preempt'"),
        ("timeout_sec", 1e9, "timeout_sec"),
        ("timeout_sec", "soon", "timeout_sec"),
        ("overlay_quality", 0, "overlay_quality"),
        ("bundle", "./here", "absolute path"),
        ("timeout_secs", 3.0, "timeout_secs"),
    ],
)
def test_a_bad_value_is_refused_with_a_reason_and_the_node_goes_on(robot, name, value, says):
    result = robot.set_parameter(name, value)
    assert not result.successful
    assert says in result.reason
    robot.publish_image()
    robot.send_command("the mug")
    assert robot.answer().code == Code.OK


def test_a_good_value_is_taken_at_once_or_at_the_next_configure(robot):
    assert robot.set_parameter("timeout_sec", 12.5).successful
    assert robot.set_parameter("busy_policy", "reject").successful
    assert robot.get_parameters("timeout_sec", "busy_policy") == [12.5, "reject"]
    assert robot.node._worker._busy_policy == "preempt"
    robot.enable(False)
    assert robot.change_state("cleanup")
    assert robot.enable(True).success
    assert robot.node._worker._busy_policy == "reject"


def test_a_parameter_of_before_is_taken_at_start_under_its_new_name(make_robot):
    robot = make_robot(speculate=3).is_("active")
    assert robot.get_parameters("draft_tokens") == [3]
    result = robot.set_parameter("speculate", 4)
    assert not result.successful
    assert "'draft_tokens' now" in result.reason


def test_an_unknown_parameter_at_start_keeps_the_node_unconfigured_and_is_named(make_robot):
    robot = make_robot(busy_polcy="reject").is_("unconfigured")
    reply = robot.enable(True)
    assert not reply.success
    assert "CONFIG_UNKNOWN" in reply.message
    assert "did you mean 'busy_policy'" in reply.message
    robot.send_command("the mug")
    assert robot.answer().code == Code.NOT_ACTIVE


def test_a_bad_value_at_start_keeps_the_node_unconfigured_until_it_is_mended(make_robot):
    robot = make_robot(timeout_sec=-3.0, busy_policy="shrug").is_("unconfigured")
    assert "CONFIG_VALUE" in robot.enable(True).message
    assert robot.set_parameter("timeout_sec", 3.0).successful
    assert "busy_policy" in robot.enable(True).message
    assert robot.set_parameter("busy_policy", "reject").successful
    assert robot.enable(True).success


def test_a_whole_number_is_fine_where_a_fraction_is_meant(make_robot):
    robot = make_robot(timeout_sec=3).is_("active")
    assert robot.get_parameters("timeout_sec") == [3.0]


@pytest.mark.parametrize(("name", "value"), [("stale_sec", 30), ("warm_frame_hz", 0), ("timeout_sec", 3600)])
def test_a_whole_number_can_be_set_where_a_fraction_is_meant(robot, name, value):
    assert robot.set_parameter(name, value).successful
    (now,) = robot.get_parameters(name)
    assert (now, type(now)) == (value, float)


@pytest.mark.parametrize("wrong", [99, "soon", True, -1])
def test_a_refused_set_mends_nothing(make_robot, wrong):
    robot = make_robot(stale_sec=1000.0).is_("unconfigured")
    assert not robot.set_parameter("stale_sec", wrong).successful
    assert "1000" in robot.enable(True).message
    assert robot.set_parameter("stale_sec", 30).successful
    assert robot.enable(True).success
    assert robot.get_parameters("stale_sec") == [30.0]


def test_of_several_set_at_once_a_bad_one_keeps_all_as_they_were(make_robot):
    robot = make_robot(busy_policy="shrug").is_("unconfigured")
    both = [Parameter("busy_policy", value="reject"), Parameter("timeout_sec", value=0)]
    request = SetParametersAtomically.Request(parameters=[parameter.to_parameter_msg() for parameter in both])
    result = robot.call(SetParametersAtomically, "segzero/set_parameters_atomically", request).result
    assert not result.successful
    assert "timeout_sec" in result.reason
    assert robot.get_parameters("timeout_sec") == [30.0]
    assert "shrug" in robot.enable(True).message


def from_file(monkeypatch, tmp_path, text):
    """The node's options change to those of one that is started with this parameter file."""
    file = tmp_path / "robot.yaml"
    file.write_text(text, encoding="utf-8")
    made = robots.GroundingNode
    words = ["--ros-args", "--params-file", str(file)]
    monkeypatch.setattr(robots, "GroundingNode", lambda **options: made(cli_args=words, **options))


def test_other_nodes_names_in_a_shared_file_do_not_keep_the_node_from_starting(make_robot, monkeypatch, tmp_path):
    from_file(monkeypatch, tmp_path, SHARED)
    robot = robots.start_node()
    assert robot._settings._faults == {}
    assert robot.get_parameter("timeout_sec").value == 30.0
    robot.destroy_node()
    assert make_robot(first_frame_sec=1.0).is_("active")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (SHARED.replace("max_vel_x", "busy_polcy"), "busy_polcy"),
        (SHARED.replace("/**", "/segzero"), "max_vel_x"),
        (SHARED + "/**/segzero:\n  ros__parameters: {max_vel_x: 1.0}\n", "max_vel_x"),
    ],
)
def test_a_name_misspelled_or_given_to_this_node_alone_does(make_robot, monkeypatch, tmp_path, text, name):
    from_file(monkeypatch, tmp_path, text)
    message = make_robot().is_("unconfigured").enable(True).message
    assert message.startswith("CONFIG_UNKNOWN")
    assert name in message or "costmap.width" in message


def test_a_name_on_the_command_line_is_this_nodes(tmp_path):
    file = tmp_path / "robot.yaml"
    file.write_text(SHARED, encoding="utf-8")
    words = ["--ros-args", "--params-file", str(file), "-p", "max_vel_x:=1.0", "-p", "segzero:use_sim_time:=true"]
    assert shared_names(words, "segzero") == {"costmap.width", "stale_sec"}
    assert shared_names(["--ros-args", "--params-file", str(tmp_path / "none.yaml")], "segzero") == frozenset()


OWN = """
/**:
  ros__parameters: {bundle: shared, model: "1e3", use_depth: true, timeout_sec: 3, fallback: false}
segzero:
  ros__parameters: {bundle: own, warm_frame_hz: 5.0, server: "http://own/v1", backend: onnx}
/**/segzero:
  ros__parameters: {bundle: wild, backend: remote}
"""


def launched(ros, process):
    """The parameters that reach a node which launch starts with the files of ``process``."""
    from rclpy.node import Node

    words = [word for file in processes.parameter_files(process) for word in ("--params-file", file)]
    node = Node("segzero", cli_args=["--ros-args", *words], start_parameter_services=False)
    given = {name: parameter.value for name, parameter in node._parameter_overrides.items()}
    node.destroy_node()
    return given


@pytest.mark.parametrize(
    "value", ["20240501", "007", "1e3", "1_000", "1.5", "yes", "off", "null", "~", "it's: [7]", "\u7ea2"]
)
def test_a_text_stays_a_text_on_its_way_through_launch(ros, value):
    assert launched(ros, processes.node(bundle=value, model=value)) == {"bundle": value, "model": value}


@pytest.mark.parametrize("made", [processes.node, lambda **given: processes.demo(camera="none", **given)[0]])
def test_an_argument_wins_over_every_section_of_a_file_and_the_file_over_defaults(ros, tmp_path, made):
    file = tmp_path / "robot.yaml"
    file.write_text(OWN, encoding="utf-8")
    alone = launched(ros, made(config=str(file)))
    assert (alone["bundle"], alone["use_depth"], alone["model"], alone["warm_frame_hz"]) == ("wild", True, "1e3", 5.0)
    file.write_text(OWN.replace("use_depth: true", "use_depth: false, first_frame_sec: 2.5"), encoding="utf-8")
    alone = launched(ros, made(config=str(file)))
    assert (alone["use_depth"], alone["first_frame_sec"]) == (False, 2.5)
    given = {"bundle": "mine", "warm_frame_hz": 0.0, "use_depth": True, "backend": "fake"}
    both = launched(ros, made(config=str(file), **given))
    assert {name: both[name] for name in given} == given
    assert (both["server"], both["model"], both["fallback"], both["timeout_sec"]) == ("http://own/v1", "1e3", False, 3)


def test_the_demo_places_objects_and_waits_for_its_camera_unless_told_otherwise(ros):
    assert launched(ros, processes.demo(camera="none")[0]) == {"use_depth": True, "first_frame_sec": 60.0}
    assert launched(ros, processes.demo(camera="none", use_depth=False)[0])["use_depth"] is False


@pytest.mark.parametrize("text", ["~nobody-here/robot.yaml", "x" * 5000, "nowhere.yaml", "/"])
def test_a_parameter_file_that_is_not_there_is_named_whatever_it_is_called(text):
    with pytest.raises(ValueError, match="launch argument config: got"):
        processes.read_argument("config", text)


@pytest.mark.parametrize("text", ["{", "a: b\n---\nc: d", "\t: x", "[" * 3000], ids=["open", "two", "tab", "deep"])
def test_a_parameter_file_that_is_none_is_one_line(tmp_path, text):
    (tmp_path / "robot.yaml").write_text(text)
    with pytest.raises(ValueError, match="is no parameter file") as refused:
        processes.parameter_files(processes.node(config=str(tmp_path / "robot.yaml"), bundle="x"))
    assert "\n" not in str(refused.value)
