"""What is measured of one mask: region J and boundary F, as the DAVIS benchmark defines them.

(Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation, CVPR 2016, section 4.)
"""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from segzero_ros.matching import mask_iou

Mask = NDArray[np.bool_]
TOLERANCE = 0.008  # of the picture's diagonal: how far a boundary may be off


def region(found: Mask, true: Mask) -> float:
    """J: the IoU of two masks (H, W), 0..1. Two empty ones agree: 1."""
    return mask_iou(found, true)


def boundary(found: Mask, true: Mask) -> float:
    """F: precision and recall of the boundary's pixels, within the tolerance, as one figure, 0..1.

    Two empty masks agree (1); an empty one and another do not (0).
    """
    one, other = _both(found, true)
    if not one.any() or not other.any():
        return float(one.any() == other.any())
    disk = _disk(math.ceil(TOLERANCE * math.hypot(*found.shape)))
    edge, true_edge = _edge(one), _edge(other)
    if not edge.any() or not true_edge.any():  # one that fills the picture has no boundary
        return float(edge.any() == true_edge.any())
    precision = float(edge[cv2.dilate(true_edge, disk) > 0].sum() / edge.sum())
    recall = float(true_edge[cv2.dilate(edge, disk) > 0].sum() / true_edge.sum())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _both(found: Mask, true: Mask) -> tuple[Mask, Mask]:
    """The part of both masks in which anything is, so that the rest need not be looked at."""
    either = found | true
    rows, columns = np.flatnonzero(either.any(axis=1)), np.flatnonzero(either.any(axis=0))
    if not len(rows):
        return found, true
    window = slice(max(0, rows[0] - 1), rows[-1] + 2), slice(max(0, columns[0] - 1), columns[-1] + 2)
    return found[window], true[window]


def _edge(mask: Mask) -> NDArray[np.uint8]:
    """1 where a pixel differs from the one to its right, below it, or both; as the benchmark draws a boundary."""
    edge = np.zeros(mask.shape, np.bool_)
    edge[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    edge[:-1] |= mask[:-1] ^ mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edge.view(np.uint8)


@functools.cache
def _disk(radius: int) -> NDArray[np.uint8]:
    reach = np.arange(-radius, radius + 1)
    return np.asarray(reach[:, None] ** 2 + reach**2 <= radius**2, np.uint8)
