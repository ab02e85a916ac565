"""Masks -> boxes and inscribed points; COCO's polygons and run lengths -> masks.

Pixel (column c, row r) covers [c, c + 1) x [r, r + 1), its middle is (c + 0.5, r + 0.5): so boxes are half-open and
points lie in the middle of a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segzero_ros.answer import Point
from segzero_ros.matching import Box
from training.data.base import Mask, shown, unusable

FINER = 5  # steps per pixel in which COCO's tool follows an outline
MOST_STEPS = 10_000_000  # bounds the work per outline: 2 million pixels, more than the edges of any photo
LEAST_SHARE = 0.01  # of a mask's pixels: connected pieces smaller than this are specks and get no box of their own


def box_of_mask(mask: Mask) -> Box:
    """Return the half-open box around the true pixels. ValueError when there is none."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        raise ValueError("an empty mask has no box")
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


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
            raise unusable(f"got run lengths for size {shown(value['size'])}, want the picture's {[size[1], size[0]]}")
        return decode_runs(read_counts(value["counts"]), size)
    raise unusable(f"got the segmentation {shown(value)}, want polygons [[x, y, x, y, ...]] or run lengths (RLE)")


def fill_polygon(polygon: object, size: tuple[int, int]) -> Mask:
    """Return the pixels (H, W) inside the polygon [x, y, x, y, ...] (even-odd rule), as COCO's own tool counts them.

    Outlines are followed in steps of a fifth of a pixel, and a pixel counts when its middle lies inside: equal to
    pycocotools bit by bit, where plain geometry differs by a percent of the pixels of an object 80 pixels wide.
    """
    corners = np.trunc(_corners(polygon) * FINER + 0.5).astype(np.int64)
    ends = np.roll(corners, -1, axis=0)
    if int(np.abs(ends - corners).max(axis=1).sum()) > MOST_STEPS:
        raise unusable(f"got an outline of more than {MOST_STEPS // FINER} pixels; draw a simpler one")
    crossings = [_crossings(start.tolist(), end.tolist()) for start, end in zip(corners, ends, strict=True)]
    columns, rows = np.concatenate(crossings, axis=1)
    inside = (columns >= 0) & (columns < size[0])
    toggles = np.zeros((size[1] + 1, size[0]), np.uint8)
    np.add.at(toggles, (np.clip(rows[inside], 0, size[1]), columns[inside]), 1)  # modulo 256 keeps what is odd
    return np.bitwise_xor.accumulate(toggles[:-1] & 1, axis=0).astype(bool)


def _corners(polygon: object) -> NDArray[np.float64]:
    try:
        corners = np.asarray(polygon, np.float64)
    except (TypeError, ValueError, OverflowError):
        corners = np.empty(0)
    if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2 or not (np.abs(corners) < 1e6).all():
        raise unusable(f"got the polygon {shown(polygon)}, want [x, y, x, y, ...] with at least three corners")
    return corners.reshape(-1, 2)


def _crossings(start: list[int], end: list[int]) -> NDArray[np.int64]:
    """Return (2, N): columns whose middle an edge crosses, and the first row below; ends in fifths of a pixel."""
    across, down = abs(end[0] - start[0]), abs(end[1] - start[1])
    long = 0 if across >= down else 1
    (first, last), short = sorted((start, end), key=lambda corner: corner[long]), 1 - long
    steps = np.arange(max(across, down) + 1)
    slope = (last[short] - first[short]) / max(across, down, 1)
    path = {long: first[long] + steps, short: np.trunc(first[short] + slope * steps + 0.5).astype(np.int64)}
    x, y = (np.minimum(path[axis][1:], path[axis][:-1]) for axis in (0, 1))
    crossed = (path[0][1:] != path[0][:-1]) & (x % FINER == FINER // 2)
    return np.stack([x[crossed] // FINER, (y[crossed] + FINER // 2) // FINER])


def read_counts(counts: object) -> list[int]:
    """Return run lengths from a list of numbers or COCO's compressed string."""
    if isinstance(counts, str | bytes):
        return _decompress(counts.encode("ascii", "replace") if isinstance(counts, str) else counts)
    if isinstance(counts, list) and all(isinstance(run, int) and not isinstance(run, bool) for run in counts):
        return counts
    raise unusable(f"got the counts {shown(counts)}, want a list of whole numbers or COCO's compressed string")


def _decompress(text: bytes) -> list[int]:
    """Undo COCO's packing: 5 bits a character from 48 on, 32 = more follow, signed, differences from the third on."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = character - 48
        if not 0 <= bits < 64 or shift > 30:
            raise unusable(f"got the compressed counts {shown(text[:20].decode('ascii', 'replace'))}, want COCO's RLE")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs


def decode_runs(runs: Sequence[int], size: tuple[int, int]) -> Mask:
    """Return the mask (H, W) of run lengths down the columns, the first run outside."""
    if any(run < 0 for run in runs) or sum(runs) != size[0] * size[1]:
        raise unusable(f"got run lengths that cover {sum(runs)} pixels, want the picture's {size[0] * size[1]}")
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(size[0], size[1]).T.copy()
