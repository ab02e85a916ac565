"""Late, repeated and older frames over real DDS: none of them is an answer's, and diagnostics name each."""

import time

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from segzero_ros.errors import Code
from tests.ros.robot import picture


def stamped(late_s, **fields):
    """A picture that is so many seconds old."""
    ns = time.time_ns() - int(late_s * 1e9)
    return picture(stamp=divmod(ns, 10**9), **fields)


@pytest.mark.parametrize(
    ("late_s", "code"),
    [(0.0, Code.OK), (3.0, Code.STALE_FRAME), (30.0, Code.STALE_FRAME), (1e7, Code.OK), (-9, Code.OK)],
)
def test_a_frame_is_as_old_as_its_stamp_where_that_is_of_this_clock(make_robot, late_s, code):
    robot = make_robot(stale_sec=2.9 if code else 60.0, first_frame_sec=0.0).is_("active")
    robot.publish_image(stamped(late_s))
    robot.send_command("the mug")
    assert robot.answer().code == code


def test_an_older_frame_never_replaces_a_newer_one(robot):
    newer = stamped(0.0)
    robot.publish_image(newer)
    for number, back_s in enumerate((0.05, 2.0, 20.0), start=1):
        robot.publish_image(stamped(back_s))
        robot.send_command("the mug")
        assert robot.answer(number).header == newer.header
    said = lambda: "3 older frames were ignored" in robot.diagnostics()["camera"].message  # noqa: E731
    robot.until(said, "three frames counted as older")


def test_a_bag_that_starts_again_is_looked_at_and_said(robot):
    for stamp in ((500, 0), (100, 0)):
        robot.publish_image(picture(stamp=stamp))
    robot.send_command("the mug")
    assert robot.answer().header.stamp.sec == 100
    assert "stepped back 1 times" in robot.diagnostics()["camera"].message


def test_a_camera_that_sends_the_same_frame_again_is_stuck(make_robot):
    robot = make_robot(stale_sec=0.3, first_frame_sec=0.0).is_("active")
    stuck = picture()

    def camera():
        robot.publish_image(stuck)
        return robot.diagnostics()["camera"]

    robot.until(lambda: "again and again" in camera().message, "the stuck camera in diagnostics")
    robot.publish_image(stuck)
    robot.send_command("the mug")
    assert robot.answer().code == Code.STALE_FRAME


def test_a_new_life_or_a_reset_may_show_the_same_frame_again(robot):
    for number, again in enumerate(
        (lambda: None, robot.reset, lambda: (robot.enable(False), robot.enable(True))), start=1
    ):
        again()
        robot.publish_image()
        robot.send_command("the mug")
        assert robot.answer(number).code == Code.OK


def test_a_camera_that_stops_is_told_within_one_and_a_half_of_stale_sec(make_robot):
    robot = make_robot(stale_sec=3.0).is_("active")
    robot.diagnostics()
    arrays = robot.received["/diagnostics"]

    def lines(level):
        statuses = [status for array in arrays for status in array.status if status.name.endswith(": camera")]
        return [{pair.key: pair.value for pair in status.values} for status in statuses if status.level == level]

    robot.publish_image()
    robot.until(lambda: lines(DiagnosticStatus.OK), "the frame in diagnostics")
    arrays.clear()
    (told,) = robot.until(lambda: lines(DiagnosticStatus.STALE), "its end")
    assert 3.0 < float(told["age_s"]) < 4.5
