"""Parameters: declared with descriptions and ranges; what does not fit is refused with a reason."""

import pytest
from rcl_interfaces.srv import DescribeParameters

from segzero_ros.config import parameters
from segzero_ros.errors import Code


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
