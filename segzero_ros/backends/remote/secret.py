"""The API key: to which server it may go, and out of everything that a server says.

A key goes to one server: the one that ``SEGZERO_API_KEY_HOST`` names, without that the first that took it in this
process. It is found in a text whole, in pieces, escaped, and cut in two by packets.
"""

from __future__ import annotations

import json
import os
import string
from urllib.parse import quote, urlsplit

from segzero_ros.errors import Code, RejectedInput, one_line

KEY_VARIABLE = "SEGZERO_API_KEY"
HOST_VARIABLE = "SEGZERO_API_KEY_HOST"
MAX_SHOWN = 300  # characters of a server's message in a detail
HIDDEN = "***"
_PIECE = 6  # so many characters of a key in a row are not shown
_END = 4  # nor so many at either end of a text
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_TAKEN_BY: dict[str, tuple[str, int]] = {}  # by key: the first server that took it


def owner_of(key: str) -> tuple[str, int | None] | None:
    """Return host and port (None = any) of the server that ``key`` belongs to, None when that is open yet."""
    named = os.environ.get(HOST_VARIABLE, "").strip()
    if not named:
        return _TAKEN_BY.get(key)
    try:
        parts = urlsplit(f"//{named}")
        if parts.hostname and not parts.path:
            return parts.hostname, parts.port
    except ValueError:  # a port that is none
        named += " (its port)"
    raise RejectedInput(Code.CONFIG_VALUE, f"got {HOST_VARIABLE} = {named[:100]!r}, want HOST or HOST:PORT")


def note_taken(key: str, host: str, port: int) -> None:
    """Note that a server took ``key``: from now on it is that server's, unless the environment names another."""
    if key:
        _TAKEN_BY.setdefault(key, (host, port))


def without(key: str, text: str, limit: int = MAX_SHOWN) -> str:
    """Return a server's ``text`` clean, in one line, without the key it might echo, and only then cut to ``limit``."""
    shown = " ".join(one_line(text).split())
    return (_hide(key, shown) if key else shown)[:limit]


def _hide(key: str, text: str) -> str:
    """Replace all pieces of ``key`` in ``text``, also where a packet's end or the server's own cut left part of it."""
    lower, hidden = text.translate(_LOWER), bytearray(len(text))
    for form in {form.translate(_LOWER) for form in (key, json.dumps(key)[1:-1], quote(key, safe=""))}:
        size = min(_PIECE, len(form))
        pieces = {form[at : at + size] for at in range(len(form) - size + 1)}
        for at in range(len(lower) - size + 1):
            if lower[at : at + size] in pieces:
                hidden[at : at + size] = b"\1" * size
        for length in range(_END, size):
            if lower.endswith(form[:length]):
                hidden[-length:] = b"\1" * length
            if lower.startswith(form[-length:]):
                hidden[:length] = b"\1" * length
    parts = []
    for at, char in enumerate(text):
        if not hidden[at]:
            parts.append(char)
        elif not at or not hidden[at - 1]:
            parts.append(HIDDEN)
    return "".join(parts)


class KeyFilter:
    """Takes a key out of a text that comes in pieces: what may be its beginning is held back until more is known."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._held = ""

    def push(self, piece: str) -> str:
        """Return what of the text so far can be said, and has not been."""
        if not self._key or not (piece or self._held):
            return piece
        text = (self._held + piece).replace(self._key, HIDDEN)
        most = min(len(self._key) - 1, len(text))
        held = next((length for length in range(most, 0, -1) if text.endswith(self._key[:length])), 0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def rest(self) -> str:
        """Return what was held back, at the text's end; the beginning of a key stays hidden."""
        held, self._held = self._held, ""
        return HIDDEN if len(held) >= _PIECE else held
