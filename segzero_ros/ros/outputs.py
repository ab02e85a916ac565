"""What the node publishes about an answer: the stamped bundle, and its parts for those who want only one of them.

The optional parts cost nothing unless somebody listens (overlay) or their package is installed (detections).
Mask and detections carry no code, and empty ones say "nothing there": only commands that were carried out have them.
"""

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from geometry_msgs.msg import PoseStamped
from std_msgs.msg import Header, String

from segzero_ros.errors import ANSWERED, RejectedInput
from segzero_ros.health import Health
from segzero_ros.msg import Instance, Segmentation
from segzero_ros.overlay import draw_overlay
from segzero_ros.pipeline import Segmentation as Result
from segzero_ros.ros import convert
from segzero_ros.ros.camera import CameraFrame
from segzero_ros.ros.command_server import Progress
from segzero_ros.ros.executor import guard
from segzero_ros.ros.parameters import Parameters
from segzero_ros.ros.qos import ENDPOINTS, interface_type, topic_qos

if TYPE_CHECKING:
    from rclpy.node import Node


class Outputs:
    """The publishers; single-threaded. ``bundle`` is set at configure and "" otherwise."""

    def __init__(self, node: "Node", parameters: Parameters, health: Health) -> None:
        self.bundle = ""
        self._node = node
        self._parameters = parameters
        self._health = health
        self._publishers = {
            endpoint.name: publisher
            for endpoint in ENDPOINTS.values()
            if endpoint.role == "publish" and (publisher := _publisher(node, endpoint.name)) is not None
        }

    def publish_progress(self, progress: Progress) -> None:
        """Publish the growing reasoning."""
        if progress.reasoning:
            self._publishers["reasoning_stream"].publish(String(data=progress.reasoning))

    def publish_answer(self, result: Result, source: object) -> Segmentation:
        """Publish an answer everywhere and return it. ``source``: the ``CameraFrame`` it was grounded on, if any."""
        source = source if isinstance(source, CameraFrame) else None
        positions, note = self._positions(result, source)
        message = convert.segmentation_message(
            result,
            header=source.header if source else Header(),
            completed=self._node.get_clock().now().to_msg(),
            bundle=self.bundle,
            positions=positions,
            note=note,
        )
        self._publishers["segmentation"].publish(message)
        if result.code in ANSWERED:
            self._publishers["mask"].publish(message.mask)
        if message.reasoning:
            self._publishers["reasoning"].publish(String(data=message.reasoning))
        guard.callback(self._node, self._publish_optional)(result, message)
        return message

    def publish_diagnostics(self, message: Any) -> None:
        """Publish the health."""
        self._publishers["/diagnostics"].publish(message)

    def _publish_optional(self, result: Result, message: Segmentation) -> None:
        """Publish what only some want; a failure here has nothing to do with the answer, which is out already."""
        best = _best_located(message)
        if best is not None:
            pose = PoseStamped(header=message.header)
            pose.pose.position = best.position
            self._publishers["target"].publish(pose)
        if "detections" in self._publishers and result.code in ANSWERED:
            from segzero_ros.ros.detections import detections_message

            self._publishers["detections"].publish(detections_message(message))
        overlay = self._publishers["overlay/compressed"]
        if result.frame.rgb.size and overlay.get_subscription_count() > 0:
            overlay.publish(self._overlay(result, message.header))

    def _positions(self, result: Result, source: CameraFrame | None) -> tuple[tuple[convert.Position, ...], str]:
        """Where the instances are, or nothing and a note why not; the 2-D answer stands either way."""
        try:
            return source.locate(result) if source else (), ""
        except RejectedInput as error:
            self._health.count_rejection(error.code, error.detail)
            return (), str(error)

    def _overlay(self, result: Result, header: Header) -> Any:
        quality = int(self._parameters.value("overlay_quality"))
        bgr = cv2.cvtColor(draw_overlay(result), cv2.COLOR_RGB2BGR)
        content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return convert.compressed_message(header, content.tobytes())


def _publisher(node: "Node", name: str) -> Any:
    """Return the publisher of an endpoint, None where the package of its type is not installed."""
    try:
        return node.create_publisher(interface_type(name), name, topic_qos(name))
    except ImportError:
        return None


def _best_located(message: Segmentation) -> Instance | None:
    """Return the instance with the best score of those whose position is known."""
    placed = [instance for instance in message.instances if np.isfinite(instance.position.z)]
    return max(placed, key=lambda instance: instance.score, default=None)
