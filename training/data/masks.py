"""Masks -> boxes and inscribed points; COCO's polygons and run lengths -> masks, by pycocotools.

Pixels, boxes and points are counted as in ``segzero_ros/matching.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segzero_ros.answer import Point
from segzero_ros.matching import Box, box_of_mask
from training.data.base import Mask, quote, unusable

MOST_OUTLINE = 2_000_000  # pixels, more than the edges of any photo: bounds the work per outline
_PACKED = re.compile(rb"([P-o]{0,6}[0-O])*")  # numbers of at most 7 characters, the last of each without a continuation
LEAST_SHARE = 0.01  # of a mask's pixels: connected pieces smaller than this are specks and get no box of their own


def inscribed_points(mask: Mask) -> tuple[Point, Point]:
    """Return the centres of two large circles inside the mask, which must not be empty; both are pixels of it.

    First the largest one (of equal ones that nearest to the middle of the mask), then the largest one centred in the
    half of the pixels that is farther from it than the median, as the published Seg-Zero training data has them. A
    mask of one pixel has the same point twice. The picture's border counts as an edge.
    """
    left, top, right, bottom = (int(side) for side in box_of_mask(mask))
    part = mask[top:bottom, left:right]
    depth = np.asarray(cv2.distanceTransform(np.pad(part, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))
    rows, columns = np.nonzero(part)
    depths = depth[1:-1, 1:-1][rows, columns]
    first = _deepest_near_middle(rows, columns, depths)
    away = np.hypot(rows - rows[first], columns - columns[first])
    far = np.flatnonzero(away > np.median(away))
    second = int(far[np.argmax(depths[far])]) if len(far) else first
    return tuple((left + float(columns[n]) + 0.5, top + float(rows[n]) + 0.5) for n in (first, second))  # type: ignore[return-value]


def _deepest_near_middle(rows: NDArray[np.int64], columns: NDArray[np.int64], depths: NDArray[np.float32]) -> int:
    deepest = np.flatnonzero(depths >= depths.max() - 1e-3)
    away = np.hypot(rows[deepest] - rows.mean(), columns[deepest] - columns.mean())
    return int(deepest[np.argmin(away)])


def points_in_box(box: Box) -> tuple[Point, Point]:
    """Return two points where only a box is known: its middle, and a quarter of the longer side away from it."""
    x0, y0, x1, y1 = box
    middle = ((x0 + x1) / 2, (y0 + y1) / 2)
    if x1 - x0 >= y1 - y0:
        return middle, (x0 + 0.75 * (x1 - x0), middle[1])
    return middle, (middle[0], y0 + 0.75 * (y1 - y0))


def pieces_of_mask(mask: Mask) -> tuple[Mask, ...]:
    """Return the connected pieces (diagonal neighbours are connected) from left to right, without the specks."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    least = max(1.0, LEAST_SHARE * float(mask.sum()))
    large = [n for n in range(1, count) if stats[n, cv2.CC_STAT_AREA] >= least]
    large.sort(key=lambda n: (int(stats[n, cv2.CC_STAT_LEFT]), int(stats[n, cv2.CC_STAT_TOP])))
    return tuple(np.asarray(labels == n) for n in large)


def example_parts(mask: Mask) -> dict[str, Any]:
    """Return boxes, points, mask and object masks of an example whose objects are the pieces of a mask."""
    pieces = pieces_of_mask(mask)
    return {
        "boxes": tuple(box_of_mask(piece) for piece in pieces),
        "points": tuple(inscribed_points(piece) for piece in pieces),
        "mask": mask,
        "object_masks": pieces,
    }


def union(masks: Sequence[Mask], size: tuple[int, int]) -> Mask:
    """Return the pixels of any of the masks (H, W); none of them = no pixel. ``size``: (width, height)."""
    total = np.zeros((size[1], size[0]), bool)
    for mask in masks:
        total |= mask
    return total


# ---- COCO's segmentations ----


def decode_segmentation(value: object, size: tuple[int, int]) -> Mask:
    """Return the mask (H, W) of a COCO ``segmentation``: polygons, or run lengths, plain or compressed.

    ``size``: (width, height) of the picture. Raises ``RejectedInput`` for what is neither, or of another size.
    """
    if isinstance(value, list):
        if not value:
            raise unusable("got an empty segmentation, want polygons or run lengths; draw the object's outline")
        return union([fill_polygon(polygon, size) for polygon in value], size)
    if isinstance(value, dict) and {"counts", "size"} <= value.keys():
        if value["size"] != [size[1], size[0]]:
            raise unusable(f"got run lengths for size {quote(value['size'])}, want the picture's {[size[1], size[0]]}")
        return decode_runs(value["counts"], size)
    raise unusable(f"got the segmentation {quote(value)}, want polygons [[x, y, x, y, ...]] or run lengths (RLE)")


def fill_polygon(polygon: object, size: tuple[int, int]) -> Mask:
    """Return the pixels (H, W) inside the polygon [x, y, x, y, ...], which may reach beyond the picture."""
    from pycocotools import mask as coco

    corners = _corners(polygon)
    if np.abs(np.diff(corners, axis=0, append=corners[:1])).max(axis=1).sum() > MOST_OUTLINE:
        raise unusable(f"got an outline of more than {MOST_OUTLINE} pixels; draw a simpler one")
    return _mask(coco.decode(coco.frPyObjects([corners.ravel().tolist()], size[1], size[0]))[:, :, 0])


def _corners(polygon: object) -> NDArray[np.float64]:
    try:
        corners = np.asarray(polygon, np.float64)
    except (TypeError, ValueError, OverflowError):
        corners = np.empty(0)
    if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2 or not (np.abs(corners) < 1e6).all():
        raise unusable(f"got the polygon {quote(polygon)}, want [x, y, x, y, ...] with at least three corners")
    return corners.reshape(-1, 2)


def decode_runs(counts: object, size: tuple[int, int]) -> Mask:
    """Return the mask (H, W) of run lengths down the columns, the first run outside; plain or packed as COCO's are."""
    from pycocotools import mask as coco

    packed, pixels = _pack(counts, size), size[0] * size[1]
    try:
        mask = coco.decode({"counts": packed, "size": [size[1], size[0]]})
    except ValueError:
        raise unusable(f"got run lengths that cover more than the picture's {pixels} pixels") from None
    with suppress(ValueError):  # pycocotools leaves what too few runs do not cover as it found it in memory
        coco.decode({"counts": packed, "size": [pixels - 1, 1]})
        raise unusable(f"got run lengths that cover fewer than the picture's {pixels} pixels")
    return _mask(mask)


def _pack(counts: object, size: tuple[int, int]) -> bytes:
    """Return run lengths as COCO's text. Checked first: pycocotools reads beyond the end of a text that is cut off."""
    from pycocotools import mask as coco

    if isinstance(counts, list) and all(type(run) is int and 0 <= run <= size[0] * size[1] for run in counts):
        return coco.frPyObjects({"counts": counts, "size": [size[1], size[0]]}, size[1], size[0])["counts"]
    text = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
    if isinstance(text, bytes) and _PACKED.fullmatch(text):
        return text
    raise unusable(f"got the counts {quote(counts)}, want a list of whole numbers or COCO's compressed string")


def _mask(pixels: NDArray[np.uint8]) -> Mask:
    return np.ascontiguousarray(pixels, bool)
