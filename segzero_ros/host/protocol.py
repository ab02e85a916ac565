"""The protocol between node and host without I/O: bytes in, messages out.

A message is its length (4 bytes, big-endian) and that many bytes of UTF-8 JSON: an object with ``kind`` and the fields
of the class of that name in ``messages.py``. Pixels do not travel here; see ``pixels.py``.
Covered: whatever bytes come, in whatever pieces, end in messages or ``ProtocolError``; nothing is kept beyond one
message of MAX_MESSAGE_BYTES.
"""

import functools
import json
import struct
from dataclasses import fields
from typing import Any, cast

from segzero_ros.host.messages import KINDS, Check, Message, ProtocolError

PROTOCOL = 4
"""Version of the messages; both ends have to have the same."""

MAX_MESSAGE_BYTES = 4 << 20  # the longest answer is a few thousand tokens
_LENGTH = struct.Struct(">I")
LENGTH_BYTES = _LENGTH.size


def encode(message: Message) -> bytes:
    """Return the bytes of ``message``; ``ProtocolError`` for one that the other end would refuse for its length."""
    values = {name: getattr(message, name) for name in _checks(cast(Any, type(message)))}
    body = json.dumps({"kind": type(message).__name__, **values}, allow_nan=False, separators=(",", ":")).encode()
    if len(body) > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"a message of {len(body)} bytes is longer than {MAX_MESSAGE_BYTES}")
    return _LENGTH.pack(len(body)) + body


class Reader:
    """Puts messages together from the bytes of a stream."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that ``data`` completes; raises ``ProtocolError``, after which the stream is lost."""
        self._bytes += data
        found: list[Message] = []
        while len(self._bytes) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._bytes)
            if length > MAX_MESSAGE_BYTES:
                raise ProtocolError(f"got a message of {length} bytes, want at most {MAX_MESSAGE_BYTES}")
            end = _LENGTH.size + length
            if len(self._bytes) < end:
                break
            found.append(decode(bytes(self._bytes[_LENGTH.size : end])))
            del self._bytes[:end]
        return found


@functools.cache
def _checks(kind: Any) -> dict[str, Check]:
    """Return the names of a message's fields, in order, and the check of each."""
    return {field.name: field.metadata["check"] for field in fields(kind)}


def decode(body: bytes) -> Message:
    """Return the message that ``body``, without its length, spells; raises ``ProtocolError``."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise ProtocolError("got bytes that are no JSON") from None
    kind = values.pop("kind", None) if isinstance(values, dict) else None
    known: Any = KINDS.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise ProtocolError(f"got a message of the unknown kind {str(kind)[:40]!r}")
    checks = _checks(known)
    if values.keys() != checks.keys():
        raise ProtocolError(f"got {kind} with other fields than {', '.join(checks)}")
    try:
        return known(**{name: check(values[name]) for name, check in checks.items()})  # type: ignore[no-any-return]
    except (ValueError, OverflowError, RecursionError) as error:
        raise ProtocolError(f"got {kind} with {str(error)[:200]}") from None
