"""An answer kept to its grammar while it is generated: what must come next (jump-forward), and which tokens may."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from segzero_ros.backends.decoding.chat_prompt import ChatPrompt
from segzero_ros.backends.decoding.decode_state import DecodeState
from segzero_ros.backends.decoding.grammar import CLOSE_THINKING, OPEN_ANSWER, AnswerGrammar, State


class ConstrainedDecoder:
    """Keeps an answer to its grammar from the end of the thinking on."""

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

    def begin(self, text: str) -> None:
        """Begin the answer after ``text``, from ``</think`` on; where that is no start, after the tag alone."""
        starts = (self._grammar.walk(self._grammar.start, start) for start in (text, CLOSE_THINKING))
        state = next(state for state in starts if state is not None)
        self._state = state._replace(closing=self._closing)

    def close(self) -> None:
        """End the list as soon as it can."""
        self._closing = True
        if self._state is not None:
            self._state = self._state._replace(closing=True)

    def jump(self, decoded: DecodeState, take: Callable[[list[int]], None]) -> bool:
        """Append all that must come next and hand it to ``take``; True once that completes the answer.

        What completes it is appended without being taken: nothing is asked of the model after it.
        """
        if self._state is None:
            return False
        text, after = self._grammar.forced(self._state)
        if not text:
            return False
        ended = self._grammar.ended(after)
        ids = self._prompt.plain(text) if ended else self._prompt.forced(text, tuple(self._grammar.openings(after)))
        decoded.force(ids)
        if not ended:
            take(ids)
            for id in ids:
                self._advance(id)
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

    def on_token(self, decoded: DecodeState, id: int) -> None:
        """Go on with the token just appended to ``decoded``, or see whether the answer has begun with it."""
        if self._state is None:
            self._begin_at_tag(decoded)
            return
        if not self._was_overruled:
            self._grammar.learn(self._state, self._tokens.text(id))
        self._advance(id)

    def _advance(self, id: int) -> None:
        assert self._state is not None  # noqa: S101
        after = self._grammar.walk(self._state, self._tokens.text(id))
        self._state = after if after is not None else self._state

    def _begin_at_tag(self, decoded: DecodeState) -> None:
        text, tail = decoded.closing_tag(), decoded.stream.tail
        if text is None and not decoded.opens_answer():
            return
        text = CLOSE_THINKING + tail[tail.rfind(OPEN_ANSWER) :] if text is None else text
        self._grammar.learn(self._grammar.start, text)
        self.begin(text)


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
