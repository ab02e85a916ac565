"""How well an answer fits the truth: IoU of masks and boxes, and which boxes belong together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]


def overlap(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> tuple[int, int]:
    """Return (pixels in both, pixels in either) of two masks of one shape."""
    return int(np.count_nonzero(found & true)), int(np.count_nonzero(found | true))


def ratio(intersection: float, union: float) -> float:
    """Return the IoU; nothing found where nothing was to be found counts as 1 (LISA, GRES), where upstream says 0."""
    return intersection / union if union else 1.0


def mask_iou(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Return the IoU of two masks of one shape, 0..1; two empty ones agree."""
    return ratio(*overlap(found, true))


def box_iou(first: Box, second: Box) -> float:
    """Return the IoU of two half-open boxes x0 y0 x1 y1; 0 when either has no area."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / (_area(first) + _area(second) - both)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def all_matched(found: Sequence[Box], true: Sequence[Box], threshold: float = 0.5) -> bool:
    """Return whether the boxes pair off one to one, each pair with an IoU above ``threshold``, none left over.

    Any such pairing counts (Kuhn's augmenting paths), so the order in which objects were listed does not matter.
    """
    if len(found) != len(true):
        return False
    fits = [[at for at, box in enumerate(true) if box_iou(candidate, box) > threshold] for candidate in found]
    partner: dict[int, int] = {}
    return all(_pair(at, fits, partner, set()) for at in range(len(found)))


def _pair(at: int, fits: Sequence[Sequence[int]], partner: dict[int, int], tried: set[int]) -> bool:
    """Find a partner for ``at``, moving those already paired to another of theirs where it helps."""
    for wanted in fits[at]:
        if wanted in tried:
            continue
        tried.add(wanted)
        if wanted not in partner or _pair(partner[wanted], fits, partner, tried):
            partner[wanted] = at
            return True
    return False
