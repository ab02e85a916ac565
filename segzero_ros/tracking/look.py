"""How a thing looks, as colours: enough to tell that a mask has jumped onto something else."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

BINS = (6, 32, 32)  # of lightness and the two colour axes of L*a*b*
RANGES = (0, 256, 0, 256, 0, 256)
KERNEL = np.array([1, 4, 6, 4, 1], np.float32) / 16
LIGHT = (0.2, 0.6, 0.2)  # how much of a lightness counts as the next darker, itself, the next lighter
LEAST = 4  # pixels that show a colour
STEP = 2  # every so many rows and columns are searched for a look
COMMON = 3  # times a thing's area that a colour has in the picture which is not the thing's
PART = 0.2  # of a thing's area that a piece must have
MOSTLY = 0.9  # share of a look that its main colours have

Look = NDArray[np.float32]
"""(6 * 32 * 32,): the share of each colour, its neighbours mixed in, 1 in all; zero of a mask too small to have one."""


def lab_of(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture (H, W, 3) in L*a*b*, as ``look_of`` wants it."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), np.uint8)


def look_of(lab: NDArray[np.uint8], mask: NDArray[np.bool_]) -> Look:
    """The look of what is under the mask (H, W)."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    part = (slice(top, top + height), slice(left, left + width))
    under = np.ascontiguousarray(mask[part]).view(np.uint8)
    count = int(np.count_nonzero(under))
    if count < LEAST:
        return np.zeros(int(np.prod(BINS)), np.float32)
    shares = cv2.calcHist([np.ascontiguousarray(lab[part])], [0, 1, 2], under, BINS, RANGES) / count
    even = [cv2.sepFilter2D(one, -1, KERNEL, KERNEL, borderType=cv2.BORDER_CONSTANT) for one in shares]
    mixed = LIGHT[1] * np.stack(even)
    mixed[1:] += LIGHT[0] * np.stack(even[:-1])
    mixed[:-1] += LIGHT[2] * np.stack(even[1:])
    return np.asarray(mixed.ravel() / mixed.sum(), np.float32)


def alike(one: Look, other: Look) -> float:
    """How alike two looks are, 0..1 (Bhattacharyya's coefficient)."""
    return float(np.sqrt(one * other).sum())


def sightings(lab: NDArray[np.uint8], look: Look, area: float) -> list[NDArray[np.bool_]]:
    """Where in a picture (H, W, 3) a look of about ``area`` pixels may be: masks (H, W) of pieces in its main colours.

    Colours of which the picture has several times that area are the surroundings'.
    """
    rows, columns = lab.shape[:2]
    small = lab[::STEP, ::STEP].astype(np.int32)
    bins = (small[..., 0] * BINS[0] // 256 * BINS[1] + small[..., 1] * BINS[1] // 256) * BINS[2]
    bins += small[..., 2] * BINS[2] // 256
    there = np.bincount(bins.ravel(), minlength=look.size) * STEP**2
    falling = np.sort(look)[::-1]
    least = falling[min(int(np.searchsorted(np.cumsum(falling), MOSTLY * falling.sum())), look.size - 1)]
    main = (look >= max(float(least), 1e-6)) & (there < COMMON * area)
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(main[bins].view(np.uint8), connectivity=8)
    enough = [piece for piece in range(1, count) if stats[piece, cv2.CC_STAT_AREA] * STEP**2 >= PART * area]
    return [
        cv2.resize((pieces == piece).view(np.uint8), (columns, rows), interpolation=cv2.INTER_NEAREST) > 0
        for piece in enough
    ]
