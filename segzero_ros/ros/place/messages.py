"""Placed objects as messages that robots already speak: poses, boxes, points, markers."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, PoseArray, PoseStamped, Quaternion, Vector3
from sensor_msgs.msg import PointCloud2, PointField

from segzero_ros.msg import Segmentation
from segzero_ros.place import Grasp, Placed
from segzero_ros.place.cloud import Floats
from segzero_ros.ros.place.frames import quaternion_of
from segzero_ros.ros.place.placement import Placement

if TYPE_CHECKING:
    from vision_msgs.msg import Detection3DArray
    from visualization_msgs.msg import Marker, MarkerArray

POINT = np.dtype([("x", "f4"), ("y", "f4"), ("z", "f4"), ("label", "u4")])
TRACKS_FROM = 1000  # marker ids of what is followed, so that they meet no others
MARKER_LIFE_S = 1  # of what is followed and not seen again
COLOURS = ((0.12, 0.47, 0.71), (1.0, 0.5, 0.05), (0.17, 0.63, 0.17), (0.84, 0.15, 0.16), (0.58, 0.4, 0.74))


def pose_of(placement: Placement, position: Floats, axes: Floats) -> Pose:
    """Return a pose of the optical frame in the placement's frame."""
    way = placement.transform
    x, y, z = (float(value) for value in way.rotation @ position + way.shift)
    turn = [float(value) for value in quaternion_of(way.rotation @ axes)]
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=turn[0], y=turn[1], z=turn[2], w=turn[3]))


def target_message(placement: Placement, target: Placed) -> PoseStamped:
    """The middle of the box; x along its longer side, z up, away from what it stands on."""
    return PoseStamped(header=placement.header, pose=pose_of(placement, target.box.centre, target.box.axes))


def grasps_message(placement: Placement, found: tuple[Grasp, ...]) -> PoseArray:
    """The grasps of one object, the best first: z is the approach, x the way the fingers close."""
    return PoseArray(header=placement.header, poses=[pose_of(placement, one.position, one.axes) for one in found])


def cloud_message(placement: Placement) -> PointCloud2:
    """The visible surfaces of the placed objects: x, y, z float32, label uint32, which is the value in `mask`."""
    parts = []
    for number, placed in placement.placed:
        part = np.zeros(len(placed.cloud.points), POINT)
        moved = placed.cloud.points @ placement.transform.rotation.T + placement.transform.shift
        part["x"], part["y"], part["z"] = moved.T
        part["label"] = number
        parts.append(part)
    points = np.concatenate(parts) if parts else np.zeros(0, POINT)
    kinds = {"f4": PointField.FLOAT32, "u4": PointField.UINT32}
    fields = [
        PointField(name=name, offset=4 * k, datatype=kinds[kind], count=1)
        for k, (name, kind) in enumerate((("x", "f4"), ("y", "f4"), ("z", "f4"), ("label", "u4")))
    ]
    message = PointCloud2(header=placement.header, height=1, width=len(points), fields=fields)
    message.is_bigendian = sys.byteorder == "big"
    message.point_step, message.row_step, message.is_dense = POINT.itemsize, POINT.itemsize * len(points), True
    message.data.frombytes(points.tobytes())
    return message


def detections_message(placement: Placement, answer: Segmentation) -> "Detection3DArray":
    """Convert to vision_msgs; refused objects are not in it. The pose has the covariance of the position."""
    from vision_msgs.msg import BoundingBox3D, Detection3D, Detection3DArray, ObjectHypothesisWithPose

    found = []
    for number, placed in placement.placed:
        instance = answer.instances[number - 1]
        pose = pose_of(placement, placed.box.centre, placed.box.axes)
        hypothesis = ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id = instance.label
        hypothesis.hypothesis.score = float(instance.score)
        hypothesis.pose.pose = pose
        hypothesis.pose.covariance = _covariance(placement, placed)
        box = BoundingBox3D(center=pose, size=_vector(placed.box.size))
        track = str(instance.track_id) if instance.track_id else ""
        found.append(Detection3D(header=placement.header, results=[hypothesis], bbox=box, id=track))
    return Detection3DArray(header=placement.header, detections=found)


def _covariance(placement: Placement, placed: Placed) -> Floats:
    """(36,) row by row of x y z and turns about them; the turns are left at 0: not estimated."""
    whole = np.zeros((6, 6))
    turn = placement.transform.rotation
    whole[:3, :3] = turn @ placed.covariance @ turn.T
    return whole.ravel()


def markers_message(placement: Placement, answer: Segmentation, *, tracks: bool = False) -> "MarkerArray":
    """For RViz: a box and its name for each placed object, an arrow for each grasp of it; the old ones go.

    ``tracks``: it is one of several commands that may be followed, so nothing of the others goes. What is followed has
    the ids of its track and goes MARKER_LIFE_S after it was last seen.
    """
    from visualization_msgs.msg import Marker, MarkerArray

    markers = [] if tracks else [Marker(header=placement.header, action=Marker.DELETEALL)]
    for number, placed in placement.placed:
        track = answer.instances[number - 1].track_id
        key = TRACKS_FROM + track if track else number
        colour = COLOURS[((track or number) - 1) % len(COLOURS)]
        pose = pose_of(placement, placed.box.centre, placed.box.axes)
        fields: Mapping[str, Any] = {
            "header": placement.header,
            "id": key,
            "lifetime": Duration(sec=MARKER_LIFE_S if track else 0),
        }
        box = Marker(ns="boxes", type=Marker.CUBE, pose=pose, scale=_vector(placed.box.size), **fields)
        name = Marker(ns="names", type=Marker.TEXT_VIEW_FACING, text=answer.instances[number - 1].label, **fields)
        name.pose = pose_of(placement, placed.box.top + 0.03 * placed.plane.normal, placed.box.axes)
        name.scale.z = 0.025
        markers += [_coloured(box, colour, 0.4), _coloured(name, (1.0, 1.0, 1.0), 1.0)]
        for k, grasp in enumerate(placed.grasps):
            axes = grasp.axes[:, [2, 0, 1]]  # an arrow points along its x
            arrow = Marker(ns="grasps", type=Marker.ARROW, **fields)
            arrow.id = 100 * key + k
            arrow.pose = pose_of(placement, grasp.position - 0.08 * grasp.axes[:, 2], axes)
            arrow.scale = Vector3(x=0.08, y=0.006, z=0.012)
            markers.append(_coloured(arrow, colour, 0.9))
    return MarkerArray(markers=markers)


def _coloured(marker: "Marker", colour: tuple[float, float, float], alpha: float) -> "Marker":
    marker.color.r, marker.color.g, marker.color.b = colour
    marker.color.a = alpha
    return marker


def _vector(size: Floats) -> Vector3:
    return Vector3(x=float(size[0]), y=float(size[1]), z=float(size[2]))
