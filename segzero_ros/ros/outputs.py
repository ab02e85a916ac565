"""What the node publishes about an answer: the stamped bundle, and its parts for those who want only one of them.

The optional parts cost nothing unless somebody listens (overlay) or their package is installed (detections).
Mask and detections carry no code, and empty ones say "nothing there": only commands that were carried out have them.
What takes time is done beside the executor: positions and mask in the worker's thread before the answer's end, the
overlay in a thread of its own once the answer is out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from std_msgs.msg import Header, String

from segzero_ros.errors import ANSWERED, RejectedInput
from segzero_ros.health import Health
from segzero_ros.msg import Segmentation
from segzero_ros.pipeline import Labels
from segzero_ros.pipeline import Segmentation as Result
from segzero_ros.ros import convert, place
from segzero_ros.ros.camera import CameraFrame, wait_for_depth
from segzero_ros.ros.command_server import Progress
from segzero_ros.ros.executor import guard
from segzero_ros.ros.executor.aside import NewestCall
from segzero_ros.ros.executor.queue import ExecutorQueue
from segzero_ros.ros.parameters import Parameters
from segzero_ros.ros.qos import ENDPOINTS, interface_type, topic_qos
from segzero_ros.worker import Job

if TYPE_CHECKING:
    from rclpy.node import Node
    from sensor_msgs.msg import CompressedImage, Image

PAINTING_S = 1.0  # for the last overlay when the node ends; one of 4K takes a quarter of that


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What takes time of the answer with these ``labels``: its mask, and where its instances are.

    ``positions``: one per instance or none. ``fault``: why there are none, where there should be. ``placement``: boxes
    and grasps, and which instances have none.
    """

    labels: Labels
    mask: "Image"
    positions: tuple[convert.Position, ...] = ()
    placement: place.Placement | None = None
    fault: RejectedInput | None = None


class Outputs:
    """The publishers; but for ``before_end`` the executor's thread alone calls them.

    ``bundle`` is set at configure and "" otherwise.
    """

    def __init__(
        self,
        node: "Node",
        parameters: Parameters,
        health: Health,
        queue: ExecutorQueue,
        note: Callable[[str, Any], None] = lambda name, message: None,
    ) -> None:
        """``queue``: carries what is painted beside the executor to it. ``note`` gets what is on `tracks`."""
        self._note = note
        self.bundle = ""
        self._node = node
        self._parameters = parameters
        self._health = health
        self._queue = queue
        self._painter = NewestCall("segzero-painter", self._report_painting)
        self._publishers = {
            endpoint.name: publisher
            for endpoint in ENDPOINTS.values()
            if endpoint.role == "publish" and (publisher := _publisher(node, endpoint.name)) is not None
        }

    def publish_progress(self, progress: Progress) -> None:
        """Publish the growing reasoning."""
        if progress.reasoning:
            self._publishers["reasoning_stream"].publish(String(data=progress.reasoning))

    def before_end(self, job: Job, result: Result) -> None:
        """Do in the worker's thread what an answer's message needs time for; the depth it is in may still have to come.

        What that takes is part of the command's time.
        """
        wait_for_depth(job, result)
        job.prepared = _prepare(result, job.source)

    def publish_answer(self, result: Result, source: object, prepared: object = None) -> Segmentation:
        """Publish an answer everywhere and return it. ``source``: the ``CameraFrame`` it was grounded on, if any.

        ``prepared``: what ``before_end`` made of it; where a command ended otherwise it is made here.
        """
        if not isinstance(prepared, Prepared) or prepared.labels is not result.labels:
            prepared = _prepare(result, source)
        fault = prepared.fault
        if fault is not None:
            self._health.count_rejection(fault.code, fault.detail)
        message = self._message(result, prepared)
        self._publishers["segmentation"].publish(message)
        if result.code in ANSWERED:
            self._publishers["mask"].publish(message.mask)
        if message.reasoning:
            self._publishers["reasoning"].publish(String(data=message.reasoning))
        guard.callback(self._node, self._publish_optional)(result, message, prepared.placement)
        return message

    def publish_track(self, result: Result, source: object) -> None:
        """Publish what is followed; called in the worker's thread, published in the executor's.

        Boxes and grasps, where they are asked for, come out as those of an answer do.
        """
        prepared = _prepare(result, source, places=bool(self._parameters.value("track_places")))

        def publish() -> None:
            message = self._message(result, prepared)
            self._publishers["tracks"].publish(message)
            self._note("tracks", message)
            if prepared.placement is not None:
                place.publish(self._publishers, prepared.placement, message, tracks=True)
            self._offer_overlay(result, message.header)

        self._queue.post(guard.callback(self._node, publish))

    def _message(self, result: Result, prepared: Prepared) -> Segmentation:
        return convert.segmentation_message(
            result,
            mask=prepared.mask,
            completed=self._node.get_clock().now().to_msg(),
            bundle=self.bundle,
            positions=prepared.positions,
            note=str(prepared.fault or (prepared.placement.note if prepared.placement else "")),
        )

    def close(self) -> None:
        """End the painter."""
        self._painter.close(PAINTING_S)

    def publish_diagnostics(self, message: Any) -> None:
        """Publish the health."""
        self._publishers["/diagnostics"].publish(message)

    def _publish_optional(self, result: Result, message: Segmentation, placement: place.Placement | None) -> None:
        """Publish what only some want; a failure here has nothing to do with the answer, which is out already."""
        if placement is not None:
            followed = any(one.track_id for one in message.instances)
            place.publish(self._publishers, placement, message, tracks=followed)
        if "detections" in self._publishers and result.code in ANSWERED:
            from segzero_ros.ros.detections import detections_message

            self._publishers["detections"].publish(detections_message(message))
        self._offer_overlay(result, message.header)

    def _offer_overlay(self, result: Result, header: Header) -> None:
        """Have an overlay painted if somebody looks."""
        if result.frame.rgb.size and self._publishers["overlay/compressed"].get_subscription_count() > 0:
            quality = int(self._parameters.value("overlay_quality"))
            self._painter.submit(lambda: self._paint(result, header, quality))

    def _paint(self, result: Result, header: Header, quality: int) -> None:
        """Paint an overlay and have it published; in the painter's thread."""
        message = _overlay(result, header, quality)
        self._queue.post(lambda: self._publishers["overlay/compressed"].publish(message))

    def _report_painting(self, error: Exception) -> None:
        self._queue.post(lambda: guard.report(self._node, "overlay", error))


def _prepare(result: Result, source: object, *, places: bool = True) -> Prepared:
    """Convert the mask and look for positions; the 2-D answer stands whatever becomes of them.

    ``places``: look for boxes and grasps as well.
    """
    source = source if isinstance(source, CameraFrame) else None
    mask = convert.mask_message(source.header if source else Header(), result.labels)
    try:
        return Prepared(result.labels, mask, *(source.locate(result, places=places) if source else ()))
    except RejectedInput as error:
        return Prepared(result.labels, mask, fault=error)


def _overlay(result: Result, header: Header, quality: int) -> "CompressedImage":
    import cv2

    from segzero_ros.overlay import draw_overlay

    bgr = cv2.cvtColor(draw_overlay(result), cv2.COLOR_RGB2BGR)
    content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return convert.compressed_message(header, content)


def _publisher(node: "Node", name: str) -> Any:
    """Return the publisher of an endpoint, None where the package of its type is not installed."""
    try:
        return node.create_publisher(interface_type(name), name, topic_qos(name))
    except ImportError:
        return None
