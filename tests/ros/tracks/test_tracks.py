"""Following over ROS: one answer per frame with the ids and stamps that belong to it, and an end to everything."""

import threading
import time

import numpy as np
from segzero_ros.msg import Segmentation
from std_msgs.msg import Header, String

from segzero_ros.backends.fake import FakeReasoner
from segzero_ros.errors import Code
from segzero_ros.ros import convert
from segzero_ros.ros.qos import topic_qos

SCENE = np.random.default_rng(3).integers(0, 256, (200, 300, 3), np.uint8)


def view(step: int = 0, *, size: tuple[int, int] = (64, 48)):
    """What a camera sees that moves on by a pixel to the right with each step; a second later each time."""
    header = Header(frame_id="camera")
    header.stamp.sec = 100 + step
    width, height = size
    return convert.image_message(header, SCENE[50 : 50 + height, 100 + step : 100 + step + width].copy(), "rgb8")


class Followed:
    """A robot that follows what a command has found, and what it says of it."""

    def __init__(self, robot) -> None:
        self.robot = robot
        self.tracks = robot.listen("tracks", Segmentation)
        self.stops = robot.client.create_publisher(String, "stop", topic_qos("stop"))
        robot.until(lambda: self.stops.get_subscription_count() and robot.client.count_publishers("tracks"), "topics")

    def see(self, step: int, **options):
        """Publish a frame and return what is said of it."""
        count = len(self.tracks)
        self.robot.publish_image(view(step, **options))
        self.robot.until(lambda: len(self.tracks) > count, f"what is followed in frame {step}")
        return self.tracks[-1]

    def stop(self, command_id: str = ""):
        self.stops.publish(String(data=command_id))

    def end(self, number: int = 1):
        """Wait for the ``number``-th message that is no track."""
        ended = lambda: [said for said in self.tracks if said.code not in (Code.OK, Code.TRACK_HIDDEN)]  # noqa: E731
        self.robot.until(lambda: len(ended()) >= number, "the end of what is followed")
        return ended()[number - 1]


def test_a_goal_that_tracks_is_answered_once_and_followed_in_each_frame(robot):
    followed = Followed(robot)
    robot.publish_image(view())
    answer = robot.goal_result("the mug", track=True)[1].segmentation
    assert (answer.code, answer.tracked, answer.instances[0].track_id) == (Code.OK, False, 1)
    for step in range(1, 5):
        said = followed.see(step)
        assert len(followed.tracks) == step
        assert (said.code, said.tracked, said.command_id) == (Code.OK, True, answer.command_id)
        assert said.header == view(step).header
        assert said.grounded_stamp == answer.header.stamp
        assert [one.track_id for one in said.instances] == [1]
        assert 1 in said.mask.data
    assert len(robot.answers) == 1


def test_a_goal_that_does_not_track_is_not_followed(robot):
    followed = Followed(robot)
    robot.publish_image(view())
    assert robot.goal_result("the mug")[1].segmentation.instances[0].track_id == 0
    robot.publish_image(view(1))
    robot.goal_result("the bowl")
    assert not followed.tracks


def test_with_the_parameter_commands_of_the_topic_are_followed(make_robot):
    robot = make_robot(track=True).is_("active")
    followed = Followed(robot)
    robot.publish_image(view())
    robot.send_command("the mug")
    assert robot.answer().instances[0].track_id == 1
    assert followed.see(1).instances[0].track_id == 1


def test_stop_ends_what_is_followed_and_says_so(robot):
    followed = Followed(robot)
    robot.publish_image(view())
    answer = robot.goal_result("the mug", track=True)[1].segmentation
    followed.see(1)
    followed.stop(answer.command_id)
    end = followed.end()
    assert (end.code, end.command_id) == (Code.CANCELLED, answer.command_id)
    count = len(followed.tracks)
    robot.publish_image(view(2))
    robot.goal_result("the bowl")
    assert len(followed.tracks) == count


def test_an_id_that_is_not_followed_is_answered(robot):
    followed = Followed(robot)
    followed.stop("nobody")
    end = followed.end()
    assert (end.code, end.command_id) == (Code.TRACK_UNKNOWN, "nobody")
    assert "nobody" in end.detail


def test_reset_and_deactivate_end_what_is_followed(robot):
    followed = Followed(robot)
    robot.publish_image(view())
    robot.goal_result("the mug", track=True)
    robot.reset()
    assert followed.end().code == Code.CANCELLED
    robot.publish_image(view(1))
    robot.goal_result("the mug", track=True)
    robot.enable(False)
    assert followed.end(2).code == Code.CANCELLED


def test_what_has_left_the_picture_is_hidden_then_lost(make_robot):
    robot = make_robot(lost_sec=0.2, reground_sec=0.0).is_("active")
    followed = Followed(robot)
    robot.publish_image(view())
    robot.goal_result("the mug", track=True)
    other = view(130)
    other.header.stamp.sec = 101
    robot.publish_image(other)
    robot.until(lambda: followed.tracks, "word of it")
    assert followed.tracks[0].code == Code.TRACK_HIDDEN
    assert not followed.tracks[0].instances
    for step in range(2, 40):
        time.sleep(0.05)
        other.header.stamp.sec = 100 + step
        robot.publish_image(other)
        if followed.tracks[-1].code == Code.TRACK_LOST:
            break
    assert followed.end().code == Code.TRACK_LOST


def test_a_picture_of_another_size_is_followed_on(robot):
    followed = Followed(robot)
    robot.publish_image(view())
    robot.goal_result("the mug", track=True)
    said = followed.see(1, size=(80, 60))
    assert (said.mask.width, said.mask.height) == (80, 60)
    assert said.code in (Code.OK, Code.TRACK_HIDDEN)


def test_a_slow_answer_is_of_the_newest_frame_and_says_which_one_was_looked_at(make_robot):
    started, go = threading.Event(), threading.Event()

    def wait(_index: int) -> None:
        started.set()
        go.wait(60)

    robot = make_robot(FakeReasoner(before_piece=wait), carry_after_sec=0.0).is_("active")
    robot.publish_image(view())
    robot.send_command("the mug")
    assert started.wait(60)
    for step in range(1, 6):
        robot.publish_image(view(step))
    go.set()
    answer = robot.answer()
    assert answer.tracked
    assert answer.header == view(5).header
    assert answer.grounded_stamp == view().header.stamp
    assert answer.timing.tracking_ms > 0
    assert answer.mask.data.count(1) > 20
