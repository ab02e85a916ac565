"""An answer as it is generated: thinking or answering, how confident, how long, and when its time is over."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segzero_ros.backends.decoding.chat_prompt import TextStream
from segzero_ros.backends.decoding.grammar import CLOSE_THINKING
from segzero_ros.reasoner import LATE_S, Answer, Finish

MAX_ANSWER_TOKENS = 1024  # 64 objects of the parser's limit need about as many; upstream's limit for everything
LATE_TOKENS = 256  # of an answer still allowed once the deadline has passed, if LATE_S allows: about six objects
CLOSING_TOKENS = 64  # one object with room to spare: what ending a list in good order may take
_CLOSING_TAG = "</think"  # from here on nothing but the tag's end and the answer may follow
_NEAR = 20.0  # logits further below the best do not count: all of 150,000 together are less than 0.0004 of it


class DecodeState:
    """What was generated for one command; feed it ids with ``append`` and ``force``."""

    def __init__(self, stream: TextStream, budget: int, deadline_ns: int | None, *, thinks: bool) -> None:
        """``budget``: thinking tokens; ``deadline_ns`` on the monotonic clock; ``thinks``: the profile has tags."""
        self.stream = stream
        self.thinking = thinks
        self.steps = 0
        self._budget, self._deadline_ns = budget, deadline_ns
        self._tokens = self._answer_tokens = 0
        self._late_from: int | None = None  # answer tokens when the deadline passed
        self._gaps: list[float] = []
        self._start = self._prompt_end = time.perf_counter()
        self._first: float | None = None

    def prompt_ended(self) -> None:
        """Note that prefill is over."""
        self._prompt_end = time.perf_counter()

    def choose(self, logits: NDArray[np.float32]) -> int:
        """Return the most likely id and note how far it is ahead of the second."""
        first = int(logits.argmax())
        near = np.exp(logits[logits > logits[first] - _NEAR] - logits[first])
        second = float(np.partition(near, -2)[-2]) if len(near) > 1 else 0.0
        self._gaps.append((1.0 - second) / float(near.sum()))
        return first

    def append(self, id: int) -> None:
        """Add a token that the model chose."""
        self._count(1)
        self.stream.push([id])
        self._pushed()

    def force(self, ids: Sequence[int]) -> None:
        """Add tokens that were not the model's to choose."""
        self._count(len(ids))
        self.stream.push(ids)
        self._pushed()

    def close_thinking(self) -> None:
        """Note that what comes next is the answer, however the thinking ended."""
        self.thinking = False

    def complete(self) -> bool:
        """Whether the answer's end has been generated."""
        return self.stream.tags.ended_at is not None

    def over(self) -> Finish | None:
        """Return what has run out: while thinking the budget or the deadline, while answering their last reserve."""
        late_s = self._late_s()
        late = late_s >= 0
        if self.thinking:
            if self.stream.inside(CLOSE_THINKING):
                return None  # it is closing by itself
            return "deadline" if late else "budget" if self._tokens >= self._budget else None
        if late and self._late_from is None:
            self._late_from = self._answer_tokens
        if self._late_from is not None and self._answer_tokens - self._late_from > LATE_TOKENS:
            return "deadline"
        if late and late_s >= LATE_S - self._closing_s():
            return "deadline"
        return "budget" if self._answer_tokens >= MAX_ANSWER_TOKENS else None

    def too_late(self) -> bool:
        """Whether so much time has passed since the deadline that an answer comes too late, closed or not."""
        return self._late_s() >= LATE_S

    def _late_s(self) -> float:
        """Return the seconds since the deadline, negative before it and without one."""
        return -1.0 if self._deadline_ns is None else (time.monotonic_ns() - self._deadline_ns) / 1e9

    def _closing_s(self) -> float:
        """Return what ending a list in good order takes at the pace so far."""
        return CLOSING_TOKENS * (time.perf_counter() - self._prompt_end) / max(1, self._tokens)

    def opens_answer(self) -> bool:
        """Whether the text is an ``<answer>`` that no thinking came before."""
        return self.stream.tags.answer_at is not None and self.stream.tags.thought_at is None

    def closing_tag(self) -> str | None:
        """Return the text from the ``</think`` on that ends the thinking, None before that and behind a quoted one."""
        tail, tags = self.stream.tail, self.stream.tags
        at = tail.rfind(_CLOSING_TAG)
        place = tags.length - len(tail) + at
        begins = tags.depth <= 1 and place >= tags.last_tag_end
        ended = tags.thought_at is not None and place == tags.thought_at - len(CLOSE_THINKING)
        return tail[at:] if at >= 0 and (begins or ended) else None

    def answer(self, finish: Finish, *, vision: float, prefill: float) -> Answer:
        """Return what was generated."""
        now = time.perf_counter()
        timings = {
            "vision": vision,
            "prefill": prefill,
            "first_token": elapsed_ms(self._start, self._first or now),
            "decode": elapsed_ms(self._prompt_end, now),
        }
        confidence = float(np.mean(self._gaps)) if self._gaps else 0.0
        return Answer(self.stream.text, self._tokens, confidence, timings, finish, self.steps)

    def _count(self, tokens: int) -> None:
        self._tokens += tokens
        self._answer_tokens += 0 if self.thinking else tokens

    def _pushed(self) -> None:
        if self._first is None:
            self._first = time.perf_counter()
        if self.thinking and not self.stream.tags.thinking:
            self.thinking = False


def elapsed_ms(start: float, end: float) -> float:
    """Milliseconds between two readings of ``time.perf_counter``."""
    return (end - start) * 1e3
