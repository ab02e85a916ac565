"""The trackers that can be judged, by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from segzero_ros.backends import DEFAULTS, SEGMENTERS, open_segmenter, why_unavailable
from segzero_ros.backends.tracker import make_tracker
from segzero_ros.bundle import open_bundle, resolve_bundle
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.segmenter import Segmenter, Tracker, Tracks
from segzero_ros.tracking.prompted import PromptedTracker

TRACKERS = ("stay", "prompted", "memory")


class StayingTracker:
    """Says that everything stays where it was: what a tracker must be better than."""

    kind = "stay"

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

    def forget(self, track_id: int) -> None:
        """Nothing is forgotten: each clip has a tracker of its own."""


def open_tracker(name: str, bundle: str | None) -> Callable[[], Tracker]:
    """What makes the tracker of this name, anew for each clip; `RejectedInput` when the bundle has no such tracker."""
    if name == "stay":
        return StayingTracker
    segmenter = open_segmenter_of(bundle)
    if name == "prompted":
        return lambda: PromptedTracker(segmenter)
    if make_tracker(segmenter).kind != name:
        raise RejectedInput(
            Code.UNSUPPORTED, f"bundle {bundle} has no memory of SAM 2; export it with --tracker, or ask for prompted"
        )
    return lambda: make_tracker(segmenter)


def open_segmenter_of(bundle: str | None) -> Segmenter:
    """The segmenter of the bundle, by the fastest engine that opens here."""
    if bundle is None:
        raise RejectedInput(Code.BUNDLE_MISSING, "got no --bundle, want the one whose tracker is judged")
    opened, refusals = open_bundle(resolve_bundle(bundle)), []
    for engine in SEGMENTERS:
        refusal = why_unavailable(engine, opened, DEFAULTS)
        if not refusal:
            return open_segmenter(engine, opened, DEFAULTS)
        refusals.append(refusal)
    raise RejectedInput(Code.BUNDLE_BACKEND, "; ".join(refusals))
