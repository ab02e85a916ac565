"""What the node records: what comes in, what is answered, and which models answered. See ``segzero_ros.recorder``.

The executor's thread only notes that a message has come, in a few microseconds; serialising, compressing and writing
are the recorder's thread's.
"""

import hashlib
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rclpy.serialization import serialize_message
from std_msgs.msg import String

from segzero_ros import __version__
from segzero_ros.bundle import MANIFEST, resolve_bundle
from segzero_ros.config import NodeConfig
from segzero_ros.errors import ANSWERED, Code, RejectedInput
from segzero_ros.health import Diagnostic, Level
from segzero_ros.msg import Segmentation
from segzero_ros.pipeline import Segmentation as Result
from segzero_ros.recorder import why_unavailable
from segzero_ros.recorder.commands import EVENTS
from segzero_ros.recorder.entry import Channel, Entry
from segzero_ros.recorder.ring import Ring
from segzero_ros.recorder.store import Store, usable_folder
from segzero_ros.recorder.thread import RecorderThread
from segzero_ros.ros.camera import CameraFrame
from segzero_ros.ros.executor.queue import ExecutorQueue
from segzero_ros.ros.recording.definition import definition, type_name

if TYPE_CHECKING:
    from rclpy.node import Node

SMALL_BYTES = 1000  # about what a message without data takes
CLOSE_S = 5.0  # for what waits to be written when the node is cleaned up
NO_FAILURE = ANSWERED | {Code.CANCELLED, Code.PREEMPTED, Code.BUSY, Code.NOT_ACTIVE, Code.LOADING}
"""The codes of answers after which there is nothing to be looked into."""

Publish = Callable[[Result, Any, object], Segmentation]


class FlightRecorder:
    """Notes messages, keeps the last seconds, writes what is wanted; all but ``report`` by the executor's thread."""

    def __init__(self, node: "Node", queue: ExecutorQueue) -> None:
        self._node, self._queue = node, queue
        self._mode = "none"
        self._thread: RecorderThread | None = None
        self._ring = Ring(0.0, 0)
        self._channels: dict[tuple[str, type], Channel] = {}
        self._numbers = itertools.count(1)
        self._about: dict[str, str] = {}
        self._newest: dict[str, Entry] = {}  # of the topics that say something once and for long

    def open(self, config: NodeConfig) -> None:
        """Begin as ``record`` says; ``RejectedInput`` CONFIG_VALUE where that cannot be."""
        self.close()
        if config.record == "none":
            return
        lacking = why_unavailable()
        if lacking:
            detail = f"record = {config.record} {lacking}; or set record to none"
            raise RejectedInput(Code.CONFIG_VALUE, detail)
        memory, total = config.record_memory_mb * 1_000_000, config.record_max_mb * 1_000_000
        store = Store(usable_folder(config.record_dir), file_bytes=total // 8, total_bytes=total)
        self._ring = Ring(config.record_sec, memory)
        self._thread = RecorderThread(store, most_bytes=memory, on_fault=self._tell)
        self._mode = config.record
        self._about = {
            "segzero_ros": __version__,
            "node": self._node.get_fully_qualified_name(),
            "parameters": json.dumps(asdict(config)),
        }
        self._thread.describe(self._about)

    def close(self) -> None:
        """Write what waits, and end."""
        thread, self._thread, self._mode = self._thread, None, "none"
        if thread is not None and not thread.close(CLOSE_S):
            self._node.get_logger().error("the recorder was left behind: its disk is too slow, or gone")
        self._ring = Ring(0.0, 0)
        self._channels.clear()
        self._newest.clear()

    def note_engines(self, config: NodeConfig, bundle: str, profile: str, engines: str) -> None:
        """Say which models answer from here on."""
        if self._thread is not None:
            parameters = json.dumps(asdict(config))
            self._about |= {"bundle": bundle, "profile": profile, "engines": engines, "parameters": parameters}
            self._about["bundle_sha256"] = manifest_hash(config.bundle) or manifest_hash(bundle)
            self._thread.describe(self._about)

    def note(self, name: str, message: Any) -> None:
        """Note a message that has come; ``name``: that of its endpoint."""
        if self._thread is not None:
            entry = self._add(name, message)
            if name == "command" and self._mode == "all":
                self._thread.put([entry])

    def note_command(self, command_id: str, text: str) -> None:
        """Note the very words of a command, before they are read."""
        if self._thread is None:
            return
        entry = self._event({"event": "command", "id": command_id, "text": text})
        if self._mode == "all":
            self._thread.put([entry])

    def publishing(self, publish: Publish) -> Publish:
        """Return ``publish`` with every answer noted once it is out."""

        def publish_and_note(result: Result, source: Any, prepared: object = None) -> Segmentation:
            message = publish(result, source, prepared)
            if self._thread is not None:
                self._note_answer(self._thread, result, source, message)
            return message

        return publish_and_note

    def save(self) -> tuple[bool, str]:
        """Write the last seconds, as after a failure; success, and what was done."""
        if self._thread is None:
            return False, "nothing is recorded: set record to failures or all, and configure the node again"
        group = [*self._lasting(), *self._ring.entries(), self._event({"event": "button"})]
        if not self._thread.put(group):
            return False, "too much waits to be written already; the disk is slow"
        return True, f"{len(self._ring)} messages of the last seconds are being written"

    def report(self) -> list[Diagnostic]:
        """Return the recorder's line of the diagnostics, none while nothing is recorded."""
        if self._thread is None:
            return []
        stats = self._thread.stats()
        message = stats.fault or f"recording {self._mode}"
        values = {"file": stats.file, "written": str(stats.written), "dropped": str(stats.dropped)}
        return [Diagnostic(Level.WARN if stats.fault else Level.OK, "recorder", message, values)]

    def _note_answer(self, thread: RecorderThread, result: Result, source: Any, message: Segmentation) -> None:
        source = source if isinstance(source, CameraFrame) else None
        image = self._entry_of("image", source.message) if source is not None else None
        depth = self._entry_of("depth", source.depth) if source is not None and source.depth is not None else None
        answer = self._add("segmentation", message)
        event = {"event": "answer", "id": result.command.id, "command": result.command.text, "text": result.text}
        event |= {"code": result.code.name, "image": image and image.sequence, "answer": answer.sequence}
        mine = [*filter(None, (image, depth)), answer, self._event(event)]
        if result.code not in NO_FAILURE:
            thread.put([*self._lasting(), *self._ring.entries(), *mine])
        elif self._mode == "all":
            thread.put([*self._lasting(), *mine])

    def _lasting(self) -> list[Entry]:
        """Return the newest of what may have come before the ring begins: camera_info."""
        return list(self._newest.values())

    def _entry_of(self, name: str, message: Any) -> Entry:
        """Return the entry of a message, a new one where the ring does not have it any more."""
        return self._ring.find(message) or self._entry(name, message)

    def _event(self, fields: dict[str, Any]) -> Entry:
        return self._add(EVENTS, String(data=json.dumps(fields)))

    def _add(self, name: str, message: Any) -> Entry:
        entry = self._entry(name, message)
        self._ring.add(entry)
        if name == "camera_info":
            self._newest[name] = entry
        return entry

    def _entry(self, name: str, message: Any) -> Entry:
        mask = getattr(message, "mask", None)
        size = SMALL_BYTES + len(getattr(message, "data", ())) + (len(mask.data) if mask is not None else 0)
        return Entry(self._channel(name, type(message)), message, time.time_ns(), next(self._numbers), size)

    def _channel(self, name: str, kind: type) -> Channel:
        if (name, kind) not in self._channels:
            topic = self._node.resolve_topic_name(name)
            self._channels[name, kind] = Channel(name, topic, type_name(kind), definition(kind), serialize_message)
        return self._channels[name, kind]

    def _tell(self, fault: str) -> None:
        self._queue.post(lambda: self._node.get_logger().error(fault))


def manifest_hash(bundle: str) -> str:
    """Return the SHA-256 of a bundle's manifest, which has those of all its files; "" where there is none."""
    try:
        return hashlib.sha256((resolve_bundle(bundle) / MANIFEST).read_bytes()).hexdigest()
    except (RejectedInput, OSError):
        return ""
