"""What people corrected, as recordings that `segzero data from-recording` makes rows of.

A folder of its own: the recorder's own grows old and loses its oldest files, and what people did by hand is never
deleted here.
"""

import itertools
import json
import threading
import time
from collections.abc import Sequence
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import String

from segzero_ros import __version__
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.pipeline import Segmentation
from segzero_ros.recorder import why_unavailable
from segzero_ros.recorder.commands import EVENTS
from segzero_ros.recorder.entry import Channel, Entry
from segzero_ros.recorder.store import Store, usable_folder
from segzero_ros.ros.convert import mask_message, segmentation_message
from segzero_ros.ros.recording.definition import definition, type_name

FOLDER = "~/.local/state/segzero_ros/corrections"
FILE_BYTES = 256_000_000
NO_LIMIT = 1 << 62


class CorrectionFile:
    """Writes corrections; from any thread. Nothing is opened or made before the first."""

    def __init__(self, folder: str = "") -> None:
        """``folder``: where to (default FOLDER)."""
        self._folder = folder or FOLDER
        self._store: Store | None = None
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._channels: dict[str, Channel] = {}

    def write(self, image: Any, answer: Any, corrected: Segmentation, prompts: Sequence[Any]) -> str:
        """Write what an answer should have been; returns the file.

        ``image``, ``answer``: the messages of the picture and of the answer. ``prompts``: what a person pointed at.
        ``RejectedInput`` CONFIG_VALUE where it cannot be written.
        """
        lacking = why_unavailable()
        if lacking:
            raise RejectedInput(Code.CONFIG_VALUE, f"keeping a correction {lacking}")
        mask = mask_message(image.header, corrected.labels)
        now = time.time_ns()
        stamp = Time(sec=now // 1_000_000_000, nanosec=now % 1_000_000_000)
        message = segmentation_message(corrected, mask=mask, completed=stamp, bundle=answer.bundle)
        with self._lock:
            picture = self._entry("image" if isinstance(image, Image) else "image/compressed", image)
            right = self._entry("segmentation", message)
            event = {"event": "correction", "id": answer.command_id, "command": answer.command, "prompts": prompts}
            event |= {"code": corrected.code.name, "image": picture.sequence, "answer": right.sequence}
            return self._write([picture, right, self._entry(EVENTS, String(data=json.dumps(event)))])

    def close(self) -> None:
        """Finish the file."""
        with self._lock:
            store, self._store = self._store, None
            if store is not None:
                store.close()

    def _write(self, group: list[Entry]) -> str:
        try:
            if self._store is None:
                self._store = Store(usable_folder(self._folder), file_bytes=FILE_BYTES, total_bytes=NO_LIMIT)
                self._store.describe({"segzero_ros": __version__, "node": "segzero_console"})
            self._store.write(group)
            self._store.sync()
        except OSError as error:
            detail = f"the correction could not be written to {self._folder} ({error.strerror or error}); make room"
            raise RejectedInput(Code.CONFIG_VALUE, detail) from None
        return str(self._store.path)

    def _entry(self, role: str, message: Any) -> Entry:
        kind = type(message)
        if role not in self._channels:
            self._channels[role] = Channel(role, f"/{role}", type_name(kind), definition(kind), serialize_message)
        size = len(getattr(message, "data", "")) + 1000
        return Entry(self._channels[role], message, time.time_ns(), next(self._numbers), size)
