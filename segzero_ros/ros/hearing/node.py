"""The node `segzero_listener`: audio in, on `command` what was said, and work ended at once where somebody says stop.

The recogniser runs in a process of its own (`hearing/process/`); this one only hands audio over and publishes.
"""

import threading
import time
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String
from std_srvs.srv import Trigger

from segzero_ros.errors import RejectedInput
from segzero_ros.health import Level
from segzero_ros.hearing.audio import Resampler, read_wav
from segzero_ros.hearing.command import paced
from segzero_ros.hearing.events import Event
from segzero_ros.hearing.process.environment import find_python
from segzero_ros.hearing.process.owner import Hearing, command_line
from segzero_ros.ros.convert import safe_text
from segzero_ros.ros.executor import guard
from segzero_ros.ros.executor.queue import ExecutorQueue
from segzero_ros.ros.hearing.audio_message import message_type, samples_of
from segzero_ros.ros.hearing.config import ListenerConfig, declare
from segzero_ros.ros.qos import topic_qos

NAME = "segzero_listener"
PERIOD_S = 1.0  # of diagnostics
QUIET_S = 5.0  # without audio: somebody should know
AUDIO_DEPTH = 200  # chunks; 20 s of a tenth of a second each


class BadStartError(Exception):
    """The listener cannot start; the text says why and what to do."""


class ListenerNode(Node):  # type: ignore[misc]
    """Hears commands. Raises ``BadStartError`` for parameters that cannot work."""

    def __init__(self, **options: Any) -> None:
        """``options``: those of ``rclpy.node.Node``."""
        super().__init__(NAME, **options)
        try:
            self._config = config = declare(self)
            self._resampler = Resampler(config.sample_rate)
            command = command_line(find_python(config.engines))
            self._hearing = Hearing(config.settings, command, self._on_event, self._on_state)
            audio = message_type(config.audio_type) if config.source == "topic" else None
        except RejectedInput as fault:
            raise BadStartError(str(fault)) from None
        self._queue = ExecutorQueue(self)
        self._state = "the recogniser is being started"
        self._heard_s = time.monotonic()
        self._counts = {"commands": 0, "stops": 0, "not_taken": 0, "broken_chunks": 0}
        self._closing = threading.Event()
        self._partial = self.create_publisher(String, "speech/partial", _reliable(10))
        self._command = self.create_publisher(String, "command", topic_qos("command"))
        self._reset = self.create_client(Trigger, "reset")
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", topic_qos("/diagnostics"))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(PERIOD_S, guard.callback(self, self._diagnose), clock=steady)
        self._hearing.start()
        self._open_source(audio)

    def close(self) -> None:
        """End the recogniser and its threads."""
        self._closing.set()
        self._hearing.close()
        self._queue.close()

    # ---- audio ----

    def _open_source(self, audio: Any) -> None:
        config: ListenerConfig = self._config
        if config.source == "topic":
            reliability = (
                ReliabilityPolicy.RELIABLE if config.audio_qos == "reliable" else ReliabilityPolicy.BEST_EFFORT
            )
            qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=AUDIO_DEPTH, reliability=reliability)
            self.create_subscription(audio, "audio", guard.callback(self, self._on_audio), qos)
            return
        source = self._play if config.source == "wav" else self._open_microphone
        threading.Thread(target=self._run_source, args=(source,), name="segzero-source", daemon=True).start()

    def _run_source(self, source: Any) -> None:
        try:
            source()
        except RejectedInput as fault:
            detail = str(fault)  # the name is gone when the executor gets there
            self._queue.post(lambda: self._fail(detail))

    def _fail(self, detail: str) -> None:
        self._state = detail
        self.get_logger().error(detail)

    def _play(self) -> None:
        self._hearing.wait_ready()
        for chunk in paced(read_wav(Path(self._config.wav))):
            if self._closing.is_set():
                return
            self._take(chunk)

    def _open_microphone(self) -> None:
        from segzero_ros.hearing.microphone import microphone

        with microphone(self._config.microphone, self._take):
            self._closing.wait()

    def _on_audio(self, message: Any) -> None:
        try:
            samples = samples_of(message, self._config.sample_rate, self._config.channels)
        except RejectedInput as fault:
            self._counts["broken_chunks"] += 1
            self.get_logger().warning(str(fault), throttle_duration_sec=10.0)
            return
        self._take(self._resampler.feed(samples))

    def _take(self, samples: Any) -> None:
        self._heard_s = time.monotonic()
        self._hearing.feed(samples)

    # ---- what is heard ----

    def _on_event(self, event: Event) -> None:
        self._queue.post(lambda: self._publish(event))

    def _on_state(self, state: str) -> None:
        self._queue.post(lambda: self._note(state))

    def _note(self, state: str) -> None:
        self._state = state
        if state:
            self.get_logger().error(state)
        else:
            self.get_logger().info(f"listening to {self._config.source}, model {self._config.settings.model}")

    def _publish(self, event: Event) -> None:
        """Say on the graph what was heard; "stop" first of all."""
        if event.kind == "stop":
            self._stop(event)
        elif event.kind == "partial":
            self._partial.publish(String(data=safe_text(event.text)))
        elif event.is_command:
            self._counts["commands"] += 1
            self.get_logger().info(f"heard: {event.text} (confidence {event.confidence:.2f})")
            self._command.publish(String(data=safe_text(event.text)))
        elif event.kind == "final" and event.reason != "it is a stop":
            self._counts["not_taken"] += 1
            self._partial.publish(String(data=safe_text(event.text)))
            self.get_logger().warning(f"no command: {event.text[:200]!r}: {event.reason}")

    def _stop(self, event: Event) -> None:
        self._counts["stops"] += 1
        if self._reset.service_is_ready():
            self._reset.call_async(Trigger.Request())
            self.get_logger().warning(f"heard {event.text!r}: every command ends")
        else:
            self.get_logger().error(f"heard {event.text!r}, but there is no service 'reset': is the node running?")

    # ---- health ----

    def _diagnose(self) -> None:
        quiet_s = time.monotonic() - self._heard_s
        level, message = Level.OK, "listening"
        if self._state:
            level, message = Level.ERROR, self._state
        elif quiet_s > QUIET_S and self._config.source != "wav":
            is_topic = self._config.source == "topic"
            look = f"is somebody publishing {self._config.audio_type}?" if is_topic else "look at the microphone"
            level, message = Level.WARN, f"no audio for {quiet_s:.0f} s; {look}"
        values = {name: str(count) for name, count in self._counts.items()}
        values |= {
            "dropped_s": f"{self._hearing.dropped_s:.1f}",
            "recogniser_pid": str(self._hearing.process_id),
            "recogniser_starts": str(self._hearing.starts),
        }
        where = f"{self.get_namespace().rstrip('/')}/{NAME}"
        status = DiagnosticStatus(level=bytes([level]), name=f"{where}: speech", message=safe_text(message))
        status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)


def _reliable(depth: int) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=ReliabilityPolicy.RELIABLE)
