"""Prompt: question and image placeholders -> token ids and M-RoPE positions, as Qwen2.5-VL's chat template has them.

Covered: no special token can come from the question, however it is spelled (CVE-2026-44222); text comes out of the
stream in whole characters. Not covered: several images, several turns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from segzero_ros.reasoner import TagReader

IMAGE_TOKEN = "<|image_pad|>"  # noqa: S105
_STOPS = ("<|im_end|>", "<|endoftext|>")
# How an answer may go on. Tokens may reach across the end of a forced text: only those all agree on are forced.
_CONTINUATIONS = ("[", "[]", '[{"', "{", '{"', "{'", "\n", "```json")


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """The part of a prompt before the question, which depends on the picture alone.

    ``ids``: int64 (P,), placeholders included. ``positions``: int64 (3, P). ``image``: the placeholders' rows.
    ``resume``: position of the first token after the prefix.
    """

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    image: slice
    resume: int


class ChatPrompt:
    """Qwen2.5-VL's chat template around one image and one question, on a checkpoint's own ``tokenizer.json``."""

    def __init__(self, tokenizer_json: str, *, token_grid: tuple[int, int], system: str) -> None:
        """``token_grid``: (rows, columns) of visual tokens. ValueError without Qwen's special tokens."""
        self.tokenizer = Tokenizer.from_str(tokenizer_json)
        # Without added tokens "<|im_start|>" is nine characters like any other.
        self._plain = Tokenizer.from_str(json.dumps({**json.loads(tokenizer_json), "added_tokens": []}))
        for tokenizer in (self.tokenizer, self._plain):
            tokenizer.no_truncation()
            tokenizer.no_padding()
        self.vocabulary = self.tokenizer.get_vocab_size()
        self._forced: dict[tuple[str, tuple[str, ...]], list[int]] = {}  # as many as an answer has forced texts
        self.stops = frozenset(id for id in map(self.tokenizer.token_to_id, _STOPS) if id is not None)
        self.prefix = self._prefix(token_grid, system)
        self._end = [self._special("<|im_end|>"), *self.plain("\n")]
        self._assistant = [self._special("<|im_start|>"), *self.plain("assistant\n")]

    def question(self, text: str) -> list[int]:
        """Return the ids from the end of the image to the start of the answer; ``text`` is the user's message."""
        return [*self.plain(text), *self._end, *self._assistant]

    def plain(self, text: str) -> list[int]:
        """Encode untrusted text: whatever it spells, no special token is among the ids."""
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def forced(self, text: str, openings: tuple[str, ...] = _CONTINUATIONS) -> list[int]:
        """Encode text put into the model's mouth, up to where its last token could still join what comes next.

        ``openings``: how the text may go on, a few characters each.
        """
        if (text, openings) not in self._forced:
            first, *others = [self.plain(text + more) for more in ("", *openings)]
            self._forced[text, openings] = first[: min(_common_length(first, other) for other in others)]
        return self._forced[text, openings]

    def stream(self, on_text: Callable[[str], None]) -> TextStream:
        """Open a stream that turns ids into text, piece by piece."""
        return TextStream(self.tokenizer, on_text)

    def _prefix(self, token_grid: tuple[int, int], system: str) -> Prefix:
        before = [
            *(self._special("<|im_start|>"), *self.plain(f"system\n{system}"), self._special("<|im_end|>")),
            *(
                *self.plain("\n"),
                self._special("<|im_start|>"),
                *self.plain("user\n"),
                self._special("<|vision_start|>"),
            ),
        ]
        count = token_grid[0] * token_grid[1]
        after = [self._special("<|vision_end|>")]
        ids = np.array([*before, *[self._special(IMAGE_TOKEN)] * count, *after], np.int64)
        positions = mrope_positions(len(before), token_grid, len(after))
        return Prefix(ids, positions, slice(len(before), len(before) + count), int(positions.max()) + 1)

    def _special(self, token: str) -> int:
        id = self.tokenizer.token_to_id(token)
        if id is None:
            raise ValueError(f"tokenizer.json: got no {token}, want the special tokens of Qwen2.5-VL")
        return int(id)


class TextStream:
    """Ids in, whole characters out; ``text`` is everything handed on so far, ``tags`` where thinking and answer are."""

    def __init__(self, tokenizer: Tokenizer, on_text: Callable[[str], None]) -> None:
        self._tokenizer, self._on_text = tokenizer, on_text
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._pieces: list[str] = []
        self._tail = ""
        self.tags = TagReader()

    @property
    def text(self) -> str:
        """Return the text so far."""
        return "".join(self._pieces)

    @property
    def tail(self) -> str:
        """Return the last characters of the text."""
        return self._tail

    def push(self, ids: Sequence[int]) -> None:
        """Decode ``ids``; bytes of an unfinished character wait for the next call."""
        for id in ids:
            piece = self._decoder.step(self._tokenizer, id)
            if piece:
                self._pieces.append(piece)
                self._tail = (self._tail + piece)[-_TAIL:]
                self.tags.push(piece)
                self._on_text(piece)

    def recent(self, tag: str) -> bool:
        """Whether ``tag`` is among the last characters, so that asking after every token is linear in the text."""
        return tag in self._tail

    def inside(self, tag: str) -> bool:
        """Whether the text ends with the beginning of ``tag``."""
        return any(self._tail.endswith(tag[:length]) for length in range(1, len(tag)))


_TAIL = 64  # the longest tag and the longest token that may follow it


@dataclass(frozen=True, slots=True)
class Rotary:
    """M-RoPE (arXiv 2409.12191): frequencies of a head, dealt out to time, row and column by ``sections``.

    ``interleaved``: in turn, and to time what is left when row and column have theirs, as in Qwen3-VL; else in blocks.
    """

    head_dim: int
    theta: float
    sections: tuple[int, int, int]
    interleaved: bool = False

    def rows(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Cosines and sines, float32 (n, head_dim / 2), of positions (3, n)."""
        exponent = np.arange(0, self.head_dim, 2, dtype=np.float32) / np.float32(self.head_dim)
        frequency = (1.0 / np.float32(self.theta) ** exponent).astype(np.float32)
        component = np.repeat(np.arange(3), self.sections)
        if self.interleaved:
            component = np.zeros_like(component)
            for axis in (1, 2):
                component[axis : 3 * self.sections[axis] : 3] = axis
        angle = positions[component].T.astype(np.float32) * frequency
        return np.cos(angle), np.sin(angle)


def mrope_positions(before: int, grid: tuple[int, int], after: int) -> NDArray[np.int64]:
    """Positions (time, row, column) of `before` text tokens, one image and `after` text tokens: int64 (3, L).

    `grid` is (rows, columns) of *merged* visual tokens. Text counts up alike in all three components; an image starts
    at the next position, its tokens share the time and count rows and columns from there; the text after it goes on
    one past the largest position used (Qwen2-VL, arXiv 2409.12191, section 2.1; `get_rope_index` in transformers).
    """
    rows, columns = grid
    lead = np.broadcast_to(np.arange(before, dtype=np.int64), (3, before))
    image = np.stack([np.zeros((rows, columns), np.int64), *np.indices((rows, columns), dtype=np.int64)])
    resume = before + max(rows, columns)
    tail = np.broadcast_to(np.arange(resume, resume + after, dtype=np.int64), (3, after))
    return np.concatenate([lead, image.reshape(3, -1) + before, tail], axis=1)


def _common_length(first: Sequence[int], other: Sequence[int]) -> int:
    pairs = zip(first, other, strict=False)
    return next((at for at, (one, two) in enumerate(pairs) if one != two), min(len(first), len(other)))
