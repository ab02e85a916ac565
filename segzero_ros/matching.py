"""How well an answer fits the truth: IoU of masks and boxes, and which boxes belong together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


def box_ious(found: ArrayLike, true: ArrayLike, *, last_pixel: int = 0) -> NDArray[Any]:
    """Return the IoU (M, N) of every box x0 y0 x1 y1 of ``found`` (M, 4) with every one of ``true`` (N, 4).

    ``last_pixel``: 0 for half-open boxes, 1 for boxes whose last pixel belongs to them, as the published rewards count.
    0 where neither box has an area. Numbers keep their type: whole ones wrap around as NumPy's do.
    """
    first, second = (np.asarray(boxes).reshape(-1, 4) for boxes in (found, true))
    low, high = np.maximum(first[:, None, :2], second[:, :2]), np.minimum(first[:, None, 2:], second[:, 2:])
    both = np.maximum(0, high - low + last_pixel).prod(axis=2)
    areas, true_areas = ((boxes[:, 2:] - boxes[:, :2] + last_pixel).prod(axis=1) for boxes in (first, second))
    with np.errstate(all="ignore"):
        return np.where(both == 0, 0.0, both / (areas[:, None] + true_areas - both))


def box_iou(first: Box, second: Box) -> float:
    """Return the IoU of two half-open boxes x0 y0 x1 y1; 0 when either has no area."""
    return float(box_ious([first], [second])[0, 0])


def all_matched(found: Sequence[Box], true: Sequence[Box], threshold: float = 0.5) -> bool:
    """Return whether the boxes pair off one to one, each pair with an IoU above ``threshold``, none left over.

    Any such pairing counts (Kuhn's augmenting paths), so the order in which objects were listed does not matter.
    """
    if len(found) != len(true):
        return False
    fits = [np.flatnonzero(row).tolist() for row in box_ious(found, true) > threshold]
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
