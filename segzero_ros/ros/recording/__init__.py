"""What the node records: what comes in, what is answered, and which models answered. See ``segzero_ros.recorder``.

The executor's thread only notes that a message has come, in a few microseconds; serialising, compressing and writing
are the recorder's thread's.
"""

import functools
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import String

from segzero_ros import __version__
from segzero_ros.bundle import MANIFEST, hash_file, resolve_bundle
from segzero_ros.config import NodeConfig
from segzero_ros.errors import ANSWERED, Code, RejectedInput
from segzero_ros.health import Diagnostic, Level
from segzero_ros.msg import Segmentation
from segzero_ros.recorder import why_unavailable
from segzero_ros.recorder.commands import EVENTS
from segzero_ros.recorder.entry import Channel, Entry
from segzero_ros.recorder.ring import Ring
from segzero_ros.recorder.store import Store, usable_folder
from segzero_ros.recorder.thread import RecorderThread
from segzero_ros.ros.camera import CameraFrame
from segzero_ros.ros.executor import guard
from segzero_ros.ros.executor.queue import ExecutorQueue
from segzero_ros.ros.recording.definition import definition, type_name
from segzero_ros.worker import Job

if TYPE_CHECKING:
    from rclpy.node import Node

SMALL_BYTES = 1000  # about what a message without data takes
CLOSE_S = 5.0  # for what waits to be written when the node is cleaned up
NO_FAILURE = ANSWERED | {Code.CANCELLED, Code.PREEMPTED, Code.BUSY, Code.NOT_ACTIVE, Code.LOADING}
"""The codes of answers after which there is nothing to be looked into."""

ALWAYS = frozenset({"command", "tracks"})  # with record: all written when they come; the rest with the answer


def _never_the_answers_fault(call: Callable[..., None]) -> Callable[..., None]:
    """Return a method whose defects are logged and end the recording, not what is recorded."""

    @functools.wraps(call)
    def guarded(self: "FlightRecorder", *args: Any) -> None:
        try:
            call(self, *args)
        except Exception as error:  # noqa: BLE001
            self.give_up(error)

    return guarded


class FlightRecorder:
    """Notes messages, keeps the last seconds, writes what is wanted; all but ``report`` by the executor's thread."""

    def __init__(self, node: "Node", queue: ExecutorQueue) -> None:
        self._node, self._queue = node, queue
        self._mode = "none"
        self._thread: RecorderThread | None = None
        self._ring = Ring(0.0, 0)
        self._channels: dict[tuple[str, type], Channel] = {}
        self._numbers = itertools.count(1)
        self._parameters: dict[str, Any] = {}
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
        self._parameters = asdict(config)
        self._about = {
            "segzero_ros": __version__,
            "node": self._node.get_fully_qualified_name(),
            "parameters": json.dumps(self._parameters),
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

    def note_engines(self, place: str, bundle: str, profile: str, engines: str) -> None:
        """Say which models answer from here on. ``place``: the parameter `bundle`; ``bundle``: its name."""
        if self._thread is not None:
            self._parameters["bundle"] = place
            parameters = json.dumps(self._parameters)
            self._about |= {"bundle": bundle, "profile": profile, "engines": engines, "parameters": parameters}
            self._about["bundle_sha256"] = manifest_hash(place) or manifest_hash(bundle)
            self._thread.describe(self._about)

    def give_up(self, error: Exception) -> None:
        """Record no longer: a defect."""
        guard.report(self._node, "recorder", error)
        self.close()

    @_never_the_answers_fault
    def note(self, name: str, message: Any) -> None:
        """Note a message that has come; ``name``: that of its endpoint."""
        if self._thread is not None:
            entry = self._add(name, message)
            if name in ALWAYS and self._mode == "all":
                self._thread.put([entry])

    @_never_the_answers_fault
    def note_command(self, command_id: str, text: str) -> None:
        """Note the very words of a command, before they are read."""
        if self._thread is None:
            return
        entry = self._event({"event": "command", "id": command_id, "text": text})
        if self._mode == "all":
            self._thread.put([entry])

    @_never_the_answers_fault
    def note_answer(self, job: Job, message: Segmentation) -> None:
        """Note an answer that is out, with the picture the reasoner saw, that of the masks, and its depth."""
        if self._thread is None or job.result is None:
            return
        image, shown = self._image_of(job.looked_at), self._image_of(job.source)
        at = job.source if isinstance(job.source, CameraFrame) else None
        depth = self._entry_of("depth", at.depth) if at is not None and at.depth is not None else None
        answer = self._add("segmentation", message)
        result = job.result
        event = {"event": "answer", "id": message.command_id, "command": message.command, "text": result.text}
        event |= {"code": Code(message.code).name, "image": image and image.sequence, "answer": answer.sequence}
        mine = [*filter(None, (image, shown, depth)), answer, self._event({**event, "carried": message.tracked})]
        if message.code not in NO_FAILURE:
            self._thread.put([*self._lasting(), *self._ring.entries(), *mine])
        elif self._mode == "all":
            self._thread.put([*self._lasting(), *mine])

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

    def _lasting(self) -> list[Entry]:
        """Return the newest of what may have come before the ring begins: camera_info."""
        return list(self._newest.values())

    def _image_of(self, source: object) -> Entry | None:
        """Return the entry of a frame's message, None without one."""
        if not isinstance(source, CameraFrame):
            return None
        return self._entry_of("image" if isinstance(source.message, Image) else "image/compressed", source.message)

    def _entry_of(self, name: str, message: Any) -> Entry:
        """Return the entry of a message, a new one where the ring does not have it any more."""
        found = self._ring.find(message)
        if found is None:
            found = self._entry(name, message)
            self._ring.add(found)
        return found

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
        return hash_file(resolve_bundle(bundle) / MANIFEST)
    except (RejectedInput, OSError):
        return ""
