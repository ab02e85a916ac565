"""SAM 2's memory with a guard around it, for a memory that was trained for minutes: it creeps, and never says "gone".

Each thing is looked for in a window of the picture (``tracking/window.py``), so that a small one is large. What the
segmenter says of the place where it is expected, and what the memory says, are judged by its motion, area and look
(``tracking/guard.py``); what is believed is told and remembered. While the segmenter's mask is believed the memory is
asked for one such thing in a step, in turn: it is needed for what was hidden, and one's costs as much as all the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segzero_ros.backends.sam2_memory import (
    POINTERS,
    SURE,
    Floats,
    MemoryEngine,
    Past,
    begin,
    find,
    no_tracks,
    squash,
    target_of,
)
from segzero_ros.frame import Frame
from segzero_ros.matching import mask_iou
from segzero_ros.segmenter import Segmenter, Tracks, check_start
from segzero_ros.tracking.guard import Judge, Mask, Thing, share_out
from segzero_ros.tracking.look import lab_of
from segzero_ros.tracking.motion import Motion
from segzero_ros.tracking.window import Window, first_of, plan

AGREED = 0.5  # IoU of the memory's mask and the prompted one, for that to be taken
MOST = 2  # windows that are looked at in one step
SUPPORT = 0.4  # share of a thing's corners that agree on its move
URGENT = 4  # steps that a thing seems to have waited whose corners do not agree


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """``mask`` (h, w) of a window; ``score``, ``presence``: see ``Tracks``."""

    mask: Mask
    score: float
    presence: float


@dataclass(slots=True)
class _Followed:
    """``asked``: the step in which the memory was last asked for it."""

    past: Past
    thing: Thing
    asked: int = 0


class GuardedMemoryTracker:
    """``Tracker`` over a ``MemoryEngine`` and the segmenter whose encoder it shares.

    ``image_size``: (width, height) that the encoder was made for.
    """

    kind = "memory"

    def __init__(self, segmenter: Segmenter, engine: MemoryEngine, image_size: tuple[int, int]) -> None:
        self._segmenter, self._engine, self._image_size = segmenter, engine, image_size
        self._motion = Motion()
        self._followed: list[_Followed] = []
        self._size = (0, 0)
        self._steps = 0
        self._last_id = 0

    def start(self, frame: Frame, masks: NDArray[np.bool_]) -> tuple[int, ...]:
        """Follow the objects under ``masks`` from now on; see ``Tracker``."""
        check_start(frame, masks, len(self._followed))
        self._take_size(frame)
        lab = lab_of(frame.rgb)
        things = [Thing.begin(mask, lab) for mask in masks]
        pasts: dict[int, Past] = {}
        for window in plan([thing.box for thing in things], [thing.size for thing in things], frame.size):
            self._segmenter.set_image(_cut(frame, window))
            squashed = np.stack([squash(masks[row][window.slices], self._image_size) for row in window.rows])
            begun = begin(self._engine, squashed, [self._last_id + 1 + row for row in window.rows])
            pasts |= dict(zip(window.rows, begun, strict=True))
        self._followed += [_Followed(pasts[row], thing) for row, thing in enumerate(things)]
        self._last_id += len(masks)
        self._motion.start(frame)
        return tuple(pasts[row].track_id for row in sorted(pasts))

    def step(self, frame: Frame) -> Tracks:
        """Find all objects in the next frame."""
        if not self._followed:
            return no_tracks(frame)
        self._take_size(frame)
        self._steps += 1
        things = [one.thing for one in self._followed]
        moves = self._motion.step(frame, [thing.shown for thing in things])
        lab = lab_of(frame.rgb)
        for thing, own in zip(things, moves.things, strict=True):
            thing.expect(own, moves.camera, lab)
        taken = np.logical_or.reduce(
            [thing.mask for thing in things if not thing.hidden] or [np.zeros(lab.shape[:2], np.bool_)]
        )
        for thing in things:
            thing.seek(lab, taken)
        masks = np.zeros((len(things), *frame.rgb.shape[:2]), np.bool_)
        scores, presence = (np.zeros(len(things), np.float32) for _ in range(2))
        windows = plan([thing.place for thing in things], [thing.size for thing in things], frame.size)
        waits = [
            thing.waited + (URGENT if sure < SUPPORT else 0) for thing, sure in zip(things, moves.support, strict=True)
        ]
        looked = first_of(windows, waits, MOST)
        turn = min((row for window in looked for row in window.rows), key=lambda row: self._followed[row].asked)
        for window in windows:
            judges = {row: Judge(things[row], window.slices, lab, float(moves.support[row])) for row in window.rows}
            look = self._look(_cut(frame, window), judges, turn) if window in looked else _guess(judges)
            for row, found in look.items():
                masks[row][window.slices], scores[row], presence[row] = found.mask, found.score, found.presence
                things[row].waited = 0 if window in looked else things[row].waited + 1
        share_out(masks, things)
        for thing, mask in zip(things, masks, strict=True):
            thing.settle(mask, lab)
        return Tracks(tuple(one.past.track_id for one in self._followed), masks, scores, presence)

    def forget(self, track_id: int) -> None:
        """Follow one object no longer."""
        self._followed = [one for one in self._followed if one.past.track_id != track_id]

    def _take_size(self, frame: Frame) -> None:
        """Bring what is followed to the frame's size, if the camera changed it."""
        if frame.size != self._size:
            for one in self._followed:
                one.thing.rescale(frame.size)
        self._size = frame.size

    def _look(self, crop: Frame, judges: Mapping[int, Judge], turn: int) -> dict[int, _Found]:
        """Find the things of one window, by their rows; of that in ``turn`` the memory is asked, too."""
        self._segmenter.set_image(crop)
        prompted, scores = self._prompt({row: judge.expected for row, judge in judges.items()})
        asked = [
            row for row, judge in judges.items() if row == turn or row not in prompted or not judge.fits(prompted[row])
        ]
        for row in asked:
            self._followed[row].asked = self._steps
        said, pointers, presence = self._recall(crop, asked, judges)
        told = {
            row: judge.choose(*[masks[row] for masks in (prompted, said) if row in masks])
            for row, judge in judges.items()
        }
        self._remember({row: told[row] for row in asked if told[row].any()}, pointers, presence)
        return {
            row: _Found(mask, scores.get(row, 0.0), _chance(presence.get(row, SURE), is_seen=bool(mask.any())))
            for row, mask in told.items()
        }

    def _recall(
        self, crop: Frame, rows: Sequence[int], judges: Mapping[int, Judge]
    ) -> tuple[dict[int, Mask], dict[int, Floats], dict[int, float]]:
        """What the memory says of these: masks, pointers and presence as a logit.

        The mask of what was not expected is prompted once more, and that one taken where both agree: it ends where the
        thing does.
        """
        if not rows:
            return {}, {}, {}
        logits, _, presence, pointers = find(self._engine, [self._followed[row].past for row in rows])
        said = {row: _enlarge(low, crop.size) > 0 for row, low in zip(rows, logits, strict=True)}
        again, _ = self._prompt({row: mask for row, mask in said.items() if not judges[row].is_expected})
        said |= {row: mask for row, mask in again.items() if mask_iou(mask, said[row]) >= AGREED}
        sure = {row: float(logit) for row, logit in zip(rows, presence, strict=True)}
        return said, dict(zip(rows, pointers, strict=True)), sure

    def _remember(
        self, told: Mapping[int, Mask], pointers: Mapping[int, Floats], presence: Mapping[int, float]
    ) -> None:
        """Add what is told, by rows, to what is remembered."""
        if not told:
            return
        full = np.stack([(2 * squash(mask, self._image_size) - 1) * SURE for mask in told.values()])
        sure = np.array([max(presence[row], 1.0) for row in told], np.float32)  # it is seen, whatever the memory thinks
        made = self._engine.remember(full, np.zeros(len(full), np.float32), sure)
        for row, memory in zip(told, made, strict=True):
            self._followed[row].past.remember(memory, pointers[row], POINTERS)

    def _prompt(self, places: Mapping[int, Mask]) -> tuple[dict[int, Mask], dict[int, float]]:
        """The segmenter's masks of these places, by their rows, and scores; empty places have none."""
        targets = {row: to for row, mask in places.items() if (to := target_of(mask)) is not None}
        if not targets:
            return {}, {}
        found = self._segmenter.predict(tuple(targets.values()))
        return dict(zip(targets, found.masks, strict=True)), dict(zip(targets, map(float, found.scores), strict=True))


def _guess(judges: Mapping[int, Judge]) -> dict[int, _Found]:
    """What is thought of the things of a window that is not looked at."""
    told = {row: judge.choose() for row, judge in judges.items()}
    return {
        row: _Found(mask, judges[row].support, _chance(0.5, is_seen=bool(mask.any()))) for row, mask in told.items()
    }


def _chance(logit: float, *, is_seen: bool) -> float:
    """How likely the thing is in the picture, on the side of one half that was decided."""
    sure = 1 / (1 + float(np.exp(-np.clip(abs(logit), 0, 30))))
    return sure if is_seen else 1 - sure


def _enlarge(low: Floats, size: tuple[int, int]) -> Floats:
    return np.asarray(cv2.resize(low, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _cut(frame: Frame, window: Window) -> Frame:
    """The window as a frame of its own; the frame itself where it is all of it."""
    rows, columns = window.slices
    if (columns.stop - columns.start, rows.stop - rows.start) == frame.size:
        return frame
    return Frame(np.ascontiguousarray(frame.rgb[window.slices]), frame.stamp_ns, frame.frame_id)
