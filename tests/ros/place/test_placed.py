"""What the node says about things in space: right where they are, in the frame asked for, nothing of phantoms."""

import importlib
import importlib.util
import sys
import types

import numpy as np
import pytest
from geometry_msgs.msg import PoseArray, PoseStamped
from segzero_ros.msg import Instance, Segmentation
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from segzero_ros.config import NodeConfig
from segzero_ros.errors import Code
from segzero_ros.place import Placed, Reason, Refusal, place
from segzero_ros.ros.place import Placer, best_placed, messages
from segzero_ros.ros.place import publish as publish_places
from segzero_ros.ros.place.frames import rotation_of
from segzero_ros.ros.place.placement import Placement
from tests.place import scenes
from tests.ros.answers.test_parts import StandIn
from tests.ros.place.test_frames import transform
from tests.ros.test_depth import depth_image, info, raised_block, with_depth

SIZE = (0.12, 0.06, 0.05)


@pytest.fixture
def header():
    made = Header(frame_id="camera")
    made.stamp.sec = 7
    return made


@pytest.fixture
def placement(header):
    labels, depth = scenes.block(SIZE, 0.4)
    return Placement(header, place(labels, 1, depth, scenes.INTRINSICS))


def answer_of(*scores):
    return Segmentation(instances=[Instance(label=f"thing {k}", score=score) for k, score in enumerate(scores)])


def turn_of(pose):
    q = pose.orientation
    return rotation_of(np.array([q.x, q.y, q.z, q.w]))


def asked(robot, depths, infos, image):
    infos.publish(info())
    depths.publish(image)
    buffer = robot.node._camera._depth
    robot.until(lambda: buffer.nearest(7_000_000_008) and buffer._info, "the depth")
    robot.publish_image()
    robot.send_command("the mug")
    return robot.answer()


def test_who_subscribes_gets_target_grasps_and_cloud(make_robot):
    robot, depths, infos = with_depth(make_robot)
    heard = [robot.listen(*one) for one in (("target", PoseStamped), ("grasps", PoseArray), ("cloud", PointCloud2))]
    answer = asked(robot, depths, infos, raised_block())
    robot.until(lambda: all(heard), "all three")
    target, grasps, cloud = (messages[0] for messages in heard)
    assert target.header == grasps.header == cloud.header == answer.header
    assert turn_of(target.pose)[:, 2] == pytest.approx([0, 0, -1], abs=0.02), "up is off the wall, to the camera"
    assert grasps.poses == [], "a block of 26 x 24 cm is wider than the gripper opens"
    assert cloud.width > 100
    assert cloud.point_step * cloud.width == len(cloud.data)


def test_a_phantom_is_no_target_and_the_answer_in_the_picture_stands(make_robot):
    robot, depths, infos = with_depth(make_robot)
    targets, grasps = robot.listen("target", PoseStamped), robot.listen("grasps", PoseArray)
    answer = asked(robot, depths, infos, depth_image(0.5))
    robot.until(lambda: grasps, "the grasps, which come after the target")
    assert answer.code == Code.OK
    assert len(answer.instances) == 1
    assert answer.detail.startswith("instance 1 has no place, FLAT: ")
    assert targets == []
    assert grasps[0].poses == []


def test_the_pose_of_the_target_turns_the_boxs_axes(placement):
    placed = placement.results[0]
    pose = messages.target_message(placement, placed).pose
    assert turn_of(pose) == pytest.approx(placed.box.axes, abs=1e-6)
    grasps = messages.grasps_message(placement, placed.grasps)
    assert len(grasps.poses) == len(placed.grasps) >= 1
    assert turn_of(grasps.poses[0])[:, 2] == pytest.approx(-placed.plane.normal, abs=1e-6)


def test_the_cloud_holds_each_point_with_the_number_of_its_instance(placement):
    message = messages.cloud_message(placement)
    points = np.frombuffer(message.data, messages.POINT)
    assert [field.name for field in message.fields] == list(messages.POINT.names)
    assert [field.offset for field in message.fields] == [messages.POINT.fields[n][1] for n in messages.POINT.names]
    assert set(points["label"]) == {1}
    assert points["z"] == pytest.approx(placement.results[0].cloud.points[:, 2], abs=1e-6)


def test_the_best_of_those_that_have_a_place_is_the_target(placement, header):
    placed = placement.results[0]
    both = Placement(header, (Refusal(Reason.FLAT, "0 mm"), placed))
    assert best_placed(both, answer_of(0.9, 0.2)) is placed
    assert best_placed(Placement(header, (Refusal(Reason.FLAT, "0 mm"),)), answer_of(0.9)) is None


def test_many_refusals_are_counted_in_the_note(header):
    note = Placement(header, (Refusal(Reason.TOO_FAR, "9 m away"),) * 8).note
    assert note.count("TOO_FAR") == 5
    assert note.endswith("and 3 others")


# ---- the frame asked for ----


class Node:
    """As far as a placer without tf2_msgs needs one."""

    def __init__(self):
        self.warnings = []

    def get_logger(self):
        return types.SimpleNamespace(warning=self.warnings.append)


def placed_in(placer, header):
    labels, depth = scenes.block(SIZE)
    return placer.place(labels, 1, depth, scenes.INTRINSICS, header)


@pytest.fixture
def without_tf(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2_msgs", None)


def test_places_are_said_in_the_frame_asked_for_at_the_pictures_moment(header, without_tf):
    placer = Placer(Node(), NodeConfig(target_frame="base"))
    placer.transforms.add([transform("base", "camera", at=6.98, shift=(1, 0, 0))])
    placer.transforms.add([transform("base", "camera", at=7.02, shift=(3, 0, 0), yaw=0.0)])
    placement = placed_in(placer, header)
    assert (placement.header.frame_id, placement.header.stamp, placement.note) == ("base", header.stamp, "")
    optical = placement.results[0]
    assert isinstance(optical, Placed)
    pose = messages.target_message(placement, optical).pose
    assert pose.position.x == pytest.approx(optical.box.centre[0] + 2)
    assert pose.position.z == pytest.approx(optical.box.centre[2])


def test_without_the_transform_places_are_in_the_optical_frame_and_it_is_said(header, without_tf):
    node = Node()
    placement = placed_in(Placer(node, NodeConfig(target_frame="base")), header)
    assert placement.header == header
    assert placement.note.startswith("places are in 'camera', since /tf does not join 'camera' and 'base'; ")
    assert "tf2_msgs is not installed" in node.warnings[0]


def test_the_gates_are_parameters(header):
    config = NodeConfig(place_max_size=0.1, gripper_width=0.02)
    assert placed_in(Placer(Node(), config), header).results[0].reason is Reason.TOO_LARGE
    assert placed_in(Placer(Node(), NodeConfig(gripper_width=0.02)), header).results[0].grasps == ()


# ---- messages of packages that may be missing ----


def test_detections_have_the_box_and_the_covariance_of_what_has_a_place(placement, header, monkeypatch):
    names = ("BoundingBox3D", "Detection3D", "Detection3DArray", "ObjectHypothesisWithPose")
    stand_in = types.ModuleType("vision_msgs.msg")
    for name in names:
        setattr(stand_in, name, StandIn)
    monkeypatch.setitem(sys.modules, "vision_msgs", types.ModuleType("vision_msgs"))
    monkeypatch.setitem(sys.modules, "vision_msgs.msg", stand_in)
    both = Placement(header, (Refusal(Reason.FLAT, "0 mm"), placement.results[0]))
    (found,) = messages.detections_message(both, answer_of(0.9, 0.5)).detections
    assert found.results[0].hypothesis.class_id == "thing 1"
    assert (found.bbox.size.x, found.bbox.size.y) == pytest.approx(SIZE[:2], abs=0.006)
    covariance = np.reshape(found.results[0].pose.covariance, (6, 6))
    assert np.linalg.eigvalsh(covariance[:3, :3]).min() > 0


@pytest.fixture
def marker_messages(monkeypatch):
    """visualization_msgs, or where it is not installed what stands in for it."""
    if importlib.util.find_spec("visualization_msgs"):
        return importlib.import_module("visualization_msgs.msg")
    stand_in = types.ModuleType("visualization_msgs.msg")
    stand_in.Marker, stand_in.MarkerArray = Marker, StandIn
    monkeypatch.setitem(sys.modules, "visualization_msgs", types.ModuleType("visualization_msgs"))
    monkeypatch.setitem(sys.modules, "visualization_msgs.msg", stand_in)
    return stand_in


class Marker(StandIn):
    """With the constants and defaults that are used here."""

    ARROW, CUBE, TEXT_VIEW_FACING, DELETEALL = 0, 1, 9, 3
    action = id = 0
    ns = ""


def test_markers_are_a_box_a_name_and_an_arrow_per_grasp(placement, marker_messages):
    kind = marker_messages.Marker
    first, box, name, *arrows = messages.markers_message(placement, answer_of(0.9)).markers
    assert first.action == kind.DELETEALL
    assert (box.type, name.text) == (kind.CUBE, "thing 0")
    assert (box.scale.x, box.scale.y) == pytest.approx(SIZE[:2], abs=0.006)
    assert len(arrows) == len(placement.results[0].grasps)
    assert len({(marker.ns, marker.id) for marker in (box, name, *arrows)}) == 2 + len(arrows)
    assert box.lifetime.sec == 0


def test_markers_of_several_followed_commands_leave_each_other_alone(placement, marker_messages):
    """Nor do they stay when what is followed is seen no more."""
    drawn = []
    for track in (1, 2):
        answer = answer_of(0.9)
        answer.instances[0].track_id = track
        drawn += messages.markers_message(placement, answer, tracks=True).markers
    assert not [marker for marker in drawn if marker.action == marker_messages.Marker.DELETEALL]
    assert len({(marker.ns, marker.id) for marker in drawn}) == len(drawn)
    assert {marker.lifetime.sec for marker in drawn} == {1}


def test_a_followed_answer_draws_the_markers_that_its_tracks_move(placement, marker_messages):
    answer, sent = answer_of(0.9), []
    answer.instances[0].track_id = 4
    publisher = types.SimpleNamespace(get_subscription_count=lambda: 1, publish=sent.append)
    publish_places({"markers": publisher}, placement, answer, tracks=True)
    publish_places({"markers": publisher}, placement, answer, tracks=True)
    first, then = ([(marker.ns, marker.id) for marker in message.markers] for message in sent)
    assert first == then
