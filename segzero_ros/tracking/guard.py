"""What is known of a thing that is followed, and which of several masks of it is believed.

A thing has an expected mask: a running mean of what was seen of it, carried along as its corners moved
(``motion.py``), or as the camera did where the thing's picture, laid over the frame, does not fit there
(``template.py``). What of it does not look as it did is covered, and neither told nor learned. A mask that fits, has
about the thing's usual area and its look is seen, and goes into the mean; so no mask creeps from frame to frame onto
what touches the thing. One that is smaller and within the expected mask is what shows of a thing that is partly hidden,
and leaves the mean as it is. What fits nothing is not the thing.
Covered: things that touch, that are partly hidden, that are hidden for a while or leave the picture and come back;
what passes before a thing in its own colours. Not covered: two things of one look that cross while they are hidden;
things that change their shape; what passes before a coloured thing in the same colour without a pattern.
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
from segzero_ros.tracking.template import Template
from segzero_ros.tracking.window import Box, size_for

FITS = 0.6  # IoU with the expected mask of a mask that is of the whole thing
GAIN = 0.3  # of what is seen now in the running mean
WHOLE = 0.8  # of the usual area: less is a part, 1 / WHOLE of it the most that something hidden comes back as
GROWN = 1.35  # of the usual area: more is something else, too
ADDED = 0.1  # of a mask: more beyond what is expected must look like the thing
STRETCHED = 1.6  # times a side of its box, the most with which all of a thing comes back elsewhere
RETURNED = 2.0  # of the usual area, the most with which a thing comes back: it may be nearer, or was cut off
WITHIN = 0.8  # share of a part that lies within the expected mask, or of that within the whole that comes back
SHOWN = 0.1  # share of the usual area that must show ...
SHOWN_ALONE = 0.2  # ... and where no mask says so
SAME = 0.8  # IoU of what is covered with that of the frame before, for it to be the same
LASTING = 10  # frames after which what is covered, and seen as the thing by the segmenter, is the thing
FOUND = 0.8  # share of the expected mask that must look as it did, to believe a move that is not the camera's
LEAD = 0.05  # share by which the camera's move must be the better one, to be believed before the corners'
COVERED = 0.5  # share of a mask that must look as what is expected there did
ALIKE = 0.4  # of the thing's look, where it is expected: an arm may hide most of it
ALIKE_AGAIN = 0.6  # of what was hidden and comes back where it should be
ALIKE_ELSEWHERE = 0.85  # of what is found by its look: much is of nearly a colour
SETTLE = 0.02  # how fast the usual area follows: what the camera's way explains it does already
REACH = 1.0  # how far from where it was expected a hidden thing comes back, in its box' diagonals ...
WIDER = 0.25  # ... and more for each frame that it has been hidden
PATIENCE = 5  # frames for which a hidden thing is looked for where it should be only; then every other one
TINY = 4  # pixels
EDGE = 2  # pixels from the picture's edge, where a thing may be cut off
SOFT = 255  # in the running mean: surely the thing

Mask = NDArray[np.bool_]
Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class _Laid:
    """A thing laid over a frame: its move since all of it was seen, and what of it is covered then; see ``Thing``."""

    since: Move
    soft: Picture
    covered: Mask
    clear: float


@dataclass(slots=True)
class Thing:
    """A thing, in pixels of the picture.

    ``soft``: uint8 (H, W), the running mean, moved to where the thing should be now. ``kept``: that of the last frame
    in which all of it showed, and how it moved ``since``: what leaves the picture comes back whole. ``shown``: the last
    mask told. ``box``: of the whole thing, also outside the picture. ``area``: its usual one. ``look``: that of the
    first frame. ``size``: of its window (``window.py``). ``hidden``: for how many frames. ``waited``: steps since its
    window was looked at. ``sighting``: where something looks like it while it is hidden. ``template``: its picture at
    the time of ``kept``. ``covered``: what of the expected mask (H, W) does not look as it did, for how many frames it
    ``lasts`` so, and ``clear``, the share that does.
    """

    soft: Picture
    kept: Picture
    since: Move
    shown: Mask
    box: Box
    area: float
    look: Look
    size: float
    template: Template
    covered: Mask
    hidden: int = 0
    waited: int = 0
    sighting: Mask | None = None
    clear: float = 1.0
    lasts: int = 0

    @classmethod
    def begin(cls, mask: Mask, lab: Picture) -> Thing:
        """The thing under a mask (H, W) of a picture in L*a*b*."""
        box = np.array(box_of_mask(mask))
        shown = mask.copy()
        size = size_for(box, (mask.shape[1], mask.shape[0]))
        return cls(
            _soft(shown),
            _soft(shown),
            STILL,
            shown,
            box,
            _pixels(shown),
            look_of(lab, shown),
            size,
            Template.cut(lab, shown),
            np.zeros_like(shown),
        )

    def expect(self, own: Move, camera: Move, lab: Picture) -> None:
        """Move on to the next frame ``lab``: as the thing's corners did, or with the camera while it is hidden.

        Corners may be those of what passes before it: where the thing looks as it did is the better place.
        """
        last, covered = self.since, self.covered
        self._take(self.laid(after(camera, last), lab))
        move = camera
        if not self.hidden and not np.allclose(own, camera):
            move = self._better(own, move, last, lab)
        same = self.covered.any() and mask_iou(self.covered, covered) >= SAME
        self.lasts = self.lasts + 1 if same else 0
        self.box = move_box(self.box, move)
        self.area *= growth(move)
        self.size = size_for(self.box, (self.soft.shape[1], self.soft.shape[0]), self.size)

    def _better(self, move: Move, other: Move, last: Move, lab: Picture) -> Move:
        """The move after which more of it looks as it did: this one, if most does, or the other, as it is now."""
        laid = self.laid(after(move, last), lab)
        if laid.clear < max(self.clear - LEAD, FOUND):
            return other
        self._take(laid)
        return move

    def laid(self, since: Move, lab: Picture) -> _Laid:
        """Where it is if it has moved so since all of it was seen."""
        soft = move_picture(self.kept, since)
        mask = _half(soft)
        covered = self.template.covered(lab, mask, since)
        return _Laid(since, soft, covered, 1 - _pixels(covered) / max(1.0, _pixels(mask)))

    def _take(self, laid: _Laid) -> None:
        self.since, self.soft, self.covered, self.clear = laid.since, laid.soft, laid.covered, laid.clear

    @property
    def mask(self) -> Mask:
        """Where it should be now (H, W)."""
        return _half(self.soft)

    @property
    def usual(self) -> float:
        """Its usual area, or that of its expected mask if this is smaller and not cut off by the picture's edge."""
        rows, columns = self.soft.shape
        is_inside = self.box.min() > EDGE and self.box[2] < columns - EDGE and self.box[3] < rows - EDGE
        return min(self.area, _pixels(self.mask)) if is_inside else self.area

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
        near = [(self.distance(mask), place) for place, mask in enumerate(found) if _pixels(mask) >= SHOWN * self.area]
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
        self.template, self.covered = self.template.rescaled(by), np.zeros(self.soft.shape, np.bool_)
        self.shown = cv2.resize(self.shown.view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        self.box, self.area = self.box * np.tile(by, 2), self.area * float(by.prod())

    def settle(self, told: Mask, lab: Picture) -> None:
        """The thing is under ``told`` (H, W) in this frame, or, where that is empty, hidden one frame longer."""
        if not told.any():
            self.hidden += 1
            return
        area = _pixels(told)
        if self.hidden and (area >= WHOLE * self.area or _pixels(told & self.mask) < COVERED * area):
            self._keep(_soft(told))
            self.template, self.covered = Template.cut(lab, told), np.zeros_like(told)
        self.hidden, self.shown, self.sighting = 0, told, None
        if area >= WHOLE * self.area or self.clear >= FOUND:
            self.area += SETTLE * (area - self.area)
        if area >= WHOLE * self.usual:
            self.box = np.array(box_of_mask(told))
            self.template = self.template.renewed(lab, self.mask, self.since, self.covered)
            self._keep(self.soft)

    def _keep(self, soft: Picture) -> None:
        self.soft, self.kept, self.since = soft, soft, STILL


class Judge:
    """Judges masks of one thing in one window of a frame."""

    def __init__(self, thing: Thing, window: tuple[slice, slice], lab: Picture, support: float) -> None:
        """``lab``: the frame in L*a*b*; ``support``: the share of the thing's corners that agree, told as a score."""
        self._thing, self._window, self.support = thing, window, support
        self._picture, self._lab = lab, lab[window]
        self._soft = thing.soft[window]
        self._place = _half(self._soft)
        self._clear = ~thing.covered[window]
        sought = self._place if thing.sighting is None else thing.sighting[window]
        self.expected: Mask = np.ascontiguousarray(sought)

    @property
    def is_expected(self) -> bool:
        """Whether the thing was seen in the last frame and should be in the window now."""
        return not self._thing.hidden and _pixels(self.expected) >= TINY

    def fits(self, mask: Mask) -> bool:
        """Whether a mask (h, w) of the window shows the whole thing where it is expected."""
        return self._is_whole(mask) and self._is_clear(mask)

    def _is_clear(self, mask: Mask) -> bool:
        """Whether a mask, where the thing is expected, looks as that did; else it is of what stands before it."""
        here = mask & self.expected
        return _pixels(here & self._clear) >= COVERED * _pixels(here)

    def _is_whole(self, mask: Mask) -> bool:
        """Whether a mask is of the thing by its place, area and look, whatever is covered."""
        area = _pixels(mask)
        return (
            self.is_expected
            and WHOLE * self._thing.usual <= area <= GROWN * self._thing.area
            and mask_iou(mask, self.expected) >= FITS
            and self._is_alike(mask)
            and self._adds_its_own(mask)
        )

    def choose(self, *masks: Mask) -> Mask:
        """The mask (h, w) to tell, from what is seen at the expected place first; empty where the thing is not seen."""
        if not self.is_expected:
            back = (self._returned(mask) for mask in masks)
            return next((mask for mask in back if mask.any()), np.zeros_like(self.expected))
        masks = tuple(touching(mask, self.expected) for mask in masks)
        self._forgive(masks)
        seen = [mask for mask in masks if self.fits(mask)]
        if seen:
            now = _soft(seen[0]) if len(seen) == 1 else cv2.addWeighted(_soft(seen[0]), 0.5, _soft(seen[1]), 0.5, 0)
            mean = cv2.addWeighted(self._soft, 1 - GAIN, now, GAIN, 0)
            np.copyto(self._soft, mean, where=self._clear | (now == 0))  # what it has of what is covered is not its own
            return _half(self._soft) & self._clear
        for mask in masks:
            if self._thing.clear < FOUND and self._moved_to(mask):
                self._soft[...], self._clear[...] = _soft(mask), True
                self._thing.covered[self._window] = False
                return mask
        for mask in masks:
            part = mask & self._clear
            if self._grew_back(part):
                self._soft[part] = SOFT
                return part
        return next(self._parts(masks), np.zeros_like(self.expected))

    def _moved_to(self, mask: Mask) -> bool:
        """Whether the thing's picture, laid where a mask is, fits: it went there faster than its corners told."""
        thing, place = self._thing, self._thing.mask
        if _pixels(mask) < TINY or not place.any() or not self._is_alike(mask, ALIKE_AGAIN):
            return False
        there, here = np.array(box_of_mask(mask), float), np.array(box_of_mask(place), float)
        there += np.tile([self._window[1].start, self._window[0].start], 2)
        shift = np.eye(2, 3)
        shift[:, 2] = (there[:2] + there[2:] - here[:2] - here[2:]) / 2
        laid = thing.laid(after(shift, thing.since), self._picture)
        return laid.clear >= FOUND and mask_iou(_half(laid.soft[self._window]), mask) >= FITS

    def _forgive(self, masks: tuple[Mask, ...]) -> None:
        """Believe that what seems to be covered for long is the thing itself, if it is of its look and in a mask."""
        if self._thing.lasts < LASTING or not self._is_alike(self.expected & ~self._clear, ALIKE_AGAIN):
            return
        if any(self._is_whole(mask) for mask in masks):
            self._clear[...] = True
            self._thing.covered[self._window] = False

    def _parts(self, masks: tuple[Mask, ...]) -> Iterator[Mask]:
        """What shows of a thing that is partly hidden: where most agree, else what is expected."""
        votes = np.sum(np.stack([*masks, self.expected]), axis=0)
        part = np.asarray(votes > (len(masks) + 1) / 2, np.bool_) & self._clear
        area = _pixels(part)
        within = _pixels(part & self.expected) >= WITHIN * area
        if area >= max(TINY, SHOWN * self._thing.area) and within and self._is_alike(part):
            yield part
        rest = self.expected & self._clear
        if _pixels(rest) >= SHOWN_ALONE * self._thing.area and self._is_alike(rest):
            yield rest

    def _returned(self, mask: Mask) -> Mask:
        """Of a mask what shows of the hidden thing, if it is of its size and look and near where it should be."""
        thing, nothing = self._thing, np.zeros_like(mask)
        seen, whole = largest(mask & self._clear), largest(mask)
        in_place = bool(seen.any()) and self._is_in_place(seen)
        part = seen if in_place and _pixels(seen) < WHOLE * _pixels(mask) else whole
        if not in_place and self._is_in_place(part) and thing.lasts < LASTING and not self._moved_to(part):
            return nothing  # it is what stands before the thing
        area = _pixels(part)
        if area < TINY or not SHOWN * thing.area <= area <= RETURNED * thing.area:
            return nothing
        rows, columns = self._window
        apart = thing.distance(part, (columns.start, rows.start))
        least = ALIKE_AGAIN if in_place else ALIKE_ELSEWHERE
        as_before = area >= WHOLE * thing.area and self._is_shaped(part)
        if apart > REACH + WIDER * thing.hidden or not (in_place or as_before or self._is_at_edge(part)):
            return nothing
        return part if self._is_alike(part, least) else nothing

    def _is_shaped(self, mask: Mask) -> bool:
        """Whether a mask's box has about the sides of the thing's."""
        box = np.array(box_of_mask(mask))
        ratio = (box[2:] - box[:2]) / np.maximum(1.0, self._thing.box[2:] - self._thing.box[:2])
        return bool((ratio > 1 / STRETCHED).all() and (ratio < STRETCHED).all())

    def _is_in_place(self, mask: Mask) -> bool:
        """Whether most of a mask is where the thing should be."""
        return _pixels(mask & self._place) >= COVERED * _pixels(mask)

    def _is_at_edge(self, mask: Mask) -> bool:
        """Whether a mask ends at the edge of the picture."""
        rows, columns = self._window
        height, width = self._thing.soft.shape
        return bool(
            (rows.start == 0 and mask[0].any())
            or (rows.stop == height and mask[-1].any())
            or (columns.start == 0 and mask[:, 0].any())
            or (columns.stop == width and mask[:, -1].any())
        )

    def _grew_back(self, part: Mask) -> bool:
        """Whether what shows of a mask is what is expected and the rest of the thing, which was hidden."""
        area, kept = _pixels(part), _pixels(part & self.expected)
        whole = WHOLE * self._thing.area <= area <= self._thing.area / WHOLE
        kept_enough = kept >= WITHIN * _pixels(self.expected & self._clear)
        plain = self._thing.clear >= COVERED  # else what is added may be what covers it
        return plain and whole and kept_enough and self._is_alike(part) and self._adds_its_own(part)

    def _adds_its_own(self, mask: Mask) -> bool:
        """Whether what a mask has beyond what is expected looks like the thing, or is little."""
        added = mask & ~self.expected
        return _pixels(added) <= ADDED * _pixels(mask) or self._is_alike(added)

    def _is_alike(self, mask: Mask, least: float = ALIKE) -> bool:
        return alike(look_of(self._lab, mask), self._thing.look) >= least


def touching(mask: Mask, place: Mask) -> Mask:
    """The connected pieces of a mask (H, W) of which some is in the place."""
    count, pieces = cv2.connectedComponents(np.ascontiguousarray(mask).view(np.uint8))
    within = np.zeros(count, np.bool_)
    within[pieces[mask & place]] = True
    return mask if within[1:].all() else np.asarray(within[pieces], np.bool_)


def largest(mask: Mask) -> Mask:
    """The largest connected piece of a mask (H, W)."""
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))
    return np.asarray(pieces == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()), np.bool_) if count > 2 else mask


def share_out(masks: NDArray[np.bool_], things: Sequence[Thing]) -> None:
    """Give, in place, each pixel that several masks (N, H, W) claim to the thing that is surest there."""
    rows, columns = np.nonzero(masks.sum(axis=0) > 1)
    if len(rows):
        claims = masks[:, rows, columns]
        sure = np.where(claims, np.stack([thing.soft[rows, columns] for thing in things]).astype(np.int16), -1)
        masks[:, rows, columns] = np.arange(len(things))[:, None] == sure.argmax(axis=0)


def _pixels(mask: Mask) -> float:
    return float(np.count_nonzero(mask))


def _half(soft: Picture) -> Mask:
    return np.asarray(soft > SOFT // 2, np.bool_)


def _soft(mask: Mask) -> Picture:
    return np.asarray(mask.view(np.uint8) * SOFT, np.uint8)
