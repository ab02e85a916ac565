"""Viewers get what they ask for with the QoS they have by default, reliable, and so do those that ask for less."""

import pytest
from geometry_msgs.msg import PoseArray, PoseStamped
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image, PointCloud2

from tests.ros.robot import picture
from tests.ros.test_depth import info, raised_block, with_depth

DEFAULT = QoSProfile(depth=10)  # rclcpp's, rclpy's, rqt's, RViz's: reliable, volatile
KINDS = {
    "overlay/compressed": CompressedImage,
    "mask": Image,
    "target": PoseStamped,
    "grasps": PoseArray,
    "cloud": PointCloud2,
}


def watch(robot, kinds, qos):
    """Subscribe as a viewer, known to the node; topic -> growing list of messages."""
    seen = {topic: [] for topic in kinds}
    publishers = robot.node._outputs._publishers
    for topic, kind in kinds.items():
        robot.client.create_subscription(kind, topic, seen[topic].append, qos)
    robot.until(
        lambda: all(publishers[topic].get_subscription_count() for topic in kinds), "the node to see the viewer"
    )
    return seen


def ask(robot, depths, infos):
    infos.publish(info())
    depths.publish(raised_block())
    buffer = robot.node._camera._depth
    robot.until(lambda: buffer.nearest(7_000_000_008) and buffer._info, "the depth")
    robot.publish_image()
    robot.send_command("the mug")
    return robot.answer()


@pytest.mark.parametrize("qos", [DEFAULT, qos_profile_sensor_data], ids=["reliable", "best effort"])
def test_what_is_asked_for_comes(make_robot, qos):
    robot, depths, infos = with_depth(make_robot)
    seen = watch(robot, KINDS, qos)
    answer = ask(robot, depths, infos)
    robot.until(lambda: all(seen.values()), "all of it")
    assert all(messages[0].header == answer.header for messages in seen.values())


def test_markers_come_reliably(make_robot):
    markers = pytest.importorskip("visualization_msgs.msg", reason="needs visualization_msgs")
    robot, depths, infos = with_depth(make_robot)
    seen = watch(robot, {"markers": markers.MarkerArray}, DEFAULT)["markers"]
    ask(robot, depths, infos)
    robot.until(lambda: seen, "the markers")
    assert [marker.ns for marker in seen[0].markers[1:3]] == ["boxes", "names"]


def test_the_overlay_is_drawn_for_each_frame_that_is_followed(make_robot):
    robot = make_robot(track=True).is_("active")
    seen = watch(robot, {"overlay/compressed": CompressedImage}, DEFAULT)["overlay/compressed"]
    robot.publish_image()
    robot.send_command("the mug")
    robot.answer()
    robot.until(lambda: seen, "the answer's overlay")
    before = len(seen)
    tracks = robot.listen("tracks", type(robot.answers[0]))
    robot.until(lambda: robot.client.count_publishers("tracks"), "the tracks")
    robot.publish_image(picture(stamp=(7, 100_000_000)))
    robot.until(lambda: tracks and len(seen) > before, "a track and its overlay")
    assert seen[-1].header == tracks[-1].header
