"""Masks and boxes: where a mask is, how well two fit, and which boxes belong together.

Pixel (column c, row r) covers [c, c + 1) x [r, r + 1), its middle is (c + 0.5, r + 0.5): so boxes are half-open and
points lie in the middle of a pixel.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Box = tuple[float, float, float, float]


def box_of_mask(mask: NDArray[np.bool_]) -> Box:
    """Return the half-open box around the true pixels. ValueError when there is none."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        raise ValueError("an empty mask has no box")
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def inner_point(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the pixel (x, y) in the middle of the largest circle inside the mask. ValueError when it is empty."""
    import cv2

    left, top, right, bottom = (int(side) for side in box_of_mask(mask))
    part = np.pad(mask[top:bottom, left:right], 1).view(np.uint8)
    row, column = np.unravel_index(int(cv2.distanceTransform(part, cv2.DIST_L2, 3).argmax()), part.shape)
    return left + float(column) - 0.5, top + float(row) - 0.5


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


def distinct(masks: NDArray[np.bool_], boxes: Sequence[Box], most_alike: float = 0.8) -> list[int]:
    """Return which of ``masks`` (N, H, W), each with its box, are no repetition of one before, from the first on.

    A repetition: a mask whose IoU with a kept one is above ``most_alike``. An empty one repeats nothing.
    """
    near = box_ious(boxes, boxes) > 0.5  # the costly look only where it can matter
    kept: list[int] = []
    for k in range(len(masks)):
        alike = (mask_iou(masks[j], masks[k]) for j in kept if near[j, k] and masks[k].any())
        if not any(iou > most_alike for iou in alike):
            kept.append(k)
    return kept


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
