"""A thing's picture, kept to be laid over the next frames: where they differ, something stands before the thing.

Unlike a histogram of colours it tells a grey arm from a grey mug, and unlike corners it knows what was there before.
Not covered: a thing that turns another face to the camera between two frames in which it is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segzero_ros.tracking.motion import Move

NEAR = (12, 5, 5)  # by which lightness and the colour axes of L*a*b*, each 0..255, may differ
GREY = 128  # of the colour axes, where there is no colour
COLOURED = 16  # from there, for a colour to be known again in a shadow ...
SHADED = (0.35, 1.05)  # ... which is so many times as light
SMOOTH = (3, 3)  # pixels over which both are averaged first
GRAIN = 9  # of a thing's side: what differs in less than so many parts of it is noise or its own edge
MARGIN = 4  # pixels around the mask that are kept

Mask = NDArray[np.bool_]
Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """``lab``: uint8 (h, w, 3), a part of a frame in L*a*b*, smoothed; ``corner``: where it was in it, (x, y)."""

    lab: Picture
    corner: tuple[int, int]

    @classmethod
    def cut(cls, lab: Picture, mask: Mask) -> Template:
        """What is under and around the mask (H, W) of the frame ``lab`` (H, W, 3)."""
        x0, y0, x1, y1 = _around(mask)
        return cls(np.asarray(cv2.blur(lab[y0:y1, x0:x1], SMOOTH), np.uint8), (x0, y0))

    def renewed(self, lab: Picture, mask: Mask, move: Move, covered: Mask) -> Template:
        """The template of another frame; ``covered`` (H, W): where ``self``, moved by ``move``, is the better one."""
        new = Template.cut(lab, mask)
        height, width = new.lab.shape[:2]
        x, y = new.corner
        hidden = covered[y : y + height, x : x + width]
        if hidden.any():
            new.lab[hidden] = self._moved(move, (x, y, x + width, y + height))[hidden]
        return new

    def rescaled(self, by: NDArray[np.float64]) -> Template:
        """The template in pictures that are larger by (x, y)."""
        height, width = self.lab.shape[:2]
        size = (max(1, round(width * by[0])), max(1, round(height * by[1])))
        corner = (round(self.corner[0] * by[0]), round(self.corner[1] * by[1]))
        return Template(np.asarray(cv2.resize(self.lab, size), np.uint8), corner)

    def covered(self, lab: Picture, mask: Mask, move: Move) -> Mask:
        """Which pixels (H, W) under the mask do not look as they did, once the template has moved by ``move``."""
        covered = np.zeros(mask.shape, np.bool_)
        x0, y0, x1, y1 = box = _around(mask)
        part = (slice(y0, y1), slice(x0, x1))
        under = mask[part].view(np.uint8)
        if not under.any():
            return covered
        unlike = _unlike(cv2.blur(lab[part], SMOOTH), self._moved(move, box)).view(np.uint8) & under
        side = max(3, round(float(np.sqrt(np.count_nonzero(under))) / GRAIN) | 1)
        covered[part] = cv2.morphologyEx(unlike, cv2.MORPH_OPEN, np.ones((side, side), np.uint8)) > 0
        return covered

    def _moved(self, move: Move, box: tuple[int, int, int, int]) -> Picture:
        """What should be seen in a box x0 y0 x1 y1."""
        x0, y0, x1, y1 = box
        shift = move[:, 2] + move[:, :2] @ np.array(self.corner, np.float64) - np.array([x0, y0])
        return np.asarray(
            cv2.warpAffine(
                self.lab, np.column_stack([move[:, :2], shift]), (x1 - x0, y1 - y0), borderMode=cv2.BORDER_REPLICATE
            ),
            np.uint8,
        )


def _around(mask: Mask) -> tuple[int, int, int, int]:
    """The box x0 y0 x1 y1 around what is under the mask, with a margin, within the picture."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    rows, columns = mask.shape
    return (
        max(0, left - MARGIN),
        max(0, top - MARGIN),
        min(columns, left + width + MARGIN),
        min(rows, top + height + MARGIN),
    )


def _unlike(now: NDArray[Any], then: Picture) -> Mask:
    """Where two pictures (h, w, 3) differ; a colour that is only lighter or darker, in a shadow, is the same colour."""
    apart: Mask = np.asarray((cv2.absdiff(now, then) > np.array(NEAR, np.uint8)).any(axis=2), np.bool_)
    rows, columns = np.nonzero(apart)
    new, old = now[rows, columns].astype(np.float32), then[rows, columns].astype(np.float32)
    light = new[:, 0] / np.maximum(old[:, 0], 1)
    colour = old[:, 1:] - GREY
    shaded = (light > SHADED[0]) & (light < SHADED[1]) & (np.abs(colour).max(axis=1) > COLOURED)
    shaded &= (np.abs(new[:, 1:] - GREY - light[:, None] * colour) < NEAR[1] + 1).all(axis=1)
    apart[rows[shaded], columns[shaded]] = False
    return apart
