"""The camera's last pictures, so that an answer finds the one that it is about.

Two seconds of a camera are kept; a model may think for longer. So the pictures of the moments in which a command may
have taken its own are held until an answer is out.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from segzero_ros.frame import Frame

MOST_BYTES = 64_000_000  # of what came last, and as much of what is held
HOLD_S = 0.5  # after a command was sent: the node may take a picture that comes while it is on its way


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One picture: its stamp (ns), what makes a frame of it (``RejectedInput`` where it is none), its message."""

    stamp: int
    decode: Callable[[], Frame]
    message: Any

    @property
    def size(self) -> int:
        """Bytes of its pixels."""
        return len(getattr(self.message, "data", b""))


class RecentShots:
    """Pictures by stamp; one thread at a time."""

    def __init__(self, most_bytes: int = MOST_BYTES, now: Callable[[], float] = time.monotonic) -> None:
        """``most_bytes``: of the last ones, and again of those that are held."""
        self._most, self._now = most_bytes, now
        self._last: OrderedDict[int, Shot] = OrderedDict()
        self._held: OrderedDict[int, Shot] = OrderedDict()
        self._hold_until = 0.0

    def add(self, shot: Shot) -> None:
        """Take the newest picture."""
        self._last[shot.stamp] = shot
        _drop_oldest(self._last, self._most)
        if self._now() < self._hold_until:
            self._hold(shot)

    def hold(self) -> None:
        """Keep the pictures of this moment until ``release``."""
        self._hold_until = self._now() + HOLD_S
        for shot in self._last.values():
            self._hold(shot)

    def release(self) -> None:
        """Hold nothing any longer."""
        self._held.clear()
        self._hold_until = 0.0

    def find(self, stamp: int) -> Shot | None:
        """Return the picture of this stamp (ns), None where it is not kept."""
        return self._last.get(stamp) or self._held.get(stamp)

    def _hold(self, shot: Shot) -> None:
        self._held[shot.stamp] = shot
        _drop_oldest(self._held, self._most)


def _drop_oldest(shots: OrderedDict[int, Shot], most: int) -> None:
    total = sum(shot.size for shot in shots.values())
    while total > most and len(shots) > 1:
        total -= shots.popitem(last=False)[1].size
