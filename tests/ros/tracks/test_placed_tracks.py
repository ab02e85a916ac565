"""What is followed is placed in each frame where that is asked for, by the depth of that frame."""

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from std_msgs.msg import Header

from segzero_ros.errors import Code
from segzero_ros.ros import convert
from tests.ros.test_depth import info, with_depth
from tests.ros.tracks.test_tracks import Followed, view


def depth_of(step, *, block=0.1):
    """The thing of frame 0, which goes a pixel to the left with each step, before a wall that comes 5 cm nearer."""
    wall = 0.6 - 0.05 * step
    metres = np.full((48, 64), wall, np.float32)
    metres[12:36, 16 - step : 48 - step] = wall - block
    header = Header(frame_id="camera")
    header.stamp.sec = 100 + step
    return convert.image_message(header, metres, "32FC1")


class Seen:
    """A robot with depth that follows what it found in frame 0."""

    def __init__(self, make_robot, **options):
        self.robot, self.depths, infos = with_depth(make_robot, **options)
        self.targets = self.robot.listen("target", PoseStamped)
        self.followed = Followed(self.robot)
        infos.publish(info())
        self.send_depth(0)
        self.robot.publish_image(view())
        self.robot.goal_result("the mug", track=True)
        self.robot.until(lambda: self.targets, "the target of the answer")

    def send_depth(self, step, **options):
        buffer = self.robot.node._camera._depth
        self.depths.publish(depth_of(step, **options))
        self.robot.until(lambda: buffer._info and buffer.nearest((100 + step) * 10**9), f"the depth of frame {step}")

    def see(self, step, **options):
        self.send_depth(step, **options)
        return self.followed.see(step)


def test_the_target_goes_with_what_is_followed_in_the_depth_of_its_frame(make_robot):
    seen = Seen(make_robot, track_places=True)
    for step in (1, 2):
        said = seen.see(step)
        assert said.code == Code.OK
        target = seen.robot.until(lambda step=step: len(seen.targets) > step and seen.targets[-1], "its target")
        assert target.header == said.header
        assert target.pose.position.z == pytest.approx(0.55 - 0.05 * step, abs=0.015), "the middle of the block"


def test_what_has_become_flat_has_no_place_and_is_followed_on(make_robot):
    seen = Seen(make_robot, track_places=True)
    said = seen.see(1, block=0.0)
    assert said.code == Code.OK
    assert said.detail.startswith("instance 1 has no place, FLAT: ")
    seen.see(2)
    seen.robot.until(lambda: len(seen.targets) > 1, "the target of the frame after")
    assert [one.header.stamp.sec for one in seen.targets] == [100, 102]


def test_unless_it_is_asked_for_only_the_answer_has_a_target(make_robot):
    seen = Seen(make_robot)
    for step in (1, 2):
        assert seen.see(step).instances[0].position.z == pytest.approx(0.5 - 0.05 * step, abs=1e-3)
    assert len(seen.targets) == 1
