"""The console's place on the ROS graph: a client of one node that hears all of it, in a thread of its own.

Only that thread talks to ROS; what others ask is posted to it. What is heard goes to a ``Hearer`` in that thread.
"""

import array
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import GetParameters
from rclpy.action import ActionClient
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from std_msgs.msg import Int16MultiArray, String
from std_srvs.srv import Trigger

from segzero_ros.action import Segment
from segzero_ros.config import parameters
from segzero_ros.errors import RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.health import Health, Level
from segzero_ros.msg import Segmentation
from segzero_ros.pipeline import Segmentation as Answer
from segzero_ros.ros.camera import CameraSubscription
from segzero_ros.ros.client import masked_ns, read_answer
from segzero_ros.ros.convert import frame_decoder, stamp_ns
from segzero_ros.ros.executor import guard
from segzero_ros.ros.executor.process import start_ros
from segzero_ros.ros.executor.queue import ExecutorQueue
from segzero_ros.ros.processes import NODE
from segzero_ros.ros.qos import topic_qos

LOOK_S = 0.3  # between two looks at who publishes pictures and who is silent
SILENT_S = 3.0  # without diagnostics, which come once a second: the node has ended, or was never there
PARAMETERS_S = 5.0
MANY = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=50, reliability=ReliabilityPolicy.RELIABLE)
NO_NODE = f"no node {NODE!r} says anything; start it, in this ROS_DOMAIN_ID and namespace"

Tell = Callable[[bool, str], None]  # gets whether something was done, and what


class Hearer(Protocol):
    """Takes what is heard, in the client's thread; it must not wait."""

    def on_image(self, stamp: int, decode: Callable[[], Frame], message: Any) -> None:
        """Take a picture of the camera: its stamp (ns), what makes a frame of it, its message."""
        ...

    def on_thinking(self, text: str) -> None:
        """Take the thinking so far of the command at work."""
        ...

    def on_answer(self, answer: Answer, masked: int, message: Any) -> None:
        """Take an answer, the stamp (ns) of the frame of its masks, and its message."""
        ...

    def on_track(self, answer: Answer, masked: int) -> None:
        """Take where something that is followed is now."""
        ...

    def on_health(self, parts: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the node's diagnostics by part: level, message, values; none: it is silent."""
        ...


class ConsoleClient:
    """Hears the node from ``start`` on; its other methods may be called from any thread and return at once."""

    def __init__(self, arguments: list[str] | None = None) -> None:
        """Join the graph; ``StartError`` for ``arguments`` that ROS refuses."""
        start_ros(arguments)
        self._node = Node("segzero_console")
        self._queue = ExecutorQueue(self._node)
        self._action = ActionClient(self._node, Segment, "segment")
        self._stop = self._node.create_publisher(String, "stop", topic_qos("stop"))
        self._audio = self._node.create_publisher(Int16MultiArray, "audio", MANY)
        self._reset = self._node.create_client(Trigger, "reset")
        self._save = self._node.create_client(Trigger, "save_failure")
        self._ask_parameters = self._node.create_client(GetParameters, f"{NODE}/get_parameters")
        self._prefix = f"{self._node.get_namespace().rstrip('/')}/{NODE}: "
        self._heard_s = time.monotonic()
        self._hearer: Hearer | None = None
        self._images: dict[str, CameraSubscription] = {}
        self._executor = SingleThreadedExecutor()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="segzero-console-ros", daemon=True)

    @property
    def node_name(self) -> str:
        """The node that is asked, with its namespace."""
        return self._prefix.removesuffix(": ")

    def start(self, hearer: Hearer) -> None:
        """Subscribe, and begin to hear."""
        self._hearer = hearer
        node = self._node
        listen = {"segmentation": self._on_answer, "tracks": self._on_track}
        for name, call in listen.items():
            node.create_subscription(Segmentation, name, guard.callback(node, call), MANY)
        thinking = guard.callback(node, lambda message: hearer.on_thinking(message.data))
        node.create_subscription(String, "reasoning_stream", thinking, MANY)
        diagnostics = guard.callback(node, self._on_diagnostics)
        node.create_subscription(DiagnosticArray, "/diagnostics", diagnostics, topic_qos("/diagnostics"))
        node.create_timer(LOOK_S, guard.callback(node, self._look), clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._see("image")
        self._executor.add_node(node)
        self._thread.start()

    def close(self) -> None:
        """Leave the graph."""
        self._ending.set()
        self._queue.post(lambda: None)
        if self._thread.ident is not None:
            self._thread.join()
        for images in self._images.values():
            images.close()
        self._queue.close()
        self._action.destroy()
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown()

    # ---- asked by others ----

    def ask(self, text: str, *, track: bool, timeout_s: float, tell: Tell) -> None:
        """Send a command; its answer comes on `segmentation`. ``tell`` gets why it was not taken."""
        goal = Segment.Goal(command=text, timeout_sec=float(timeout_s), track=track)

        def send() -> None:
            if not self._action.server_is_ready():
                tell(False, NO_NODE)
                return
            self._action.send_goal_async(goal).add_done_callback(taken)

        def taken(sending: Future) -> None:
            if not sending.result().accepted:
                tell(False, "the node refused the command; is it active? see its log")

        self._queue.post(send)

    def stop(self, tell: Tell) -> None:
        """End every command at work or waiting, whoever sent it, and follow nothing any longer."""

        def send() -> None:
            self._stop.publish(String(data=""))
            self._call(self._reset, NO_NODE, tell)

        self._queue.post(send)

    def save_failure(self, tell: Tell) -> None:
        """Press the recorder's button."""
        self._queue.post(lambda: self._call(self._save, NO_NODE, tell))

    def parameters(self) -> dict[str, Any]:
        """Return the node's parameters, none where it does not say them; waits for them."""
        answered: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        names = [parameter.name for parameter in parameters()]

        def take(future: Future) -> None:
            values = [parameter_value_to_python(value) for value in future.result().values]
            answered.put({name: value for name, value in zip(names, values, strict=False) if value is not None})

        def send() -> None:
            if not self._ask_parameters.service_is_ready():
                answered.put({})
                return
            request = GetParameters.Request(names=names)
            self._ask_parameters.call_async(request).add_done_callback(take)

        self._queue.post(send)
        try:
            return answered.get(timeout=PARAMETERS_S)
        except queue.Empty:
            return {}

    def hear(self, pcm: bytes) -> bool:
        """Publish audio, 16-bit little-endian at 16 kHz, for the listener; whether there is one."""
        samples = array.array("h", pcm)
        self._queue.post(lambda: self._audio.publish(Int16MultiArray(data=samples)))
        return bool(self._audio.get_subscription_count())

    def _call(self, service: Any, absent: str, tell: Tell) -> None:
        if not service.service_is_ready():
            tell(False, absent)
            return
        answered = lambda future: tell(future.result().success, future.result().message)  # noqa: E731
        service.call_async(Trigger.Request()).add_done_callback(answered)

    # ---- the thread ----

    def _spin(self) -> None:
        while rclpy.ok() and not self._ending.is_set():
            try:
                self._executor.spin_once()
            except ExternalShutdownException:
                return
            except Exception as error:  # noqa: BLE001 - raised by rclpy around a callback
                guard.report(self._node, "executor", error)

    def _look(self) -> None:
        """Follow whoever publishes pictures, compressed ones where there are no others; notice a node that is gone."""
        if len(self._images) == 1 and self._is_published("image/compressed") and not self._is_published("image"):
            self._see("image/compressed")
        for images in self._images.values():
            images.follow()
        if time.monotonic() - self._heard_s > SILENT_S and self._hearer is not None:
            self._hearer.on_health({})

    def _see(self, name: str) -> None:
        call = guard.callback(self._node, self._on_image)
        self._images[name] = CameraSubscription(self._node, name, call, "auto", Health(SILENT_S))

    def _is_published(self, name: str) -> bool:
        topic = self._node.resolve_topic_name("image") + name.removeprefix("image")
        return bool(self._node.get_publishers_info_by_topic(topic))

    def _on_image(self, message: Any) -> None:
        try:
            decode = frame_decoder(message)
        except RejectedInput:  # the node says so itself, in its diagnostics
            return
        self._hear().on_image(stamp_ns(message.header.stamp), decode, message)

    def _on_answer(self, message: Segmentation) -> None:
        self._hear().on_answer(read_answer(message), masked_ns(message), message)

    def _on_track(self, message: Segmentation) -> None:
        self._hear().on_track(read_answer(message), masked_ns(message))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        parts = {}
        for status in message.status:
            if status.name.startswith(self._prefix):
                values = {pair.key: pair.value for pair in status.values}
                level = Level(status.level[0]).name
                parts[status.name[len(self._prefix) :]] = {"level": level, "message": status.message, "values": values}
        if parts:
            self._heard_s = time.monotonic()
            self._hear().on_health(parts)

    def _hear(self) -> Hearer:
        assert self._hearer is not None  # noqa: S101 - nothing is heard before ``start``
        return self._hearer
