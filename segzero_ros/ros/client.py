"""The other side of the node's interface: sends commands by action or topic, receives reasoning and frames.

One thread: nothing happens unless one of the methods that wait is running.
"""

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from segzero_ros import pipeline
from segzero_ros.action import Segment
from segzero_ros.command import Command
from segzero_ros.errors import Code
from segzero_ros.frame import Frame, no_frame
from segzero_ros.health import Level
from segzero_ros.msg import Segmentation
from segzero_ros.ros.command_server import echoed_text
from segzero_ros.ros.convert import frame_decoder, stamp_ns
from segzero_ros.ros.executor.process import start_ros
from segzero_ros.ros.processes import NODE
from segzero_ros.ros.qos import topic_qos

KEPT_FRAMES = 150  # 15 s at 10 pictures per second, 140 MB at 640 x 480: an answer comes well before
TICK_S = 0.02
QUIET_S = 0.1  # the node publishes every 30 ms
GONE_S = 2.0  # without the node's action in the graph: it has ended
GRACE_S = 10.0  # what an answer may take beyond the time the node was given

OnText = Callable[[str], None]
Stop = Callable[[], bool]


def _nothing() -> None:
    """Do nothing: the default of ``alive``."""


class NoAnswerError(Exception):
    """The node did not do its part: not there, refused the goal, or silent; the text says which and what to do."""


class Client:
    """Sends one command after another to the node; ``answers`` holds everything that came on `segmentation`."""

    def __init__(
        self, *, frames: bool = False, arguments: list[str] | None = None, alive: Callable[[], None] = _nothing
    ) -> None:
        """``frames``: keep the camera's pictures as well. ``alive`` is called between waits and may raise.

        Raises ``StartError`` for ``arguments`` that ROS refuses.
        """
        start_ros(arguments)
        self._node = Node("segzero_client")
        self._alive = alive
        self._action = ActionClient(self._node, Segment, "segment")
        self._command = self._node.create_publisher(String, "command", topic_qos("command"))
        self._stop = self._node.create_publisher(String, "stop", topic_qos("stop"))
        self._stream = ""
        self._seen_s = 0.0  # when the node's action was last in the graph
        self.answers: list[Segmentation] = []
        self.frames: deque[Frame] = deque(maxlen=KEPT_FRAMES)
        self._subscribe(frames)

    def _subscribe(self, frames: bool) -> None:
        many = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=50, reliability=ReliabilityPolicy.RELIABLE)
        self._node.create_subscription(Segmentation, "segmentation", self.answers.append, many)
        self._node.create_subscription(String, "reasoning_stream", self._on_reasoning, many)
        if frames:
            self._node.create_subscription(Image, "image", self._on_image, topic_qos("image", "reliable"))

    def _on_reasoning(self, message: String) -> None:
        self._stream = message.data

    def _on_image(self, message: Image) -> None:
        self.frames.append(frame_decoder(message)())

    def close(self) -> None:
        """Leave the graph."""
        self._action.destroy()
        self._node.destroy_node()
        rclpy.try_shutdown()

    # ---- waiting ----

    def wait(self, done: Callable[[], object], timeout_s: float) -> bool:
        """Let messages come in until ``done()`` or the time is over; return whether it is done."""
        end = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > end:
                return False
            rclpy.spin_once(self._node, timeout_sec=TICK_S)
            self._alive()
        return True

    def wait_for_node(self, timeout_s: float) -> None:
        """Wait until the node's action and topics are there; ``NoAnswerError`` when they are not in time."""
        end = time.monotonic() + timeout_s
        self.wait_for_action(timeout_s)
        if not self.wait(self._command.get_subscription_count, end - time.monotonic()):
            raise NoAnswerError(f"no node listens to the topic 'command' after {timeout_s:.0f} s; is it remapped?")

    def wait_for_action(self, timeout_s: float) -> None:
        """Wait until the node's action is there, all that a goal needs; ``NoAnswerError`` when it is not in time."""
        if not self.wait(self._action.server_is_ready, timeout_s):
            raise NoAnswerError(
                f"no node offers the action 'segment' after {timeout_s:.0f} s; is it running, in this ROS_DOMAIN_ID?"
            )

    def wait_for_engines(self, timeout_s: float) -> None:
        """Wait until the node says that its engines are open; ``NoAnswerError`` with its words when they are not."""

        def is_over(said: DiagnosticStatus, values: dict[str, str]) -> bool:
            is_ready = values.get("engines_process", "ready").startswith("ready") and bool(values.get("engines"))
            return is_ready or (values.get("state") == "unconfigured" and said.level == bytes([Level.ERROR]))

        said = self._watch_node(is_over, timeout_s)
        if said is None or said.level == bytes([Level.ERROR]):
            words = said.message if said is not None else f"not after {timeout_s:.0f} s"
            raise NoAnswerError(f"the node's engines are not open: {words}")

    def change_bundle(self, bundle: str, timeout_s: float) -> None:
        """Have the node take other models; ``NoAnswerError`` with its words where it does not."""
        service = self._node.create_client(SetParameters, f"{NODE}/set_parameters")
        if not self.wait(service.service_is_ready, GRACE_S):
            raise NoAnswerError(f"no node {NODE!r} after {GRACE_S:.0f} s; is it running, in this ROS_DOMAIN_ID?")
        change = Parameter("bundle", value=bundle).to_parameter_msg()
        sending = service.call_async(SetParameters.Request(parameters=[change]))
        answer = self._result(sending, GRACE_S, "did not take the parameter").results[0]
        if not answer.successful:
            raise NoAnswerError(f"the node refuses the bundle: {answer.reason}")
        said = self._watch_node(lambda _, values: "opened" not in values.get("bundle_change", ""), timeout_s)
        failure = "" if said is None else _values(said).get("bundle_change", "")
        if said is None or failure:
            raise NoAnswerError(f"the node goes on as before: {failure or f'nothing came of it in {timeout_s:.0f} s'}")

    def _watch_node(
        self, is_over: Callable[[DiagnosticStatus, dict[str, str]], bool], timeout_s: float
    ) -> DiagnosticStatus | None:
        """Return the first that the node says of itself for which ``is_over`` is true, None if nothing is in time."""
        name = f"{self._node.get_namespace().rstrip('/')}/{NODE}: node"
        found: list[DiagnosticStatus] = []

        def hear(message: DiagnosticArray) -> None:
            mine = [status for status in message.status if status.name == name]
            found.extend(status for status in mine if is_over(status, _values(status)))

        subscription = self._node.create_subscription(DiagnosticArray, "/diagnostics", hear, topic_qos("/diagnostics"))
        self.wait(lambda: found, timeout_s)
        self._node.destroy_subscription(subscription)
        return found[0] if found else None

    def diagnostics(self, timeout_s: float) -> dict[str, dict[str, Any]]:
        """Return what the node says of itself next: level, message and values by part; ``NoAnswerError`` in silence."""
        prefix = f"{self._node.get_namespace().rstrip('/')}/{NODE}: "
        found: dict[str, dict[str, Any]] = {}

        def hear(message: DiagnosticArray) -> None:
            for status in message.status:
                if status.name.startswith(prefix):
                    level, values = Level(status.level[0]).name, _values(status)
                    found[status.name[len(prefix) :]] = {"level": level, "message": status.message, "values": values}

        subscription = self._node.create_subscription(DiagnosticArray, "/diagnostics", hear, topic_qos("/diagnostics"))
        self.wait(lambda: found, timeout_s)
        self._node.destroy_subscription(subscription)
        if not found:
            raise NoAnswerError(f"no node {NODE!r} has said anything of itself for {timeout_s:.0f} s; is it running?")
        return found

    # ---- commands ----

    def listen_to_tracks(self, hear: Callable[[Segmentation], None]) -> None:
        """Have ``hear`` called with what the node says of what it follows."""
        many = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=50, reliability=ReliabilityPolicy.RELIABLE)
        self._node.create_subscription(Segmentation, "tracks", hear, many)

    def listen(self, topic: str, kind: type, hear: Callable[[Any], None], depth: int = 10) -> None:
        """Have ``hear`` called with what comes on a topic, with the QoS that viewers ask for by default: reliable."""
        self._node.create_subscription(kind, topic, hear, depth)

    def trigger(self, service: str) -> None:
        """Call a `std_srvs/Trigger` and wait until it is answered; ``NoAnswerError`` where it is not."""
        client = self._node.create_client(Trigger, service)
        try:
            if not self.wait(client.service_is_ready, GRACE_S):
                raise NoAnswerError(f"nobody offers the service {service!r} after {GRACE_S:.0f} s")
            self._result(client.call_async(Trigger.Request()), GRACE_S, f"did not answer {service!r}")
        finally:
            self._node.destroy_client(client)

    def stop_following(self, command_id: str) -> None:
        """Ask the node to follow what a command found no longer, "" = all; from any thread."""
        self._stop.publish(String(data=command_id))

    def send_goal(
        self,
        text: str,
        *,
        timeout_s: float,
        on_text: OnText = pipeline.ignore,
        stop: Stop = pipeline.never,
        track: bool = False,
    ) -> Segmentation:
        """Send ``text`` as a goal and return its answer.

        ``on_text`` gets the thinking so far each time it has grown. Once ``stop()`` is True the goal is cancelled.
        ``track``: what is found is followed from then on.
        """
        goal = Segment.Goal(command=text, timeout_sec=float(timeout_s), track=track)  # an int would abort in C
        sending = self._action.send_goal_async(goal, lambda message: on_text(message.feedback.partial_reasoning))
        handle = self._result(sending, GRACE_S, "did not take the goal")
        if not handle.accepted:
            raise NoAnswerError("the node refused the goal; is it active? see its log")
        future = handle.get_result_async()
        cancelling = False

        def done() -> bool:
            nonlocal cancelling
            if stop() and not cancelling:
                cancelling = True
                handle.cancel_goal_async()
            return bool(future.done()) or self._is_gone()

        self._seen_s = time.monotonic()
        if not self.wait(done, timeout_s + GRACE_S):
            raise NoAnswerError(f"the node gave no result in {timeout_s + GRACE_S:.0f} s")
        if not future.done():
            raise NoAnswerError("the node has ended, and the command with it")
        segmentation: Segmentation = future.result().result.segmentation
        return segmentation

    def _is_gone(self) -> bool:
        """Whether the node's action has not been in the graph for GONE_S; one that was killed leaves it after 20 s."""
        now = time.monotonic()
        if self._action.server_is_ready():
            self._seen_s = now
        return now - self._seen_s > GONE_S

    def _result(self, future: Future, timeout_s: float, failure: str) -> Any:
        if not self.wait(future.done, timeout_s):
            raise NoAnswerError(f"the node {failure} in {timeout_s:.0f} s")
        return future.result()

    def publish_command(self, text: str, *, timeout_s: float, on_text: OnText = pipeline.ignore) -> Segmentation:
        """Publish ``text`` on `command` and return the first answer to it; ``on_text`` as with ``send_goal``."""
        send = partial(self._command.publish, String(data=text))
        return self.answer_to(send, command=echoed_text(text), timeout_s=timeout_s, on_text=on_text)

    def answer_to(
        self, send: Callable[[], None], *, command: str = "", timeout_s: float, on_text: OnText = pipeline.ignore
    ) -> Segmentation:
        """Call ``send`` and return the first answer that comes then; ``command``: to this text, "" = to any."""
        self._drain_stream()
        known = {answer.command_id for answer in self.answers}
        self._stream = ""
        send()

        def found() -> list[Segmentation]:
            return [a for a in self.answers if a.command_id not in known and command in ("", a.command)]

        def done() -> bool:
            if self._stream:
                on_text(self._stream)
            return bool(found())

        if not self.wait(done, timeout_s + GRACE_S):
            raise NoAnswerError(f"no answer on 'segmentation' in {timeout_s + GRACE_S:.0f} s")
        return found()[0]

    def _drain_stream(self) -> None:
        """Wait until an earlier command's reasoning has all arrived: the stream carries no command id."""
        while self._stream:
            self._stream = ""
            self.wait(lambda: False, QUIET_S)

    def frame_at(self, stamp: int) -> Frame | None:
        """Return the kept frame with this stamp (ns), or None."""
        return next((frame for frame in reversed(self.frames) if frame.stamp_ns == stamp), None)


def _values(status: DiagnosticStatus) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


def read_answer(message: Segmentation, frame: Frame | None = None) -> pipeline.Segmentation:
    """Return the core's value of a message, so that pictures and descriptions are made the same way everywhere."""
    return pipeline.Segmentation(
        command=Command(message.command_id, message.command),
        code=Code(message.code),
        detail=message.detail,
        reasoning=message.reasoning,
        instances=tuple(_instance(found, k) for k, found in enumerate(message.instances, start=1)),
        labels=pipeline.labels_of(message.mask),
        frame=frame or no_frame(),
        timing=_timing(message),
        text=message.reasoning,
    )


def masked_ns(message: Segmentation) -> int:
    """Return the stamp (ns) of the frame that the mask belongs to; 0 when there was none."""
    return stamp_ns(message.header.stamp)


def grounded_ns(message: Segmentation) -> int:
    """Return the stamp (ns) of the frame that was grounded on; 0 when there was none."""
    return stamp_ns(message.grounded_stamp)


def _instance(found: Any, mask_index: int) -> pipeline.Instance:
    box = (found.x0, found.y0, found.x1, found.y1)
    point = (found.point_x, found.point_y)
    return pipeline.Instance(found.label, found.score, box, point, mask_index, found.track_id)


def _timing(message: Segmentation) -> pipeline.Timing:
    names = pipeline.Timing.__slots__
    return pipeline.Timing(**{name: getattr(message.timing, name) for name in names})
