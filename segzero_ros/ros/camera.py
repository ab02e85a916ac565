"""The camera's topics: each image checked in the callback, decoded only when a command takes it.

Every image that comes is checked for a few microseconds and offered to the worker undecoded; the worker's thread
decodes the one it takes. While the node is not active images are ignored and counted.
"""

import importlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.clock import Clock, ClockType
from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from segzero_ros.config import NodeConfig
from segzero_ros.errors import RejectedInput
from segzero_ros.frame import Frame, StampOrder
from segzero_ros.health import Health
from segzero_ros.pipeline import Segmentation
from segzero_ros.ros.convert import Position, frame_decoder, stamp_ns
from segzero_ros.ros.depth import DepthBuffer, positions, skew_ns
from segzero_ros.ros.executor import guard
from segzero_ros.ros.place import Placement, Placer
from segzero_ros.ros.qos import Reliability, interface_type, latched_qos, topic_qos
from segzero_ros.worker import Job, Worker

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

if TYPE_CHECKING:
    from rclpy.node import Node

DEPTH_LAG_S = 1.0  # how much later than its colour image a depth image may arrive; stereo matching takes 0.1 to 0.3
LONGEST_CHECK_S, SHORTEST_CHECK_S = 0.25, 0.02  # of the camera's level: a quarter of stale_sec between these
OVERLAP_S = 1.0  # far longer than publisher and subscription need to find each other
SEEN_SOURCE_STAMPS = 64  # of the messages that came last: two seconds of a usual camera
STOP_POLL_S = 0.02  # how soon a wait for depth notices that its command is to stop
LOG_PERIOD_S = 1.0  # a camera of garbage must not fill the disk with complaints


class CameraFrame:
    """An image message that becomes a frame when it is called: a ``FrameSource`` of the worker.

    ``depth``: the depth image next to it at the moment of decoding. ``RejectedInput`` for fields that make no picture.
    """

    def __init__(self, message: Image | CompressedImage, camera: "Camera") -> None:
        self.message, self.header = message, message.header
        self.depth: Image | None = None
        self._decode = frame_decoder(message)
        self._camera = camera
        self._came_s = time.monotonic()

    def __call__(self) -> Frame:
        """Decode it; ``RejectedInput`` when it is no picture after all."""
        self._look_for_depth()
        return self._decode()

    def wait_for_depth(self, stopped: Callable[[], bool]) -> None:
        """Wait for the depth of this frame where depth comes later than colour, until DEPTH_LAG_S after the frame.

        ``stopped``: whether to give up. In the worker's thread: the executor's brings the depth.
        """
        self._camera.wait_for_depth(self.header.stamp, self._came_s + DEPTH_LAG_S, stopped)
        self._look_for_depth()

    def locate(self, result: Segmentation, *, places: bool = True) -> tuple[tuple[Position, ...], Placement | None]:
        """Return where the instances of ``result`` are, () and None without depth; ``RejectedInput`` if unusable.

        ``places``: with boxes and grasps.
        """
        self._look_for_depth()
        return self._camera.locate(result, self.depth, self.header, places=places)

    def _look_for_depth(self) -> None:
        """Take the depth image next to it; of two that are as near it keeps the one that came while it was new."""
        found, stamp = self._camera.nearest_depth(self.header.stamp), stamp_ns(self.header.stamp)
        if found is not None and (self.depth is None or skew_ns(found, stamp) < skew_ns(self.depth, stamp)):
            self.depth = found


class Camera:
    """The subscriptions to the camera; made at configure, closed at cleanup."""

    def __init__(
        self,
        node: "Node",
        config: NodeConfig,
        health: Health,
        worker: Worker,
        on_level: Callable[[], None] = lambda: None,
        note: Callable[[str, Any], None] = lambda name, message: None,
    ) -> None:
        """Subscribe as ``config`` says; ``worker`` gets every good frame while ``active``, and why one is none.

        ``on_level`` is called when the camera's level in ``health`` changes, ``note`` with every message that is
        taken and the name of its topic: the recorder's.

        ``seen`` counts the images that came, ``ignored`` those that came while not active.
        """
        self._active = False
        self.seen = self.ignored = 0
        self._note = note
        self._uses_depth = config.use_depth
        self._depth = DepthBuffer()
        self._placer = Placer(node, config) if config.use_depth else None
        if config.image_transport == "compressed" or config.use_depth:
            importlib.import_module("cv2")  # here, not at the first frame: its libraries load while Python stands still
        self._node = node
        self._health = health
        self._worker = worker
        self._lock = threading.Condition()  # the worker's thread decodes while the executor's receives
        self._last_rejection = ""
        self._order = StampOrder()
        self._newest: Image | CompressedImage | None = None
        self._subscriptions: list[CameraSubscription] = []
        self._latched_info: Any = None
        name = "image/compressed" if config.image_transport == "compressed" else "image"
        self._subscribe(name, self._on_image, config.image_qos)
        if config.use_depth:
            self._subscribe("depth", self._on_depth, config.image_qos)
            self._subscribe("camera_info", self._on_camera_info, "best_effort")
        self.check_publishers()
        self._level = health.camera_level()
        period_s = min(max(config.stale_sec / 4, SHORTEST_CHECK_S), LONGEST_CHECK_S)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(period_s, guard.callback(node, self._check), clock=steady)
        self._on_level = on_level

    @property
    def active(self) -> bool:
        """Whether images are taken."""
        return self._active

    @active.setter
    def active(self, value: bool) -> None:
        self._active = value
        self.forget()

    def close(self) -> None:
        """End the subscriptions."""
        self._node.destroy_timer(self._timer)
        if self._placer is not None:
            self._placer.close()
        for subscription in self._subscriptions:
            subscription.close()
        self._subscriptions.clear()
        if self._latched_info is not None:
            self._node.destroy_subscription(self._latched_info)

    def forget(self) -> None:
        """Forget the images that have come so far, and their stamps."""
        self._order.forget()
        self._newest = None
        with self._lock:
            self._depth.clear()

    def wrap(self, message: Image | CompressedImage) -> CameraFrame:
        """Return what makes a frame of an image; ``RejectedInput`` for fields that make no picture."""
        return CameraFrame(message, self)

    def nearest_depth(self, stamp: Time) -> Image | None:
        """Return the depth image next to ``stamp``, if one has come."""
        with self._lock:
            return self._depth.nearest(stamp_ns(stamp))

    def wait_for_depth(self, stamp: Time, until_s: float, stopped: Callable[[], bool]) -> None:
        """Wait while the depth next to ``stamp`` has not come and may still come, until ``until_s`` (monotonic)."""
        wanted = stamp_ns(stamp)
        with self._lock:
            while self._depth.nearest(wanted) is None and self._depth.may_still_come(wanted) and not stopped():
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    return
                self._lock.wait(min(left_s, STOP_POLL_S))

    def locate(
        self, result: Segmentation, depth: Image | None, header: Header, *, places: bool = True
    ) -> tuple[tuple[Position, ...], Placement | None]:
        """Return where the instances of ``result`` are in ``depth``: medians of their surfaces, and boxes with grasps.

        () and None where depth is not used or nothing found. Without ``places`` medians only.
        """
        if self._placer is None or not result.instances:
            return (), None
        labels, count = result.labels, len(result.instances)
        metres, intrinsics = self._depth.measured(labels, depth, header)
        medians = positions(labels, count, metres, intrinsics)
        return medians, self._placer.place(labels, count, metres, intrinsics, header) if places else None

    def check_publishers(self) -> None:
        """Note which publishers of our topics cannot reach us, and clear the notes of those that are gone.

        A latched camera_info has a subscription of its own, once there is one: volatile publishers would complain.
        """
        if self._uses_depth and self._latched_info is None and self._info_is_latched():
            events = SubscriptionEventCallbacks(use_default_callbacks=False)  # it need not fit everybody
            self._latched_info = self._node.create_subscription(
                interface_type("camera_info"),
                "camera_info",
                self._on_camera_info,
                latched_qos("camera_info"),
                event_callbacks=events,
            )
        for subscription in self._subscriptions:
            note = incompatible_publishers(self._node, subscription.topic, subscription.qos)
            self._health.note_qos(subscription.topic, note)

    def _info_is_latched(self) -> bool:
        publishers = self._node.get_publishers_info_by_topic(self._node.resolve_topic_name("camera_info"))
        return any(one.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for one in publishers)

    # ---- callbacks; nothing may be raised out of them ----

    def _on_image(self, message: Image | CompressedImage) -> None:
        self.seen += 1
        if not self.active:
            self.ignored += 1
            return
        self._note("image" if isinstance(message, Image) else "image/compressed", message)
        try:
            frame = self.wrap(message)
        except RejectedInput as error:
            self._reject(error)
            return
        self._last_rejection = ""
        self._offer(message, frame)

    def _offer(self, message: Image | CompressedImage, frame: CameraFrame) -> None:
        """Hand a good image over, unless it is no newer than the one before."""
        stamp, now_ns = stamp_ns(message.header.stamp), self._node.get_clock().now().nanoseconds
        newest = self._newest
        judged = self._order.judge(stamp, now_ns, time.monotonic_ns(), lambda: _same_pixels(message, newest))
        if judged.kind != "new":
            self._health.count_ignored(judged.kind)
            return
        self._newest = message
        self._health.count_frame(stamp, late_ns=judged.late_ns, by_stamp=judged.by_stamp)
        self._worker.offer_frame(frame, judged.late_ns)

    def _check(self) -> None:
        """Follow the publishers' reliability, and have it told at once when the camera fails, or works again."""
        for subscription in self._subscriptions:
            subscription.follow()
        level, before = self._health.camera_level(), self._level
        self._level = level
        if level != before:
            self._on_level()

    def _on_depth(self, message: Image) -> None:
        if self.active:
            self._note("depth", message)
            with self._lock:
                self._depth.add_image(message)
                self._lock.notify_all()

    def _on_camera_info(self, message: Any) -> None:
        self._note("camera_info", message)
        with self._lock:
            self._depth.set_info(message)

    def _reject(self, error: RejectedInput) -> None:
        """Count a bad image, tell the worker, and log it when it is not the same as for the image before."""
        self._health.count_rejection(error.code, error.detail)
        self._worker.note_refusal(error)
        if str(error) != self._last_rejection:
            self._node.get_logger().warning(f"image refused, {error}", throttle_duration_sec=LOG_PERIOD_S)
        self._last_rejection = str(error)

    def _subscribe(self, name: str, callback: Callable[[Any], None], reliability: str) -> None:
        self._subscriptions.append(CameraSubscription(self._node, name, callback, reliability, self._health))


class CameraSubscription:
    """A subscription of a given reliability, or with "auto" of that of the publishers.

    That is reliable while all of them are, since best effort loses pictures of many pieces, and best effort else. After
    a change the old one stays for OVERLAP_S, until the new one is connected; what comes through both counts once.
    """

    def __init__(
        self, node: "Node", name: str, callback: Callable[[Any], None], reliability: str, health: Health
    ) -> None:
        self.topic = _compressed_topic(node) if name == "image/compressed" else name
        self._node, self._name, self._callback, self._health = node, name, callback, health
        self._is_auto = reliability == "auto"
        self._leaving: Any = None
        self._leaves_s = 0.0
        self._came: deque[int] = deque(maxlen=SEEN_SOURCE_STAMPS)
        self._open(self._offered() or "best_effort" if self._is_auto else cast(Reliability, reliability))

    def follow(self) -> None:
        """Subscribe anew where the publishers' reliability has changed, and end what has been replaced."""
        if self._leaving is not None and time.monotonic() >= self._leaves_s:
            self._node.destroy_subscription(self._leaving)
            self._leaving = None
        offered = self._offered() if self._is_auto and self._leaving is None else None
        if offered is not None and offered != self._reliability:
            self._leaving, self._leaves_s = self._subscription, time.monotonic() + OVERLAP_S
            self._open(offered)

    def close(self) -> None:
        """End it."""
        for subscription in (self._subscription, self._leaving):
            if subscription is not None:
                self._node.destroy_subscription(subscription)

    def _open(self, reliability: Reliability) -> None:
        self._reliability, self.qos = reliability, topic_qos(self._name, reliability)
        if self._is_auto:  # a publisher that does not fit is followed
            events = SubscriptionEventCallbacks(use_default_callbacks=False)
        else:
            events = qos_events(self._node, self.topic, self.qos, self._health)
        self._subscription = self._node.create_subscription(
            interface_type(self._name), self.topic, self._on_message, self.qos, event_callbacks=events
        )

    def _on_message(self, message: Any, info: Mapping[str, int]) -> None:
        stamp = info.get("source_timestamp", 0)  # the moment it was published: not the stamp in its header
        if stamp and stamp in self._came:
            return
        self._came.append(stamp)
        self._callback(message)

    def _offered(self) -> Reliability | None:
        """Return what all publishers offer, None where there is none."""
        publishers = self._node.get_publishers_info_by_topic(self._node.resolve_topic_name(self.topic))
        kinds = {publisher.qos_profile.reliability for publisher in publishers}
        if not kinds:
            return None
        return "reliable" if kinds == {ReliabilityPolicy.RELIABLE} else "best_effort"


def _same_pixels(one: Image | CompressedImage, other: Image | CompressedImage | None) -> bool:
    return other is not None and np.array_equal(np.frombuffer(one.data, np.uint8), np.frombuffer(other.data, np.uint8))


def wait_for_depth(job: Job, result: Segmentation) -> None:
    """Wait for the depth of a command's frame, if something was found that it can place; see ``CameraFrame``."""
    if isinstance(job.source, CameraFrame) and result.instances:
        job.source.wait_for_depth(lambda: job.stop_code is not None)


def qos_events(node: "Node", topic: str, ours: QoSProfile, health: Health) -> SubscriptionEventCallbacks:
    """Event callbacks that log and note a publisher whose QoS keeps its messages from us."""

    def warn(_event: object) -> None:
        note = incompatible_publishers(node, topic, ours) or "a publisher with an incompatible QoS came and went"
        health.note_qos(topic, note)
        node.get_logger().warning(f"{node.resolve_topic_name(topic)}: {note}")

    return SubscriptionEventCallbacks(incompatible_qos=warn)


def incompatible_publishers(node: "Node", topic: str, ours: QoSProfile) -> str:
    """Say which publisher of ``topic`` cannot reach us, and why; empty when all can."""
    or_else = "" if topic == "command" else ", or set image_qos to auto"
    for publisher in node.get_publishers_info_by_topic(node.resolve_topic_name(topic)):
        compatibility, reason = qos_check_compatible(publisher.qos_profile, ours)
        if compatibility == QoSCompatibility.ERROR:
            return (
                f"the publisher {publisher.node_name} has an incompatible QoS ({reason.strip()}), nothing of it is "
                f"received; make it reliable{or_else}"
            )
    return ""


def _compressed_topic(node: "Node") -> str:
    """The name image_transport uses: that of the (remapped) raw topic with ``/compressed`` behind."""
    return node.resolve_topic_name("image") + "/compressed"
