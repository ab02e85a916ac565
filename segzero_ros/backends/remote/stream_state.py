"""An answer as it comes from a server: what is thinking and what answer, how much, how sure, and when it is enough."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from segzero_ros.backends.decoding.decode_state import MAX_ANSWER_TOKENS
from segzero_ros.backends.remote.dialect import CLOSE, END, OPEN, START
from segzero_ros.backends.remote.events import MAX_TOKENS, Delta
from segzero_ros.backends.remote.http import ServerFault
from segzero_ros.errors import Code
from segzero_ros.reasoner import LATE_S, Answer, Finish, Request, TagReader

MAX_CHARS = 200_000  # 1,300 tokens have some 6,000
LONGEST_S = 600.0  # of a command without a deadline
LINGER_S = 0.25  # after the answer's end, for the server's counts
_TAIL = 64  # longer than any tag
_NO_TAG = "\u2039"  # for "<" in thinking that comes apart: its tags are words, and the text must not say otherwise
_FINISHES: tuple[Finish, ...] = ("stop", "budget", "deadline")
# Why a server stops where the model does; with any other reason (length, abort, content_filter) more was to come.
_ENDINGS = frozenset({"stop", "eos", "eos_token", "stop_sequence", "end_turn"})


class StreamState:
    """What came for one command; ``append`` each delta, ask ``over`` whether it is enough."""

    def __init__(self, request: Request, *, thinks: bool, spare: bool = False) -> None:
        """``thinks``: the profile has tags. ``spare``: another reasoner waits to answer in the time that is left."""
        self.thinking = thinks
        self.native = False  # the server keeps budget and deadline itself
        self.finish: Finish = "stop"
        self._on_text, self._cancelled = request.on_text, request.cancelled
        self._budget, self._tags = request.budget, thinks
        self._start_ns = time.monotonic_ns()
        deadline_ns = request.deadline_ns
        # Half of the time for the first word: the other half is enough for the spare one to answer.
        self._first_by_ns = (self._start_ns + deadline_ns) // 2 if spare and deadline_ns is not None else None
        self._deadline_ns = deadline_ns if deadline_ns is not None else self._start_ns + int(LONGEST_S * 1e9)
        self._pieces: list[str] = []
        self._tail = ""
        self._tags_read = TagReader()
        self._chars = 0
        self._apart = False  # the server sends the thinking apart, without its tags
        self._earlier = self._tokens = self._answer_tokens = 0
        self._gaps: list[float] = []
        self._first_ns: int | None = None
        self._complete_ns: int | None = None
        self._cut_short = self._finished = False
        self._notes: Mapping[str, Any] = {}

    @property
    def text(self) -> str:
        """Return all text so far."""
        return "".join(self._pieces)

    @property
    def left_s(self) -> float:
        """Return the seconds until the deadline, at least 0."""
        return max(0.0, (self._deadline_ns - time.monotonic_ns()) / 1e9)

    @property
    def complete(self) -> bool:
        """Whether the answer is whole, or the server said that it will not go on: nothing later takes it back."""
        return self._complete_ns is not None or self._finished

    def over(self) -> Finish | None:
        """Return why to stop reading now, None to go on; asked between pieces and while nothing comes.

        ``ServerFault`` SERVER_STALLED when there is a spare reasoner and no text has come in half of the time.
        """
        now = time.monotonic_ns()
        if self._cancelled():
            return "cancelled"
        if self._first_by_ns is not None and now >= self._first_by_ns and not self._pieces:
            seconds = (now - self._start_ns) / 1e9
            raise ServerFault(Code.SERVER_STALLED, f"the server said nothing in {seconds:.1f} s, half of the time")
        if self._complete_ns is not None:
            return "stop" if now > self._complete_ns + LINGER_S * 1e9 else None
        if now >= self._deadline_ns + LATE_S * 1e9:
            return "deadline"
        if self.thinking and not self.native and not self._closing():
            return "deadline" if now >= self._deadline_ns else "budget" if self._counted >= self._budget else None
        return "budget" if self._answer_tokens > MAX_ANSWER_TOKENS + self._budget else None

    def interrupted(self) -> None:
        """Note why nothing more was read; an answer that was complete by then ended as it would have."""
        why = self.over()
        self.finish = self.finish if why in (None, "stop") else why

    def append(self, delta: Delta) -> None:
        """Add what one event brings."""
        if delta.thinking and self._complete_ns is None:
            thought = delta.thinking.replace("<", _NO_TAG)
            self._push(thought if self._apart else OPEN + thought)
            self._apart = True
        if delta.text:
            self._push(CLOSE + delta.text if self._apart else delta.text)
            self._apart = False
        self._gaps += delta.gaps
        self._count(delta)
        self._notes = delta.notes or self._notes
        if delta.finish:
            self._ended(delta.finish)

    def close_thinking(self) -> None:
        """End the thinking in the model's stead, so that the answer is asked for."""
        self._push(("" if self._pieces else OPEN) + CLOSE * max(1, self._tags_read.depth) + START)
        self.thinking = False
        self._earlier, self._tokens, self._apart, self._finished = self._counted, 0, False, False

    def answer(self, finish: Finish) -> Answer:
        """Return the answer; what `segzero serve` notes of it counts more than what was measured here."""
        now = time.monotonic_ns()
        first_ns = self._first_ns or now
        noted = self._notes.get("timings_ms")
        timings = {
            "vision": 0.0,
            "prefill": 0.0,
            **({key: _number(noted.get(key)) for key in ("vision", "prefill")} if isinstance(noted, dict) else {}),
            "first_token": (first_ns - self._start_ns) / 1e6,
            "decode": (now - first_ns) / 1e6,
        }
        confidence = sum(self._gaps) / len(self._gaps) if self._gaps else _number(self._notes.get("confidence"))
        if finish == "stop":
            noted_finish = self._notes.get("finish")
            finish = noted_finish if noted_finish in _FINISHES else finish
            finish = "budget" if finish == "stop" and self._cut_short else finish
        tokens, steps = (int(_number(self._notes.get(key))) for key in ("tokens", "steps"))
        tokens, steps = (count if count <= MAX_TOKENS else 0 for count in (tokens, steps))
        return Answer(self.text, tokens or self._counted, min(1.0, confidence), timings, finish, steps)

    @property
    def _counted(self) -> int:
        return self._earlier + self._tokens

    def _push(self, piece: str) -> None:
        """Add text up to the answer's end; whatever a server sends after that is not the answer's."""
        if self._complete_ns is not None:
            return
        begin = self._tags_read.length
        self._tags_read.push(piece)
        self.thinking = self.thinking and self._tags_read.thinking
        if self._tags_read.ended_at is not None and self._tags:
            piece = piece[: self._tags_read.ended_at - begin]
            self._complete_ns = time.monotonic_ns()
        self._chars += len(piece)
        if self._chars > MAX_CHARS:
            raise ServerFault(Code.SERVER_REFUSED, f"the server sent more than {MAX_CHARS} characters")
        self._first_ns = self._first_ns or time.monotonic_ns()
        self._pieces.append(piece)
        self._tail = (self._tail + piece)[-_TAIL:]
        self._on_text(piece)

    def _closing(self) -> bool:
        """Whether the thinking is closing by itself."""
        return any(self._tail.endswith(CLOSE[:length]) for length in range(2, len(CLOSE)))

    def _count(self, delta: Delta) -> None:
        new = len(delta.gaps) or bool(delta.text or delta.thinking)
        self._tokens = max(self._tokens + new, delta.tokens or 0)
        self._answer_tokens += 0 if self.thinking else new

    def _ended(self, reason: str) -> None:
        """Note why the server stopped; a server that takes the stop text out of the answer gets it put back."""
        reason = reason.lower()
        self._cut_short, self._finished = reason not in _ENDINGS, True
        if reason == "stop" and self._tags and not self.thinking and self._complete_ns is None:
            self._push(END)


def _number(value: Any) -> float:
    return float(value) if type(value) in (int, float) and 0 <= value < 1e9 else 0.0
