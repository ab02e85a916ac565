"""Which tracker a segmenter gives: SAM 2's memory where its bundle has the graphs, else prompts."""

from __future__ import annotations

from segzero_ros.backends.sam2 import Sam2Segmenter
from segzero_ros.backends.sam2_memory import Sam2MemoryTracker
from segzero_ros.segmenter import Segmenter, Tracker
from segzero_ros.tracking.prompted import PromptedTracker

SMALL = 512  # pixels of a picture's side: below it a SAM 2 is no released one


def make_tracker(segmenter: Segmenter) -> Tracker:
    """A tracker of its own for one client, around engines that all share.

    Of a small SAM 2, as the demo's, whose memory was trained for an hour, each mask is prompted once more and only
    frames on which an object is seen are remembered.
    """
    inner = getattr(segmenter, "inner", segmenter)
    if not isinstance(inner, Sam2Segmenter) or inner.memory is None:
        return PromptedTracker(segmenter)
    small = inner.image_size[0] < SMALL
    return Sam2MemoryTracker(segmenter, inner.memory, inner.image_size, refine=small, choosy=small)
