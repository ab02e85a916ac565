"""The tracker of any segmenter: it goes where the look goes, does not creep, hides what is gone and finds it again."""

import numpy as np
import pytest
from numpy.typing import NDArray

from segzero_ros.answer import Target
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.matching import mask_iou
from segzero_ros.segmenter import Masks
from segzero_ros.tracking.prompted import PromptedTracker

SIDE = 24
LOOK = np.random.default_rng(5).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
GROUND = np.random.default_rng(6).integers(110, 130, (120, 160, 3), np.uint8)


class PaintedSegmenter:
    """Knows where things were painted; ``grown``: by how many pixels its masks are too large."""

    def __init__(self, grown: int = 0) -> None:
        self.grown = grown
        self.frame: Frame | None = None

    def set_image(self, frame: Frame) -> None:
        self.frame = frame

    def predict(self, targets: tuple[Target, ...]) -> Masks:
        assert self.frame is not None
        height, width = self.frame.rgb.shape[:2]
        masks = np.zeros((len(targets), height, width), np.bool_)
        for row, target in enumerate(targets):
            x0, y0, x1, y1 = (round(side) for side in target.box)
            more = self.grown
            masks[row, max(0, y0 - more) : y1 + more, max(0, x0 - more) : x1 + more] = True
        return Masks(masks, np.full(len(targets), 0.9, np.float32))


def scene(x: int | None, y: int = 40, *, again: int | None = None) -> Frame:
    """The thing at x, y; None = not there. ``again``: one that looks the same at this x."""
    rgb = GROUND.copy()
    for left in (x, again):
        if left is not None:
            rgb[y : y + SIDE, left : left + SIDE] = LOOK
    return Frame(rgb, 0)


def mask_at(x: int, y: int = 40) -> NDArray[np.bool_]:
    mask = np.zeros(GROUND.shape[:2], np.bool_)
    mask[y : y + SIDE, x : x + SIDE] = True
    return mask


def followed(x: int, segmenter: PaintedSegmenter | None = None) -> PromptedTracker:
    tracker = PromptedTracker(segmenter or PaintedSegmenter())
    assert tracker.start(scene(x), mask_at(x)[None]) == (1,)
    return tracker


def test_a_thing_that_moves_is_followed_to_the_pixel() -> None:
    tracker = followed(20)
    for x in range(24, 110, 5):
        tracks = tracker.step(scene(x))
        assert mask_iou(tracks.masks[0], mask_at(x)) > 0.9
        assert tracks.presence[0] > 0.5


def test_masks_of_a_segmenter_that_takes_too_much_do_not_creep() -> None:
    tracker = followed(20, PaintedSegmenter(grown=6))
    for x in range(21, 60):
        tracks = tracker.step(scene(x))
    assert mask_iou(tracks.masks[0], mask_at(59)) > 0.85


def test_what_is_gone_is_hidden_and_found_again_farther_off_the_longer_it_was_gone() -> None:
    tracker = followed(30)
    for _ in range(4):
        tracks = tracker.step(scene(None))
        assert not tracks.masks[0].any()
        assert tracks.presence[0] < 0.5
    tracks = tracker.step(scene(62))
    assert mask_iou(tracks.masks[0], mask_at(62)) > 0.9


def test_of_two_that_look_alike_it_keeps_the_nearer_one_and_its_id() -> None:
    tracker = followed(30)
    for x in range(31, 40):
        tracks = tracker.step(scene(x, again=110))
    assert tracks.ids == (1,)
    assert mask_iou(tracks.masks[0], mask_at(39)) > 0.9


def test_a_picture_twice_as_large_shows_the_same_thing_in_the_same_place() -> None:
    tracker = followed(30)
    large = Frame(np.repeat(np.repeat(scene(34).rgb, 2, 0), 2, 1), 0)
    tracks = tracker.step(large)
    assert tracks.masks.shape == (1, 240, 320)
    assert mask_iou(tracks.masks[0], np.repeat(np.repeat(mask_at(34), 2, 0), 2, 1)) > 0.8


def test_ids_are_never_given_twice_and_forgetting_is_for_good() -> None:
    tracker = followed(30)
    tracker.forget(1)
    tracker.forget(1)
    assert tracker.step(scene(30)).ids == ()
    assert tracker.start(scene(30), mask_at(30)[None]) == (2,)


def test_a_thing_of_one_pixel_at_the_border_is_no_fault() -> None:
    tracker = PromptedTracker(PaintedSegmenter())
    corner = np.zeros((1, 120, 160), np.bool_)
    corner[0, 119, 159] = True
    tracker.start(scene(30), corner)
    assert tracker.step(scene(30)).masks.shape == (1, 120, 160)


def test_what_cannot_be_followed_is_refused() -> None:
    with pytest.raises(RejectedInput) as refused:
        PromptedTracker(PaintedSegmenter()).start(scene(30), np.zeros((1, 120, 160), np.bool_))
    assert refused.value.code is Code.TRACK_REFUSED
