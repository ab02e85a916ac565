"""What the recorder's tests are made of: channels of bytes, entries, a store in a folder of the test."""

import itertools
from pathlib import Path
from typing import Any

from segzero_ros.recorder.entry import Channel, Entry
from segzero_ros.recorder.reader import About, Record, Recording, open_recording
from segzero_ros.recorder.store import Store, recordings


def cdr_string(text: str) -> bytes:
    """A std_msgs/String as ROS sends it: little-endian CDR, with the terminating NUL counted."""
    data = text.encode() + b"\0"
    return b"\x00\x01\x00\x00" + len(data).to_bytes(4, "little") + data


STRING = Channel("recorded", "/recorded", "std_msgs/msg/String", "string data\n", cdr_string)
_numbers = itertools.count(1)


def entry(text: str, *, seconds: float = 0.0, size: int | None = None) -> Entry:
    return Entry(STRING, text, int(seconds * 1e9), next(_numbers), len(text) if size is None else size)


def make_store(folder: Path, **changes: Any) -> Store:
    return Store(folder, **{"file_bytes": 10**6, "total_bytes": 10**7, "keep_free": 0, **changes})


def texts(recording: Recording | Path) -> list[str]:
    """The texts in a recording, in the order they were written."""
    recording = open_recording(recording) if isinstance(recording, Path) else recording
    return [record.message.data for record in recording.records() if isinstance(record, Record)]


def abouts(path: Path) -> list[dict[str, str]]:
    return [dict(record.values) for record in open_recording(path).records() if isinstance(record, About)]


def all_texts(folder: Path) -> list[str]:
    return [text for path in recordings(folder) for text in texts(path)]
