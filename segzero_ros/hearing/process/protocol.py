"""The bytes between the owner of an ear and its process, without I/O.

A frame is its length (4 bytes, big-endian), one byte that says what it is, and a body: audio is 16-bit little-endian
PCM at 16 kHz, everything else JSON or nothing.
Covered: whatever bytes come, in whatever pieces, end in frames or ``ProtocolError``; MOST_BYTES are kept at most.
"""

import struct

AUDIO, END, SETTINGS = b"A", b"E", b"S"  # to the process
READY, EVENT, FAULT, DONE, LEVEL = b"R", b"V", b"F", b"D", b"L"  # from it; LEVEL: samples it has worked off
KINDS = frozenset({AUDIO, END, SETTINGS, READY, EVENT, FAULT, DONE, LEVEL})
MOST_BYTES = 1 << 20
_HEAD = struct.Struct(">Ic")
HEAD_BYTES = _HEAD.size


class ProtocolError(Exception):
    """The other end does not speak as it should."""


def encode(kind: bytes, body: bytes = b"") -> bytes:
    """Return the bytes of a frame; ``ProtocolError`` for one that the other end would refuse."""
    if kind not in KINDS or len(body) > MOST_BYTES:
        raise ProtocolError(f"a frame {kind!r} of {len(body)} bytes, want at most {MOST_BYTES}")
    return _HEAD.pack(len(body), kind) + body


class Reader:
    """Puts frames together from the bytes of a stream."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Return the frames, kind and body, that ``data`` completes; after ``ProtocolError`` the stream is lost."""
        self._bytes += data
        found = []
        while len(self._bytes) >= _HEAD.size:
            length, kind = _HEAD.unpack_from(self._bytes)
            if kind not in KINDS or length > MOST_BYTES:
                raise ProtocolError(f"got a frame {kind!r} of {length} bytes")
            end = _HEAD.size + length
            if len(self._bytes) < end:
                break
            found.append((kind, bytes(self._bytes[_HEAD.size : end])))
            del self._bytes[:end]
        return found
