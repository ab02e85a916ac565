"""The trackers that can be judged, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segzero_ros.frame import Frame

TRACKERS = ("stay",)


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """What a step found: ids, masks bool (N, H, W), scores and presence float32 (N,), 0..1."""

    ids: tuple[int, ...]
    masks: NDArray[np.bool_]
    scores: NDArray[np.float32]
    presence: NDArray[np.float32]


class Tracker(Protocol):
    """Follows things: started with their masks on one frame, it finds them in each that comes after."""

    def start(self, frame: Frame, masks: NDArray[np.bool_]) -> tuple[int, ...]:
        """Follow what is under masks (N, H, W); returns an id for each."""
        ...

    def step(self, frame: Frame) -> Tracks:
        """Find all of them in the next frame."""
        ...


class StayingTracker:
    """Says that everything stays where it was: what a tracker must be better than."""

    def __init__(self) -> None:
        self._masks = np.zeros((0, 0, 0), np.bool_)

    def start(self, frame: Frame, masks: NDArray[np.bool_]) -> tuple[int, ...]:  # noqa: ARG002
        """Keep the masks."""
        self._masks = masks.copy()
        return tuple(range(1, len(masks) + 1))

    def step(self, frame: Frame) -> Tracks:  # noqa: ARG002
        """The same masks again."""
        certain = np.ones(len(self._masks), np.float32)
        return Tracks(tuple(range(1, len(self._masks) + 1)), self._masks, certain, certain)


def open_tracker(name: str, bundle: str | None) -> Callable[[], Tracker]:
    """What makes the tracker of this name, anew for each clip."""
    assert name == "stay" and bundle is None
    return StayingTracker
