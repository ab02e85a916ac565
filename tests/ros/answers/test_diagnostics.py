"""Diagnostics say whose they are: two robots on one graph are never mistaken for one."""

from builtin_interfaces.msg import Time

from segzero_ros.health import Health
from segzero_ros.ros.diagnostics import diagnostics_message


def test_the_name_has_the_namespace_and_the_hardware_id_is_the_nodes_own(ros):
    lines = Health(1.0).report()
    arrays = [diagnostics_message(Time(), f"/{robot}/segzero", lines, 2.6) for robot in ("left", "right")]
    keys = [{(status.name, status.hardware_id) for status in array.status} for array in arrays]
    assert [len(key) for key in keys] == [3, 3]
    assert not keys[0] & keys[1]
    assert not {hardware for _, hardware in keys[0]} & {hardware for _, hardware in keys[1]}
    assert all(status.name.startswith("/left/segzero: ") for status in arrays[0].status)


def test_every_status_says_for_how_long_it_has_counted(robot):
    status = robot.diagnostics()["commands"]
    assert status.name == "/segzero: commands"
    assert int(next(value.value for value in status.values if value.key == "counted_for_s")) < 60
    node = {value.key: value.value for value in robot.diagnostics()["node"].values}
    assert node["bundle"] == "test"


def test_a_robot_in_a_namespace_is_named_in_full(make_robot, monkeypatch):
    from tests.ros import robot as robots

    made = robots.GroundingNode
    monkeypatch.setattr(robots, "GroundingNode", lambda **options: made(namespace="/arm/left", **options))
    robot = make_robot().is_("active")
    assert {status.name for status in robot.diagnostics().values()} == {
        f"/arm/left/segzero: {name}" for name in ("node", "camera", "commands", "inputs")
    }
