"""What is known of a thing that is followed, and which of several masks of it is believed.

A thing has an expected mask: a running mean of what was seen of it, carried along as its corners moved
(``motion.py``). A mask that fits it, has about the thing's usual area and its look is seen, and goes into the mean; so
no mask creeps from frame to frame onto what touches the thing. One that is smaller and within the expected mask is what
shows of a thing that is partly hidden, and leaves the mean as it is. What fits nothing is not the thing.
Covered: things that touch, that are partly hidden, that are hidden for a while or leave the picture and come back.
Not covered: two things of one look that cross while they are hidden; things that change their shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segzero_ros.matching import box_of_mask, mask_iou
from segzero_ros.tracking.look import Look, alike, look_of, sightings
from segzero_ros.tracking.motion import STILL, Move, after, growth, move_box, move_picture
from segzero_ros.tracking.window import Box, size_for

FITS = 0.6  # IoU with the expected mask of a mask that is of the whole thing
GAIN = 0.3  # of what is seen now in the running mean
WHOLE = 0.8  # of the usual area: less is a part, 1 / WHOLE of it the most that something hidden comes back as
GROWN = 1.35  # of the usual area: more is something else, too
RETURNED = 2.0  # of the usual area, the most with which a thing comes back: it may be nearer, or was cut off
WITHIN = 0.8  # share of a part that lies within the expected mask, or of that within the whole that comes back
SHOWN = 0.2  # share of the usual area that must show
SUPPORT = 0.4  # share of corners that agree, for the expected mask to be told for itself
ALIKE = 0.4  # of the thing's look, where it is expected: an arm may hide most of it
ALIKE_AGAIN = 0.6  # of what was hidden and comes back where it should be
ALIKE_ELSEWHERE = 0.85  # of what is found by its look: much is of nearly a colour
SETTLE = 0.02  # how fast the usual area follows: what the camera's way explains it does already
REACH = 1.0  # how far from where it was expected a hidden thing comes back, in its box' diagonals ...
WIDER = 0.25  # ... and more for each frame that it has been hidden
PATIENCE = 5  # frames for which a hidden thing is looked for where it should be only; then every other one
TINY = 4  # pixels
SOFT = 255  # in the running mean: surely the thing

Mask = NDArray[np.bool_]
Picture = NDArray[np.uint8]


@dataclass(slots=True)
class Thing:
    """A thing, in pixels of the picture.

    ``soft``: uint8 (H, W), the running mean, moved to where the thing should be now. ``kept``: that of the last frame
    in which all of it showed, and how it moved ``since``: what leaves the picture comes back whole. ``shown``: the last
    mask told. ``box``: of the whole thing, also outside the picture. ``area``: its usual one. ``look``: that of the
    first frame. ``size``: of its window (``window.py``). ``hidden``: for how many frames. ``waited``: steps since its
    window was looked at. ``sighting``: where something looks like it while it is hidden.
    """

    soft: Picture
    kept: Picture
    since: Move
    shown: Mask
    box: Box
    area: float
    look: Look
    size: float
    hidden: int = 0
    waited: int = 0
    sighting: Mask | None = None

    @classmethod
    def begin(cls, mask: Mask, lab: Picture) -> Thing:
        """The thing under a mask (H, W) of a picture in L*a*b*."""
        box = np.array(box_of_mask(mask))
        shown = mask.copy()
        size = size_for(box, (mask.shape[1], mask.shape[0]))
        return cls(_soft(shown), _soft(shown), STILL, shown, box, float(shown.sum()), look_of(lab, shown), size)

    def expect(self, own: Move, camera: Move) -> None:
        """Move on to the next frame: as the thing's corners did, or with the camera while it is hidden."""
        move = camera if self.hidden else own
        self.since = after(move, self.since)
        self.soft, self.box = move_picture(self.kept, self.since), move_box(self.box, move)
        self.area *= growth(move)
        self.size = size_for(self.box, (self.soft.shape[1], self.soft.shape[0]), self.size)

    @property
    def mask(self) -> Mask:
        """Where it should be now (H, W)."""
        return np.asarray(self.soft > SOFT // 2, np.bool_)

    @property
    def place(self) -> Box:
        """Where to look for the thing."""
        return self.box if self.sighting is None else np.array(box_of_mask(self.sighting))

    def seek(self, lab: Picture, taken: Mask) -> None:
        """Every other frame of a hidden thing, find the nearest place that looks like it and is not ``taken``."""
        self.sighting = None
        if self.hidden < PATIENCE or self.hidden % 2:
            return
        found = [mask & ~taken for mask in sightings(lab, self.look, self.area)]
        near = [(self.distance(mask), place) for place, mask in enumerate(found) if mask.sum() >= SHOWN * self.area]
        near = [one for one in near if one[0] <= REACH + WIDER * self.hidden]
        self.sighting = found[min(near)[1]] if near else None

    def distance(self, mask: Mask, corner: tuple[int, int] = (0, 0)) -> float:
        """From where the thing should be to a mask (not empty) whose corner is at (x, y), in its box' diagonals."""
        box = np.array(box_of_mask(mask)) + np.tile(corner, 2)
        apart = (box[:2] + box[2:] - self.box[:2] - self.box[2:]) / 2
        return float(np.hypot(*apart) / max(1.0, np.hypot(*(self.box[2:] - self.box[:2]))))

    def rescale(self, size: tuple[int, int]) -> None:
        """Go on in pictures of another size, (width, height)."""
        by = np.divide(size, self.soft.shape[::-1])
        self.soft = np.asarray(cv2.resize(self.soft, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        self._keep(self.soft)
        self.shown = cv2.resize(self.shown.view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        self.box, self.area = self.box * np.tile(by, 2), self.area * float(by.prod())

    def settle(self, told: Mask) -> None:
        """The thing is under ``told`` (H, W) in this frame, or, where that is empty, hidden one frame longer."""
        if not told.any():
            self.hidden += 1
            return
        if self.hidden and float((told & self.mask).sum()) < WITHIN * float(told.sum()):
            self._keep(_soft(told))
        self.hidden, self.shown, self.sighting = 0, told, None
        self.area += SETTLE * (float(told.sum()) - self.area)
        if told.sum() >= WHOLE * self.area:
            self.box = np.array(box_of_mask(told))
            self._keep(self.soft)

    def _keep(self, soft: Picture) -> None:
        self.soft, self.kept, self.since = soft, soft, STILL


class Judge:
    """Judges masks of one thing in one window of a frame."""

    def __init__(self, thing: Thing, window: tuple[slice, slice], lab: Picture, support: float) -> None:
        """``lab``: the frame in L*a*b*; ``support``: the share of the thing's corners that agree on its move."""
        self._thing, self._window, self.support = thing, window, support
        self._lab = lab[window]
        self._soft = thing.soft[window]
        place = self._soft > SOFT // 2 if thing.sighting is None else thing.sighting[window]
        self.expected: Mask = np.ascontiguousarray(place)

    @property
    def is_expected(self) -> bool:
        """Whether the thing was seen in the last frame and should be in the window now."""
        return not self._thing.hidden and int(self.expected.sum()) >= TINY

    def fits(self, mask: Mask) -> bool:
        """Whether a mask (h, w) of the window shows the whole thing where it is expected."""
        area = float(mask.sum())
        return (
            self.is_expected
            and WHOLE * self._thing.area <= area <= GROWN * self._thing.area
            and mask_iou(mask, self.expected) >= FITS
            and self._is_alike(mask)
        )

    def choose(self, *masks: Mask) -> Mask:
        """The mask (h, w) to tell, from what is seen at the expected place first; empty where the thing is not seen."""
        if not self.is_expected:
            return next((mask for mask in masks if self._came_back(mask)), np.zeros_like(self.expected))
        seen = [mask for mask in masks if self.fits(mask)]
        if seen:
            mean = np.mean(np.stack(seen).astype(np.float32), axis=0)
            self._soft[...] = self._soft + GAIN * (SOFT * mean - self._soft)
            return np.asarray(self._soft > SOFT // 2, np.bool_)
        for mask in masks:
            if self._grew_back(mask):
                self._soft[...] = _soft(mask)
                return mask
        return next(self._parts(masks), np.zeros_like(self.expected))

    def _parts(self, masks: tuple[Mask, ...]) -> Iterator[Mask]:
        """What shows of a thing that is partly hidden: where most agree, else what is expected."""
        votes = np.sum(np.stack([*masks, self.expected]), axis=0)
        part = np.asarray(votes > (len(masks) + 1) / 2, np.bool_)
        area = float(part.sum())
        within = float((part & self.expected).sum()) >= WITHIN * area
        if area >= max(TINY, SHOWN * self._thing.area) and within and self._is_alike(part):
            yield part
        if self.support >= SUPPORT and self._is_alike(self.expected):
            yield self.expected

    def _came_back(self, mask: Mask) -> bool:
        """Whether a mask is of the hidden thing's size and look, and near where it should be."""
        thing, area = self._thing, float(mask.sum())
        if area < TINY or not SHOWN * thing.area <= area <= RETURNED * thing.area:
            return False
        rows, columns = self._window
        apart = thing.distance(mask, (columns.start, rows.start))
        least = ALIKE_AGAIN if thing.sighting is None else ALIKE_ELSEWHERE
        return apart <= REACH + WIDER * thing.hidden and self._is_alike(mask, least)

    def _grew_back(self, mask: Mask) -> bool:
        """Whether a mask is what is expected and the rest of the thing, which was hidden."""
        area, kept = float(mask.sum()), float((mask & self.expected).sum())
        whole = WHOLE * self._thing.area <= area <= self._thing.area / WHOLE
        return whole and kept >= WITHIN * self.expected.sum() and self._is_alike(mask)

    def _is_alike(self, mask: Mask, least: float = ALIKE) -> bool:
        return alike(look_of(self._lab, mask), self._thing.look) >= least


def share_out(masks: NDArray[np.bool_], things: Sequence[Thing]) -> None:
    """Give, in place, each pixel that several masks (N, H, W) claim to the thing that is surest there."""
    rows, columns = np.nonzero(masks.sum(axis=0) > 1)
    if len(rows):
        claims = masks[:, rows, columns]
        sure = np.where(claims, np.stack([thing.soft[rows, columns] for thing in things]).astype(np.int16), -1)
        masks[:, rows, columns] = np.arange(len(things))[:, None] == sure.argmax(axis=0)


def _soft(mask: Mask) -> Picture:
    return np.asarray(mask.view(np.uint8) * SOFT, np.uint8)
