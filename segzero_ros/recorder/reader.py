"""The messages of a recording, one after the other, also of one that was cut by kill -9 or a full disk.

Records are walked by their lengths first, so that one that is not whole ends the reading, not the reader.
"""

import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.recorder import why_unavailable
from segzero_ros.recorder.store import ABOUT

MAGIC = b"\x89MCAP0\r\n"
_HEAD = struct.Struct("<BQ")  # opcode and length of a record
_MOST_RECORD_BYTES = 1 << 30


@dataclass(frozen=True)
class Record:
    """One message of a recording. ``role``: what the node calls its topic; of other people's bags it is the topic.

    ``content``: CDR. ``message``: the same, decoded by the definitions in the file.
    """

    role: str
    topic: str
    type: str
    time_ns: int
    sequence: int
    content: bytes
    _schema: Any = field(repr=False, default=None)
    _decoders: Any = field(repr=False, default=None)

    @cached_property
    def message(self) -> Any:
        """The message with its fields as attributes; ``RejectedInput`` IMAGE_UNREADABLE for what is none."""
        try:
            return self._decoders.decoder_for("cdr", self._schema)(self.content)
        except Exception as error:
            detail = f"got a {self.type} on {self.topic} that cannot be decoded ({type(error).__name__}: {error})"
            raise RejectedInput(Code.IMAGE_UNREADABLE, f"{detail}; the recording is damaged") from error


@dataclass(frozen=True, slots=True)
class About:
    """What answers from here on: bundle, its hash, versions, parameters."""

    values: Mapping[str, str]


@dataclass(slots=True)
class Recording:
    """A file of ``segzero_ros``' recorder, or another MCAP file of ROS 2. ``is_cut``: it ends in the middle."""

    path: Path
    whole_bytes: int
    is_cut: bool

    def records(self) -> Iterator[Record | About]:
        """Yield what is in it, in the order it was written."""
        from mcap.exceptions import McapError
        from mcap.records import Channel, Message, Metadata, Schema
        from mcap.stream_reader import StreamReader
        from mcap_ros2.decoder import DecoderFactory

        channels: dict[int, Channel] = {}
        schemas: dict[int, Schema] = {}
        decoders = DecoderFactory()
        with self.path.open("rb") as stream:
            reader = StreamReader(cast(Any, Prefix(stream, self.whole_bytes)))
            try:
                for item in reader.records:
                    if isinstance(item, Schema):
                        schemas[item.id] = item
                    elif isinstance(item, Channel):
                        channels[item.id] = item
                    elif isinstance(item, Metadata) and item.name == ABOUT:
                        yield About(dict(item.metadata))
                    elif isinstance(item, Message):
                        yield _record(item, channels[item.channel_id], schemas, decoders)
            except McapError as error:
                if not self.is_cut:
                    raise _damaged(self.path, str(error) or type(error).__name__) from None
            except Exception as error:  # noqa: BLE001 - what damage leads to in three libraries has no type in common
                raise _damaged(self.path, f"{type(error).__name__}: {error}") from None


def open_recording(path: Path) -> Recording:
    """Return a recording; ``RejectedInput`` CONFIG_VALUE for what is none, and where the packages to read it lack."""
    lacking = why_unavailable("mcap_ros2")
    if lacking:
        raise RejectedInput(Code.CONFIG_VALUE, f"reading a recording {lacking}")
    return Recording(path, *whole_length(path))


def whole_length(path: Path) -> tuple[int, bool]:
    """Return up to which byte the records of a file are whole, and whether its end is missing.

    ``RejectedInput`` CONFIG_VALUE for what is no MCAP file.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise _no_recording(path, "it is a folder; name a file in it" if path.is_dir() else "it is no file")
        with path.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                raise _no_recording(path, "it does not begin as MCAP does")
            return _walk(stream, found.st_size)
    except OSError as error:
        raise _no_recording(path, error.strerror or str(error)) from None


def _walk(stream: IO[bytes], size: int) -> tuple[int, bool]:
    """Return up to where the records are whole, and whether the end that a writer gives a file is missing."""
    at = len(MAGIC)
    while True:
        stream.seek(at)
        head = stream.read(_HEAD.size)
        if head == MAGIC:
            return size, False
        opcode, length = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 0)
        if opcode == 0 or length > _MOST_RECORD_BYTES or at + _HEAD.size + length > size:
            return at, True
        at += _HEAD.size + length


class Prefix:
    """The first bytes of a file, as a stream."""

    def __init__(self, stream: IO[bytes], length: int) -> None:
        self._stream, self._left = stream, length

    def read(self, count: int) -> bytes:
        """Return the next bytes, nothing beyond the end."""
        data = self._stream.read(min(count, self._left))
        self._left -= len(data)
        return data


def _record(message: Any, channel: Any, schemas: Mapping[int, Any], decoders: Any) -> Record:
    schema = schemas.get(channel.schema_id)
    role = channel.metadata.get("role") or channel.topic
    kind = schema.name if schema is not None else ""
    return Record(
        role, channel.topic, kind, message.log_time, message.sequence, message.data, _schema=schema, _decoders=decoders
    )


def _no_recording(path: Path, why: str) -> RejectedInput:
    return RejectedInput(Code.CONFIG_VALUE, f"{str(path)[:200]!r} is no recording: {why}; want a .mcap file")


def _damaged(path: Path, why: str) -> RejectedInput:
    return RejectedInput(Code.CONFIG_VALUE, f"the recording {str(path)[:200]!r} is damaged: {why}")
