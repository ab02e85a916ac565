"""Which tracker a segmenter gives: SAM 2's memory where its bundle has the graphs, else prompts."""

from __future__ import annotations

from segzero_ros.backends.guarded_memory import GuardedMemoryTracker
from segzero_ros.backends.sam2 import Sam2Segmenter
from segzero_ros.backends.sam2_memory import Sam2MemoryTracker
from segzero_ros.segmenter import Segmenter, Tracker
from segzero_ros.tracking.prompted import PromptedTracker

SMALL = 512  # pixels of a picture's side: below it a SAM 2 is no released one


def make_tracker(segmenter: Segmenter) -> Tracker:
    """A tracker of its own for one client, around engines that all share.

    The memory of a small SAM 2, as the demo's, was trained for minutes, and has a guard around it.
    """
    inner = getattr(segmenter, "inner", segmenter)
    if not isinstance(inner, Sam2Segmenter) or inner.memory is None:
        return PromptedTracker(segmenter)
    kind = GuardedMemoryTracker if inner.image_size[0] < SMALL else Sam2MemoryTracker
    return kind(segmenter, inner.memory, inner.image_size)
