"""How the camera and each followed thing moved from one frame to the next, by corners that are followed one by one.

Corners of the last frame (Shi and Tomasi) are searched in the new one by Lucas and Kanade's method and back again;
those that come back to where they were tell a similarity, by RANSAC: one of each thing, one of what is around them.
Covered: things that move, turn in the picture and come nearer; cameras that pan, roll and zoom.
Not covered: a thing without corners inside or at its edge, whose move is then the camera's; parallax of a background
that is not one plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segzero_ros.frame import Frame

SIDE = 640  # pixels of the longer side of the picture that is searched
CORNERS = 40  # of a thing; of what is around it three times as many
LEAST = 4  # corners that must agree on a thing's move
LEAST_AROUND = 8
WINDOW, LEVELS = (15, 15), 3  # what is compared around a corner, and how often the picture is halved
BACK = 1.0  # pixels by which a corner may miss where it came from
AGREE = 1.5  # pixels by which a corner may miss the move
SCALES = (0.8, 1.25)  # in one step; what is beyond has been matched wrongly
CLEAR = 0.7  # of a thing's corners: when so many agree, it moves so
SPLIT = 0.25  # of a thing's corners that move as the camera does, if they do not agree
EDGE = 2  # pixels around a mask whose corners are the thing's, too

Move = NDArray[np.float64]
"""(2, 3): what a point (x, y, 1) of the last frame becomes in this one, in pixels of the frame."""
Grey = NDArray[np.uint8]
Points = NDArray[np.float32]

STILL: Move = np.eye(2, 3)


@dataclass(frozen=True, slots=True, eq=False)
class Moves:
    """What moved how.

    ``camera``: the move of what does not move by itself. ``things``: one move per thing, the camera's where its own
    is not known. ``support`` (N,), 0..1: the share of a thing's corners that agree on its move.
    """

    camera: Move
    things: tuple[Move, ...]
    support: NDArray[np.float32]


class Motion:
    """Remembers the last frame, so that the next one can be compared with it."""

    def __init__(self) -> None:
        self._before: Grey | None = None
        self._scale = 1.0

    def start(self, frame: Frame) -> None:
        """``frame`` is the one that the next is compared with."""
        self._scale = min(1.0, SIDE / max(frame.size))
        self._before = _grey(frame, self._scale)

    def step(self, frame: Frame, masks: Sequence[NDArray[np.bool_]]) -> Moves:
        """The moves since the last frame of what is under ``masks``, each (H, W) of that frame; all still at first."""
        before, scale = self._before, self._scale
        self.start(frame)
        now = self._before
        if before is None or now is None or now.shape != before.shape or scale != self._scale:
            return Moves(STILL, (STILL,) * len(masks), np.zeros(len(masks), np.float32))
        small = [_shrink(mask, before.shape) for mask in masks]
        corners = [_corners(before, mask, CORNERS, 3) for mask in small]
        corners.append(_corners(before, _around(small, before.shape), 3 * CORNERS, 12))
        found, came_back = _search(before, now, np.concatenate(corners))
        parts = np.cumsum([len(one) for one in corners])[:-1]
        pairs = [
            (one[ok], new[ok], len(one))
            for one, new, ok in zip(corners, np.split(found, parts), np.split(came_back, parts), strict=True)
        ]
        camera, _ = _similarity(*pairs[-1][:2], LEAST_AROUND)
        camera = STILL if camera is None else camera
        fits = [(*_own_or(camera, old, new), count) for old, new, count in pairs[:-1]]
        return Moves(
            _unscaled(camera, scale),
            tuple(_unscaled(camera if move is None else move, scale) for move, _, _ in fits),
            np.array([0 if move is None else agree / count for move, agree, count in fits], np.float32),
        )


def move_picture(picture: Grey, move: Move) -> Grey:
    """Values (H, W) after the move; what leaves the picture is cut off, and what comes into it is 0."""
    moved = np.zeros_like(picture)
    left, top, width, height = cv2.boundingRect(picture)
    sides = np.array(moved.shape[::-1] * 2, np.float64)
    box = move_box(np.array([left, top, left + width, top + height], np.float64), move) + np.array([-1, -1, 1, 1])
    x0, y0, x1, y1 = (int(side) for side in np.clip(np.round(box), 0, sides))
    if width and x1 > x0 and y1 > y0:
        shifted = move - np.array([[0, 0, x0], [0, 0, y0]])
        moved[y0:y1, x0:x1] = cv2.warpAffine(picture, shifted, (x1 - x0, y1 - y0))
    return moved


def move_box(box: NDArray[np.float64], move: Move) -> NDArray[np.float64]:
    """The box x0 y0 x1 y1 around the corners of ``box`` after the move; it may lie outside the picture."""
    x0, y0, x1, y1 = box
    at = move @ np.array([[x0, x1, x0, x1], [y0, y0, y1, y1], [1, 1, 1, 1]], np.float64)
    return np.concatenate([at.min(axis=1), at.max(axis=1)])


def after(second: Move, first: Move) -> Move:
    """Both moves as one."""
    turn = second[:, :2]
    return np.column_stack([turn @ first[:, :2], turn @ first[:, 2] + second[:, 2]])


def growth(move: Move) -> float:
    """By how much areas grow."""
    return float(abs(np.linalg.det(move[:, :2])))


def _grey(frame: Frame, scale: float) -> Grey:
    grey = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY)
    if scale < 1:
        size = (round(frame.size[0] * scale), round(frame.size[1] * scale))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.uint8)


def _shrink(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> Grey:
    if mask.shape == shape:
        return np.ascontiguousarray(mask).view(np.uint8)
    return np.asarray(cv2.resize(mask.view(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def _around(masks: Sequence[Grey], shape: tuple[int, ...]) -> Grey:
    """Everything but the things and a margin of them."""
    things = np.zeros(shape, np.uint8)
    for mask in masks:
        things |= mask
    return np.asarray(1 - cv2.dilate(things, np.ones((9, 9), np.uint8)), np.uint8)


def _corners(grey: Grey, mask: Grey, count: int, apart: int) -> Points:
    """At most ``count`` corners under the mask, ``apart`` pixels from each other, as (K, 2) of x and y."""
    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        return np.zeros((0, 2), np.float32)
    y0, x0 = max(0, top - 2 * EDGE), max(0, left - 2 * EDGE)
    part = (slice(y0, top + height + 2 * EDGE), slice(x0, left + width + 2 * EDGE))
    where = cv2.dilate(np.ascontiguousarray(mask[part]), np.ones((2 * EDGE + 1, 2 * EDGE + 1), np.uint8))
    patch = np.ascontiguousarray(grey[part])
    found: Any = cv2.goodFeaturesToTrack(patch, count, 0.01, apart, mask=where, blockSize=5)
    if found is None:  # where no pixel differs from its neighbours
        return np.zeros((0, 2), np.float32)
    return np.asarray(found.reshape(-1, 2) + np.array([x0, y0]), np.float32)


def _search(before: Grey, now: Grey, corners: Points) -> tuple[Points, NDArray[np.bool_]]:
    """Where the corners (K, 2) are now, and which of them come back to where they were when searched the other way."""
    if not len(corners):
        return corners, np.zeros(0, np.bool_)
    start = corners.reshape(-1, 1, 2)
    found, ok, _ = cv2.calcOpticalFlowPyrLK(before, now, start, start.copy(), winSize=WINDOW, maxLevel=LEVELS)
    back, ok_back, _ = cv2.calcOpticalFlowPyrLK(now, before, found, found.copy(), winSize=WINDOW, maxLevel=LEVELS)
    near = np.abs(back - start).reshape(-1, 2).max(axis=1) < BACK
    return np.asarray(found.reshape(-1, 2), np.float32), np.asarray(
        near & (ok.ravel() > 0) & (ok_back.ravel() > 0), np.bool_
    )


def _own_or(camera: Move, old: Points, new: Points) -> tuple[Move | None, int]:
    """A thing's own move; the camera's where its corners disagree and some move so: something passes before it then."""
    move, agree = _similarity(old, new, LEAST)
    if move is not None and agree >= CLEAR * len(old):
        return move, agree
    apart = np.abs(old @ camera[:, :2].T + camera[:, 2] - new).max(axis=1, initial=0)
    with_camera = int((apart < AGREE).sum())
    return (camera, with_camera) if with_camera >= max(LEAST, SPLIT * len(old)) else (move, agree)


def _similarity(old: Points, new: Points, least: int) -> tuple[Move | None, int]:
    """The similarity most corners agree on, and how many do; None where fewer than ``least`` are left or agree."""
    if len(old) < least:
        return None, 0
    found: Any = cv2.estimateAffinePartial2D(old, new, method=cv2.RANSAC, ransacReprojThreshold=AGREE, maxIters=200)
    move, agree = found
    if move is None or not SCALES[0] ** 2 < growth(move) < SCALES[1] ** 2 or int(agree.sum()) < least:
        return None, 0
    return np.asarray(move, np.float64), int(agree.sum())


def _unscaled(move: Move, scale: float) -> Move:
    return np.column_stack([move[:, :2], move[:, 2] / scale])
