"""The frames that came while a command was at work: bounded, the older the fewer."""

from __future__ import annotations

from collections.abc import Sequence

from segzero_ros.worker import Arrival

MOST = 24  # frames kept, undecoded: 150 MB of raw 1080p at most


class KeptFrames:
    """Frames in the order in which they came, the newest always among them.

    When there are too many, every second one is left out, and from then on every second one that comes.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._frames: list[Arrival] = []
        self._every, self._seen = 1, 0
        self._newest: Arrival | None = None

    def add(self, arrival: Arrival) -> None:
        """Keep a frame that has come."""
        self._newest = arrival
        self._seen += 1
        if self._seen % self._every:
            return
        self._frames.append(arrival)
        if len(self._frames) > self._most:
            self._frames = self._frames[1::2]
            self._every *= 2

    def take(self) -> list[Arrival]:
        """Return what is kept, the newest last, and begin anew."""
        frames = [*self._frames]
        if self._newest is not None and (not frames or frames[-1] is not self._newest):
            frames.append(self._newest)
        self.clear()
        return frames

    def clear(self) -> None:
        """Forget all."""
        self._frames, self._newest, self._every, self._seen = [], None, 1, 0


def chosen(frames: Sequence[Arrival], step_s: float, budget_s: float) -> list[Arrival]:
    """Return those of ``frames`` that can be stepped through in the time: evenly spread, the newest always."""
    count = min(len(frames), max(1, int(budget_s / max(step_s, 1e-6) + 1e-6)))
    return [frames[(index + 1) * len(frames) // count - 1] for index in range(count)]
