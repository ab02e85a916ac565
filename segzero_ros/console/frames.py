"""The camera's last pictures, so that an answer finds the one that it is about.

A few seconds of a camera are kept; a model may think for longer. So what is there when the thinking begins, the picture
that it is about among them, is held until an answer is out.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from segzero_ros.frame import Frame

MOST_BYTES = 128_000_000  # 4.6 s of 640 x 480 at 30 Hz; held pictures are most of the time the same ones


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

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        """``most_bytes``: of the last ones, and again of those that are held."""
        self._most = most_bytes
        self._last: OrderedDict[int, Shot] = OrderedDict()
        self._held: OrderedDict[int, Shot] = OrderedDict()

    def add(self, shot: Shot) -> None:
        """Take the newest picture."""
        self._last[shot.stamp] = shot
        _drop_oldest(self._last, self._most)

    def hold(self) -> None:
        """Keep the pictures of this moment until ``release``."""
        self._held = self._last.copy()

    def release(self) -> None:
        """Hold nothing any longer."""
        self._held.clear()

    def find(self, stamp: int) -> Shot | None:
        """Return the picture of this stamp (ns), None where it is not kept."""
        return self._last.get(stamp) or self._held.get(stamp)


def _drop_oldest(shots: OrderedDict[int, Shot], most: int) -> None:
    total = sum(shot.size for shot in shots.values())
    while total > most and len(shots) > 1:
        total -= shots.popitem(last=False)[1].size
