"""A reply as it grows: where it is (thinking, answering), how sure, how long, and when its time is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from segzero_ros.backends.decoding.chat_prompt import ChatPrompt, TextStream
from segzero_ros.backends.decoding.grammar import CLOSE_THINKING, END, OPEN_ANSWER, OPEN_THINKING, AnswerGrammar, State
from segzero_ros.reasoner import Answer, Finish

MAX_ANSWER_TOKENS = 1024  # 64 objects of the parser's limit need about as many; upstream's limit for everything
LATE_TOKENS = 256  # of an answer still allowed once the deadline has passed: about six objects
CLOSING_TOKENS = 64  # one object with room to spare: what ending a list in good order may take
_NEAR = 20.0  # logits further below the best do not count: all of 150,000 together are less than 0.0004 of it
_CLOSING_TAG = "</think"  # from here on nothing but the tag's end and the answer may follow


class DecodeState:
    """What was said to one command; feed it ids with ``say`` and ``force``."""

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

    def say(self, id: int) -> None:
        """Add a token that the model chose."""
        self._count(1)
        self.stream.push([id])
        self._noted()

    def force(self, ids: Sequence[int]) -> None:
        """Add tokens that were not the model's to choose."""
        self._count(len(ids))
        self.stream.push(ids)
        self._noted()

    def close_thinking(self) -> None:
        """Note that what comes next is the answer, however the thinking ended."""
        self.thinking = False

    def complete(self) -> bool:
        """Whether the answer's end has been said."""
        return not self.thinking and self.stream.recent(END)

    def over(self) -> Finish | None:
        """Return what has run out: while thinking the budget or the deadline, while answering their last reserve."""
        late = self._deadline_ns is not None and time.monotonic_ns() >= self._deadline_ns
        if self.thinking:
            if self.stream.inside(CLOSE_THINKING):
                return None  # it is closing by itself
            return "deadline" if late else "budget" if self._tokens >= self._budget else None
        if late and self._late_from is None:
            self._late_from = self._answer_tokens
        if self._late_from is not None and self._answer_tokens - self._late_from > LATE_TOKENS:
            return "deadline"
        return "budget" if self._answer_tokens >= MAX_ANSWER_TOKENS else None

    def opens_answer(self) -> bool:
        """Whether the text ends in an ``<answer>`` that no thinking came before."""
        return self.stream.recent(OPEN_ANSWER) and not self.stream.text.lstrip().startswith(OPEN_THINKING)

    def answer(self, finish: Finish, *, vision: float, prefill: float) -> Answer:
        """Return what was said."""
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

    def _noted(self) -> None:
        if self._first is None:
            self._first = time.perf_counter()
        if self.thinking and (self.stream.recent(CLOSE_THINKING) or self.opens_answer()):
            self.thinking = False


class ConstrainedDecoder:
    """Keeps a reply to its grammar from the end of the thinking on: what must come next, and what may."""

    def __init__(self, grammar: AnswerGrammar, tokens: TokenIndex, prompt: ChatPrompt) -> None:
        self._grammar, self._tokens, self._prompt = grammar, tokens, prompt
        self._state: State | None = None
        self._closing = False
        self.overruled: list[str] = []  # what the model wanted to write and may not
        self._was_overruled = False

    def open(self, before: str) -> list[int]:
        """Begin the answer though the thinking is not over; return the tokens to force, those of ``before`` first."""
        opening = self._grammar.opening()
        after = self._grammar.walk(self._grammar.start, opening)
        assert after is not None  # noqa: S101
        ids = self._prompt.forced(before + opening, tuple(self._grammar.openings(after)))
        self.begin("".join(map(self._tokens.text, ids)).removeprefix(before))
        return ids

    def begin(self, said: str) -> None:
        """Begin the answer after ``said``, from ``</think`` on; where that is no start, after the tag alone."""
        starts = (self._grammar.walk(self._grammar.start, start) for start in (said, CLOSE_THINKING))
        state = next(state for state in starts if state is not None)
        self._state = state._replace(closing=self._closing)

    def close(self) -> None:
        """End the list as soon as it can."""
        self._closing = True
        if self._state is not None:
            self._state = self._state._replace(closing=True)

    def jump(self, reply: DecodeState, take: Callable[[list[int]], None]) -> bool:
        """Say all that must come next and hand it to ``take``; True once that completes the answer.

        What completes it is said without being taken: nothing is asked of the model after it.
        """
        if self._state is None:
            return False
        text, after = self._grammar.forced(self._state)
        if not text:
            return False
        ended = self._grammar.ended(after)
        ids = self._prompt.plain(text) if ended else self._prompt.forced(text, tuple(self._grammar.openings(after)))
        reply.force(ids)
        if not ended:
            take(ids)
            for id in ids:
                self._go_on(id)
        return ended

    def best(self, id: int, logits: NDArray[np.float32]) -> int:
        """Return ``id`` if the grammar goes on with it, else the most likely one of those it does."""
        self._was_overruled = False
        if self._state is None or self._grammar.walk(self._state, self._tokens.text(id)) is not None:
            return id
        self._was_overruled = True
        if not self._closing:
            self.overruled.append(self._tokens.text(id))
        allowed = self._tokens.that_continue(self._grammar, self._state)
        return id if allowed is None else int(allowed[logits[allowed].argmax()])

    def _go_on(self, id: int) -> None:
        assert self._state is not None  # noqa: S101
        after = self._grammar.walk(self._state, self._tokens.text(id))
        self._state = after if after is not None else self._state

    def _listen(self, reply: DecodeState) -> None:
        text = reply.stream.tail
        at = text.rfind(_CLOSING_TAG)
        if at < 0 and not reply.opens_answer():
            return
        said = text[at:] if at >= 0 else CLOSE_THINKING + text[text.rfind(OPEN_ANSWER) :]
        self._grammar.learn(self._grammar.start, said)
        self.begin(said)

    def hear(self, reply: DecodeState, id: int) -> None:
        """Go on with the token that the reply was just given, or look whether its answer has begun with it."""
        if self._state is None:
            self._listen(reply)
            return
        if not self._was_overruled:
            self._grammar.learn(self._state, self._tokens.text(id))
        self._go_on(id)


class TokenIndex:
    """The text of every token, found by its first character."""

    def __init__(self, prompt: ChatPrompt) -> None:
        tokenizer = prompt.tokenizer
        count = prompt.vocabulary
        texts = tokenizer.decode_batch([[id] for id in range(count)], skip_special_tokens=False)
        special = set(tokenizer.get_added_tokens_decoder())
        self._texts = texts
        self._by_first: dict[str, list[int]] = {}
        for id, text in enumerate(texts):
            if text and id not in special:
                self._by_first.setdefault(text[0], []).append(id)

    def text(self, id: int) -> str:
        """Return a token's text."""
        return self._texts[id]

    def that_continue(self, grammar: AnswerGrammar, state: State) -> NDArray[np.int64] | None:
        """Return the ids whose text the grammar takes at ``state``, None when there are none."""
        ways = grammar.ways(state)
        likely = [id for way in ways for id in self._by_first.get(way, ())]
        ids = [id for id in likely if grammar.walk(state, self._texts[id]) is not None]
        return np.array(ids, np.int64) if ids else None


def elapsed_ms(start: float, end: float) -> float:
    """Milliseconds between two readings of ``time.perf_counter``."""
    return (end - start) * 1e3
