"""Generation's place in the KV cache, and tokens drafted ahead of the model by prompt lookup."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from segzero_ros.reasoner import Finish


class CacheFull(Exception):
    """What is to be written does not fit the cache any more."""


class CacheCursor:
    """Where generation stands in the KV cache: tokens written, waiting to be, and drafted and written ahead."""

    def __init__(
        self,
        append: Callable[[Sequence[int], int], NDArray[np.float32]],
        logits: NDArray[np.float32],
        question: Sequence[int],
        place: int,
        capacity: int,
        draft_tokens: int,
    ) -> None:
        """``logits``: of the last row before ``place``; ``draft_tokens``: at most so many per pass."""
        self.steps = 0
        self._append, self._place, self._capacity = append, place, capacity
        self._rows = logits[-1:]
        self._waiting: list[int] = []
        self._drafted: list[int] = []
        self._lookup = PromptLookup(draft_tokens, question)

    @property
    def room(self) -> int:
        """Places of the cache that are left once everything taken is written."""
        return self._capacity - self._place - len(self._waiting)

    def over(self, reserve: int) -> Finish | None:
        """Return "budget" when fewer than ``reserve`` places are left."""
        return "budget" if self.room < reserve else None

    def take(self, ids: Iterable[int]) -> None:
        """Go on with ``ids``, those that were drafted right at no cost."""
        for id in ids:
            self._lookup.add(id)
            if self._drafted and not self._waiting and self._drafted[0] == id:
                self._place += 1
                self._drafted, self._rows = self._drafted[1:], self._rows[1:]
            else:
                self._waiting.append(id)
                self._drafted = []

    def logits(self) -> NDArray[np.float32]:
        """Logits (vocabulary,) after everything taken; ``CacheFull`` when that does not fit."""
        if self.room < 0:
            raise CacheFull
        if self._waiting:
            self._drafted = self._lookup.draft(self.room)
            logits = self._append([*self._waiting, *self._drafted], self._place)
            self._rows = logits[len(logits) - 1 - len(self._drafted) :]
            self._place += len(self._waiting)
            self._waiting = []
            self.steps += 1
        row: NDArray[np.float32] = self._rows[0]
        return row


class PromptLookup:
    """Drafts what followed the last two tokens where they stood together before, in question or answer.

    Speculation without a second model (prompt lookup decoding; assisted generation in transformers has it, too).
    """

    def __init__(self, count: int, ids: Sequence[int]) -> None:
        """``count``: drafted at most, 0 = none."""
        self._count = count
        self._ids: list[int] = []
        self._after: dict[tuple[int, int], int] = {}
        self._newest: tuple[tuple[int, int], int] | None = None
        for id in ids:
            self.add(id)

    def add(self, id: int) -> None:
        """Add a token; the pair it ends is found only once something has followed it."""
        if not self._count:
            return
        self._ids.append(id)
        if self._newest is not None:
            self._after[self._newest[0]] = self._newest[1]
        if len(self._ids) > 1:
            self._newest = (self._ids[-2], id), len(self._ids)

    def draft(self, room: int) -> list[int]:
        """Return what may come next, at most ``room`` tokens."""
        if not self._count or self._newest is None:
            return []
        at = self._after.get(self._newest[0])
        return [] if at is None else self._ids[at : at + min(self._count, max(0, room))]
