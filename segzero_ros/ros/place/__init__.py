"""Objects in space, for the robot: placed beside the executor, said in the frame it wants, published where wanted."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header

from segzero_ros.config import NodeConfig
from segzero_ros.msg import Segmentation
from segzero_ros.pipeline import Labels
from segzero_ros.place import Intrinsics, Limits, Placed, place
from segzero_ros.ros.convert import stamp_ns
from segzero_ros.ros.executor import guard
from segzero_ros.ros.place import messages
from segzero_ros.ros.place.frames import NoTransformError, Transforms
from segzero_ros.ros.place.placement import Placement
from segzero_ros.ros.qos import interface_type, latched_qos, topic_qos

if TYPE_CHECKING:
    from rclpy.node import Node


class Placer:
    """Places objects as the parameters say; made at configure, closed at cleanup."""

    def __init__(self, node: "Node", config: NodeConfig) -> None:
        """Listen to `/tf` and `/tf_static` where a frame is asked for and tf2_msgs is installed."""
        self.transforms = Transforms()
        self._node = node
        self._frame = config.target_frame
        self._opening = config.gripper_width
        self._limits = Limits(
            min_points=config.place_min_points,
            min_valid=config.place_min_depth,
            max_size=config.place_max_size,
            min_height=config.place_min_height,
            max_distance=config.place_max_distance,
        )
        self._subscriptions = self._subscribe() if self._frame else []

    def _subscribe(self) -> list[Any]:
        try:
            kind = interface_type("/tf")
        except ImportError:
            self._node.get_logger().warning(
                f"target_frame is {self._frame!r}, but tf2_msgs is not installed: the optical frame is used"
            )
            return []
        moving = guard.callback(self._node, lambda message: self.transforms.add(message.transforms))
        fixed = guard.callback(self._node, lambda message: self.transforms.add(message.transforms, fixed=True))
        return [
            self._node.create_subscription(kind, "/tf", moving, topic_qos("/tf")),
            self._node.create_subscription(kind, "/tf_static", fixed, latched_qos("/tf_static")),
        ]

    def close(self) -> None:
        """End the subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def place(
        self, labels: Labels, count: int, metres: NDArray[np.float32], intrinsics: Intrinsics, header: Header
    ) -> Placement:
        """Place the instances 1..``count``; in the worker's thread. ``header``: the picture's."""
        results = place(labels, count, metres, intrinsics, self._limits, self._opening)
        if not self._frame or self._frame == header.frame_id:
            return Placement(header, results)
        try:
            way = self.transforms.look_up(self._frame, header.frame_id, stamp_ns(header.stamp))
        except NoTransformError as error:
            fault = f"places are in {header.frame_id[:80]!r}, since {error}; publish it, or set target_frame"
            return Placement(header, results, fault=fault)
        return Placement(Header(stamp=header.stamp, frame_id=self._frame), results, way)


def publish(publishers: Mapping[str, Any], placement: Placement, answer: Segmentation, *, tracks: bool = False) -> None:
    """Publish the places of an answer's instances, each message only where somebody listens.

    ``tracks``: of a command that is followed, perhaps beside others.
    """

    def wanted(name: str) -> bool:
        return name in publishers and publishers[name].get_subscription_count() > 0

    best = best_placed(placement, answer)
    if best is not None and wanted("target"):
        publishers["target"].publish(messages.target_message(placement, best))
    if wanted("grasps"):
        found = best.grasps if best is not None else ()
        publishers["grasps"].publish(messages.grasps_message(placement, found))
    if wanted("cloud"):
        publishers["cloud"].publish(messages.cloud_message(placement))
    if wanted("detections3d"):
        publishers["detections3d"].publish(messages.detections_message(placement, answer))
    if wanted("markers"):
        publishers["markers"].publish(messages.markers_message(placement, answer, tracks=tracks))


def best_placed(placement: Placement, answer: Segmentation) -> Placed | None:
    """Return the object with the best score of those that have a place."""
    scored = [(answer.instances[number - 1].score, placed) for number, placed in placement.placed]
    return max(scored, key=lambda one: one[0], default=(0.0, None))[1]
