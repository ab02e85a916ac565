"""Bytes of a server-sent event stream -> deltas of the answer, piece by piece; no I/O.

One invariant: for any bytes, cut anywhere, ``EventStream.push`` and ``read_delta`` return values or raise
``ServerFault`` SERVER_REFUSED, and what is kept between two calls is bounded by MAX_LINE_BYTES.
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from segzero_ros.backends.remote.http import ServerFault
from segzero_ros.backends.remote.secret import without
from segzero_ros.errors import Code

MAX_LINE_BYTES = 1 << 20  # the longest real event, with log-probabilities, has a few kB
MAX_TOKENS_PER_EVENT = 4096
MAX_TOKENS = 200_000  # of an answer; as many characters are taken at most, so a larger count is no count
_DONE = b"[DONE]"


class EventStream:
    """The ``data`` of each event, in order; comments, other fields and empty data are passed over.

    As in the HTML standard, 9.2.6, but that what stands in the stream at its end is not lost (``rest``).
    """

    def __init__(self) -> None:
        self.done = False  # the end was announced with [DONE]
        self._begun = self._after_return = False
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._kept = 0

    def push(self, data: bytes) -> list[bytes]:
        """Return the events completed by ``data``."""
        self._limit(len(self._rest) + len(data) + self._kept)
        self._rest += self._line_feeds(data)
        if b"\n" not in self._rest:
            return []
        *lines, rest = self._rest.split(b"\n")
        self._rest = rest
        events = []
        for line in map(self._line, lines):
            if line:
                self._field(line)
            elif self._data:
                events.append(b"\n".join(self._data))
                self._data, self._kept = [], 0
        return [event for event in events if event.strip() and not self._ends(event)]

    def rest(self) -> list[bytes]:
        """Return the event that the stream's end left without its blank line, if there is one."""
        return self.push(b"\n\n")

    def _line_feeds(self, data: bytes) -> bytes:
        """Return ``data`` with each line's end, be it CR LF, CR or LF, as LF."""
        if data:
            data, self._after_return = data[self._after_return and data[:1] == b"\n" :], data[-1:] == b"\r"
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _line(self, line: bytes | bytearray) -> bytes:
        if not self._begun:
            self._begun, line = True, line.removeprefix(codecs.BOM_UTF8)
        return bytes(line)

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._kept += len(value)
            self._limit(self._kept)

    def _ends(self, event: bytes) -> bool:
        self.done |= event.strip() == _DONE
        return self.done

    def _limit(self, kept: int) -> None:
        if kept > MAX_LINE_BYTES:
            raise ServerFault(Code.SERVER_REFUSED, f"the server sent an event of more than {MAX_LINE_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class Delta:
    """What one event adds.

    ``text``: new text; ``thinking``: new text that the server took out from between <think> tags. ``gaps``: by how
    much each new token's best probability is ahead of the second. ``finish``: "" until the server says why it ended.
    ``tokens``: of the whole answer, where the server counts them, else None. ``notes``: what only `segzero serve`
    sends.
    """

    text: str = ""
    thinking: str = ""
    gaps: tuple[float, ...] = ()
    finish: str = ""
    tokens: int | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


def read_delta(event: bytes, key: str = "") -> Delta:
    """Read one ``chat.completion.chunk``; raises ``ServerFault`` for an error event and for what is none of both."""
    try:
        content = json.loads(event)
    except (ValueError, RecursionError):
        raise _garbage(event, key) from None
    if not isinstance(content, dict):
        raise _garbage(event, key)
    if content.get("error") or content.get("object") == "error" or ("message" in content and "choices" not in content):
        # As good as a refused request, if no text came yet: some servers read it only once the stream has begun.
        detail = f"the server ended its answer with an error: {error_text(content, key)}"
        late = error_code(content) == Code.TIMEOUT.name
        raise ServerFault(Code.TIMEOUT if late else Code.SERVER_REFUSED, detail, status=504 if late else 400)
    choices = content.get("choices") or []  # none in the counts at the end, null by some gateways
    if not isinstance(choices, list):
        raise _garbage(event, key)
    choice = next((choice for choice in map(_object, choices) if choice.get("index") in (None, 0)), {})
    delta = _object(choice.get("delta"))
    return Delta(
        text=_text(delta.get("content")),
        thinking=_text(delta.get("reasoning_content")) or _text(delta.get("reasoning")),
        gaps=_gaps(choice.get("logprobs")),
        finish=_text(choice.get("finish_reason")),
        tokens=_count(_object(content.get("usage")).get("completion_tokens")),
        notes=_object(content.get("segzero")),
    )


def read_rest(event: bytes, key: str = "") -> Delta:
    """Read the event that a stream broke off in, or behind: like ``read_delta``, but half a one adds nothing."""
    try:
        return read_delta(event, key)
    except ServerFault as fault:
        if fault.status:
            raise
        return Delta()


def error_text(content: Any, key: str = "") -> str:
    """Return what a server's error says, in its words: OpenAI's form, vLLM's, FastAPI's, or the whole of it."""
    inner = content.get("error", content) if isinstance(content, dict) else content
    if isinstance(inner, dict):
        inner = inner.get("message") or inner.get("detail") or inner
    return without(key, inner if isinstance(inner, str) else json.dumps(inner))


def error_code(content: Any) -> str:
    """Return the code in a server's error, "" without one."""
    return _text(_object(_object(content).get("error")).get("code"))


def _gaps(logprobs: Any) -> tuple[float, ...]:
    """Gaps of the tokens of this event (top_logprobs: 2 was asked for); empty where the server gives none."""
    content = _object(logprobs).get("content")
    steps = content[:MAX_TOKENS_PER_EVENT] if isinstance(content, list) else []
    return tuple(gap for gap in map(_gap, steps) if gap is not None)


def _gap(step: Any) -> float | None:
    top = _object(step).get("top_logprobs")
    odds = sorted(filter(None, map(_odds, top))) if isinstance(top, list) else []
    return odds[-1] - odds[-2] if len(odds) > 1 else None


def _odds(entry: Any) -> float | None:
    value = _object(entry).get("logprob")
    return math.exp(value) if isinstance(value, float | int) and -1e4 < value <= 0 else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _garbage(event: bytes, key: str) -> ServerFault:
    shown = without(key, event[:4096].decode("utf-8", "replace"), 80)
    return ServerFault(
        Code.SERVER_REFUSED, f"the server sent {shown!r}, want a chat.completion.chunk; check the address"
    )
