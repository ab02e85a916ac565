"""A tracker of any segmenter: where the object went by its look, and the segmenter's mask there.

For bundles without SAM 2's memory. An object's last look, a small patch, is searched around where it was; its box,
moved there, is the segmenter's next prompt. Its mask is taken where it is nearly the last one moved along;
else that one is: a mask must not creep onto what touches the object. What no longer looks alike is hidden, and is
searched for in a wider and wider place until it shows again.
Covered: moving cameras, pushed things, things that are hidden for a moment and come back near by.
Not covered: two things that look alike and cross, things that turn over while they are hidden; ``sam2_memory.py`` is
for those.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segzero_ros.answer import Target
from segzero_ros.frame import Frame
from segzero_ros.matching import Box, box_of_mask, inner_point, mask_iou
from segzero_ros.segmenter import Segmenter, Tracks, check_start

PATCH = 40  # pixels of the patch's longer side, as it is searched
REACH = 0.7  # of the box's longer side, to each side of it, where it is searched
WIDER = 0.35  # more of it for every step that it has been hidden
FURTHEST = 2.5
ALIKE = 0.45  # correlation of what is the same thing
SAME = 0.8  # IoU with the last mask moved along of a mask that is taken
AREA = (0.9, 1.1)  # of the last mask's area, the same


@dataclass(slots=True)
class _Object:
    """``box`` of the last mask, in shares of the picture; ``shape``: the mask within it; ``patch``: what was in it."""

    track_id: int
    box: Box
    shape: NDArray[np.bool_]
    patch: NDArray[np.uint8]
    point: tuple[float, float]
    hidden: int = 0


class PromptedTracker:
    """``Tracker`` over a segmenter."""

    kind = "prompted"

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._objects: list[_Object] = []
        self._last_id = 0

    def start(self, frame: Frame, masks: NDArray[np.bool_]) -> tuple[int, ...]:
        """Follow the objects under ``masks`` from now on; see ``Tracker``."""
        check_start(frame, masks, len(self._objects))
        ids = []
        for mask in masks:
            self._last_id += 1
            box, shape, point = _shape(mask)
            self._objects.append(_Object(self._last_id, box, shape, _cut(frame, box), point))
            ids.append(self._last_id)
        return tuple(ids)

    def step(self, frame: Frame) -> Tracks:
        """Find all objects in the next frame."""
        width, height = frame.size
        masks = np.zeros((len(self._objects), height, width), np.bool_)
        scores = np.zeros(len(self._objects), np.float32)
        presence = np.zeros(len(self._objects), np.float32)
        moved = [_search(frame, thing) for thing in self._objects]
        targets = tuple(_target(frame, box, thing) for thing, (box, _) in zip(self._objects, moved, strict=True))
        if targets:
            self._segmenter.set_image(frame)
            found = self._segmenter.predict(targets)
            for row, (thing, (box, alike)) in enumerate(zip(self._objects, moved, strict=True)):
                scores[row] = found.scores[row]
                presence[row] = float(np.clip(0.5 + (alike - ALIKE) / (2 - 2 * ALIKE), 0, 1))
                taken = _taken(frame, thing, box, found.masks[row])
                if presence[row] < 0.5 or not taken.any():
                    thing.hidden, presence[row] = thing.hidden + 1, min(presence[row], 0.49)
                    continue
                masks[row] = taken
                thing.box, thing.shape, thing.point = _shape(taken)
                thing.patch, thing.hidden = _cut(frame, thing.box), 0
        return Tracks(tuple(thing.track_id for thing in self._objects), masks, scores, presence)

    def forget(self, track_id: int) -> None:
        """Follow one object no longer."""
        self._objects = [thing for thing in self._objects if thing.track_id != track_id]


def _taken(frame: Frame, thing: _Object, box: Box, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The prompt's mask, or the last one moved to ``box`` where that is too different from it."""
    before = _moved(frame, thing, box)
    is_same = mask_iou(mask, before) >= SAME and AREA[0] <= mask.sum() / max(1, before.sum()) <= AREA[1]
    return mask if is_same else before


def _moved(frame: Frame, thing: _Object, box: Box) -> NDArray[np.bool_]:
    """The last mask where ``box`` is now, in the frame's pixels; what is beyond its border is cut off."""
    width, height = frame.size
    x0, y0 = round(box[0] * width), round(box[1] * height)
    size = (max(1, round((box[2] - box[0]) * width)), max(1, round((box[3] - box[1]) * height)))
    shape = cv2.resize(thing.shape.view(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(np.bool_)
    mask = np.zeros((height, width), np.bool_)
    left, top = max(0, x0), max(0, y0)
    right, bottom = min(width, x0 + size[0]), min(height, y0 + size[1])
    if right > left and bottom > top:
        mask[top:bottom, left:right] = shape[top - y0 : bottom - y0, left - x0 : right - x0]
    return mask


def _shape(mask: NDArray[np.bool_]) -> tuple[Box, NDArray[np.bool_], tuple[float, float]]:
    """Box of a mask in shares of the picture, the mask within it, and where in the box its inner point is."""
    height, width = mask.shape
    x0, y0, x1, y1 = (int(side) for side in box_of_mask(mask))
    shape = mask[y0:y1, x0:x1].copy()
    x, y = inner_point(shape)
    return (x0 / width, y0 / height, x1 / width, y1 / height), shape, (x / (x1 - x0), y / (y1 - y0))


def _pixels(frame: Frame, box: Box, around: float = 0.0) -> tuple[int, int, int, int]:
    """A box in whole pixels, inside the picture, with ``around`` of its longer side on each side."""
    width, height = frame.size
    x0, y0, x1, y1 = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    more = around * max(x1 - x0, y1 - y0)
    left, top = max(0, int(x0 - more)), max(0, int(y0 - more))
    return left, top, min(width, int(np.ceil(x1 + more))), min(height, int(np.ceil(y1 + more)))


def _cut(frame: Frame, box: Box) -> NDArray[np.uint8]:
    """What is in the box, its longer side PATCH pixels."""
    x0, y0, x1, y1 = _pixels(frame, box)
    return _scaled(frame.rgb[y0:y1, x0:x1], PATCH / max(x1 - x0, y1 - y0))


def _scaled(rgb: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    size = (max(2, round(rgb.shape[1] * scale)), max(2, round(rgb.shape[0] * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _search(frame: Frame, thing: _Object) -> tuple[Box, float]:
    """Where around its last box the thing looks most as it did, and how much so, -1..1."""
    width, height = frame.size
    x0, y0, x1, y1 = _pixels(frame, thing.box)
    left, top, right, bottom = _pixels(frame, thing.box, min(FURTHEST, REACH + WIDER * thing.hidden))
    scale = PATCH / max(x1 - x0, y1 - y0, 1)
    place = _scaled(frame.rgb[top:bottom, left:right], scale)
    patch = thing.patch[: place.shape[0], : place.shape[1]]
    alike = cv2.matchTemplate(place, patch, cv2.TM_CCOEFF_NORMED)
    alike = np.nan_to_num(alike, nan=-1.0, posinf=-1.0, neginf=-1.0)
    row, column = np.unravel_index(int(alike.argmax()), alike.shape)
    x, y = left + float(column) / scale, top + float(row) / scale
    w, h = (thing.box[2] - thing.box[0]) * width, (thing.box[3] - thing.box[1]) * height
    return (x / width, y / height, (x + w) / width, (y + h) / height), float(alike[row, column])


def _target(frame: Frame, box: Box, thing: _Object) -> Target:
    """The prompt for a box: within the picture, and the point where the mask's middle was."""
    width, height = frame.size
    x0, y0, x1, y1 = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    point = (x0 + thing.point[0] * (x1 - x0), y0 + thing.point[1] * (y1 - y0))
    left, top = min(max(0.0, x0), width - 2.0), min(max(0.0, y0), height - 2.0)
    return Target(
        (left, top, max(left + 1, min(float(width), x1)), max(top + 1, min(float(height), y1))),
        ((min(max(0.0, point[0]), width - 1.0), min(max(0.0, point[1]), height - 1.0)),),
    )
