"""The guard around SAM 2's memory, on engines that know the truth: squares on a table, seen through windows."""

from typing import Any

import numpy as np
import pytest

from segzero_ros.answer import Target
from segzero_ros.backends.guarded_memory import MOST, GuardedMemoryTracker
from segzero_ros.errors import RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.segmenter import Masks

S = 64
SIZE = (320, 240)
SIDE = 24
RED, BLUE, YELLOW, GREEN = (220, 30, 30), (30, 40, 230), (240, 220, 40), (30, 200, 40)
TABLE = np.random.default_rng(0).integers(90, 130, (SIZE[1] // 8, SIZE[0] // 8, 1), np.uint8)


def frame(*things: tuple[tuple[int, int, int], int, int], size: tuple[int, int] = SIZE) -> Frame:
    """Squares of a colour at x, y, the later ones above; larger frames show the same, larger."""
    rgb = np.repeat(np.repeat(np.repeat(TABLE, 8, 0), 8, 1), 3, 2)
    for colour, x, y in things:
        rgb[max(0, y) : max(0, y + SIDE), max(0, x) : max(0, x + SIDE)] = colour
    scale = size[0] // SIZE[0]
    return Frame(np.ascontiguousarray(np.repeat(np.repeat(rgb, scale, 0), scale, 1)), 0)


def mask_of(picture: Frame, colour: tuple[int, int, int]) -> Any:
    return np.asarray((picture.rgb == colour).all(2))


class Segmenting:
    """Says the pixels of the colour at the prompt's point; counts the pictures it encoded."""

    def __init__(self) -> None:
        self.pictures: list[Frame] = []

    def set_image(self, frame: Frame) -> None:
        self.pictures.append(frame)

    def predict(self, targets: tuple[Target, ...]) -> Masks:
        picture = self.pictures[-1]
        masks = []
        for target in targets:
            ((x, y),) = target.points
            colour = tuple(int(part) for part in picture.rgb[int(y), int(x)])
            masks.append(mask_of(picture, colour))  # type: ignore[arg-type]
        return Masks(np.stack(masks), np.full(len(targets), 0.8, np.float32))


class Creeping:
    """A memory that says everything but the table, whatever it is asked, and that it is sure."""

    def __init__(self, segmenter: Segmenting) -> None:
        self.segmenter = segmenter
        self.asked: list[int] = []
        self.remembered = 0
        self.says_nothing = False

    def prompt(self, masks: Any) -> Any:
        return np.zeros((len(masks), 4, 2, 2), np.float32)

    def attend(self, memories: Any, ages: Any, pointers: Any, pointer_ages: Any) -> Any:
        self.asked.append(len(ages))
        return np.zeros((len(ages), 4, 2, 2), np.float32)

    def decode(self, seen: Any) -> Any:
        picture = self.segmenter.pictures[-1]
        rows, columns = (np.arange(S // 4) * side // (S // 4) for side in picture.rgb.shape[:2])
        things = np.ptp(picture.rgb.astype(int), axis=2)[rows][:, columns] > 0
        low = np.where(things & (not self.says_nothing), 8.0, -8.0).astype(np.float32)
        many = np.full(len(seen), 5.0, np.float32)
        return np.stack([low] * len(seen)), many / 10, many, np.zeros((len(seen), 4), np.float32)

    def remember(self, masks: Any, given: Any, presence: Any) -> Any:
        self.remembered += len(masks)
        return np.zeros((len(masks), 4, 3), np.float32)


def followed(first: Frame, *colours: tuple[int, int, int]) -> tuple[GuardedMemoryTracker, Creeping, Segmenting]:
    segmenter = Segmenting()
    engine = Creeping(segmenter)
    tracker = GuardedMemoryTracker(segmenter, engine, (S, S))
    tracker.start(first, np.stack([mask_of(first, colour) for colour in colours]))
    return tracker, engine, segmenter


def iou(one: Any, other: Any) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def test_things_are_followed_where_they_go_whatever_the_memory_says() -> None:
    tracker, _, _ = followed(frame((RED, 100, 100), (BLUE, 124, 100)), RED, BLUE)
    for step in range(1, 16):
        now = frame((RED, 100 + 2 * step, 100), (BLUE, 124 + 2 * step, 100 + step))
        tracks = tracker.step(now)
        assert tracks.ids == (1, 2)
        assert min(iou(tracks.masks[row], mask_of(now, colour)) for row, colour in enumerate((RED, BLUE))) > 0.7
        assert (tracks.presence >= 0.5).all()


def test_a_hidden_thing_is_said_to_be_hidden_and_found_again() -> None:
    tracker, _, _ = followed(frame((RED, 100, 100)), RED)
    tracker.step(frame((RED, 100, 100)))
    for _ in range(4):
        tracks = tracker.step(frame((RED, 100, 100), (YELLOW, 100, 100)))
        assert not tracks.masks.any()
        assert tracks.presence[0] < 0.5
    now = frame((RED, 104, 98))
    tracks = tracker.step(now)
    assert iou(tracks.masks[0], mask_of(now, RED)) == 1
    assert tracks.presence[0] > 0.5


def test_a_thing_that_comes_back_elsewhere_is_found_by_its_look() -> None:
    tracker, _, _ = followed(frame((RED, 100, 100), (BLUE, 40, 40)), RED, BLUE)
    for _ in range(12):
        assert not tracker.step(frame((BLUE, 40, 40))).masks[0].any()
    now = frame((BLUE, 40, 40), (RED, 190, 150))
    found = [tracker.step(now) for _ in range(3)][-1]
    assert iou(found.masks[0], mask_of(now, RED)) == 1
    assert iou(found.masks[1], mask_of(now, BLUE)) > 0.9


def test_one_that_looks_alike_and_is_followed_is_not_mistaken_for_the_hidden_one() -> None:
    first = frame((RED, 60, 100), (RED, 140, 100))
    left, right = np.array(mask_of(first, RED)), np.array(mask_of(first, RED))
    left[:, 100:], right[:, :100] = False, False
    segmenter = Segmenting()
    tracker = GuardedMemoryTracker(segmenter, Creeping(segmenter), (S, S))
    tracker.start(first, np.stack([left, right]))
    for _ in range(10):
        tracks = tracker.step(frame((RED, 60, 100), (YELLOW, 140, 100)))
        assert iou(tracks.masks[0], left) > 0.9
        assert not (tracks.masks[1] & left).any()


def test_a_step_encodes_so_many_windows_at_most_and_every_thing_has_its_turn() -> None:
    places = [(RED, 10, 10), (BLUE, 280, 10), (GREEN, 10, 200), (YELLOW, 280, 200)]
    first = frame(*places)
    tracker, engine, segmenter = followed(first, RED, BLUE, GREEN, YELLOW)
    started = len(segmenter.pictures)
    assert started == 4
    for step in range(1, 9):
        tracks = tracker.step(first)
        assert len(segmenter.pictures) - started <= MOST * step
        assert tracks.masks.any(axis=(1, 2)).all(), "what is not looked at is where it moved"
    corners = {tuple(picture.rgb[picture.rgb.shape[0] // 2, 0]) for picture in segmenter.pictures[started:]}
    assert len(corners) >= 2
    assert all(one.asked > 0 for one in tracker._followed), "the memory is asked for each in turn"
    assert max(engine.asked) < 4


def test_what_is_told_is_remembered_and_what_is_hidden_is_not() -> None:
    tracker, engine, _ = followed(frame((RED, 100, 100)), RED)
    before = engine.remembered
    tracker.step(frame((RED, 100, 100)))
    assert engine.remembered == before + 1
    tracker.step(frame((YELLOW, 100, 100)))
    assert engine.remembered == before + 1


def test_a_camera_that_changes_its_size_loses_nothing() -> None:
    tracker, _, _ = followed(frame((RED, 100, 100)), RED)
    large = frame((RED, 100, 100), size=(640, 480))
    tracks = [tracker.step(large) for _ in range(2)][-1]
    assert tracks.masks.shape == (1, 480, 640)
    assert iou(tracks.masks[0], mask_of(large, RED)) > 0.9


def test_ids_are_never_given_twice_and_what_is_forgotten_is_not_followed() -> None:
    first = frame((RED, 100, 100), (BLUE, 200, 100))
    tracker, _, _ = followed(first, RED, BLUE)
    tracker.forget(1)
    tracker.forget(7)
    assert tracker.step(first).ids == (2,)
    assert tracker.start(first, mask_of(first, RED)[None]) == (3,)
    assert tracker.step(first).ids == (2, 3)
    tracker.forget(2)
    tracker.forget(3)
    assert tracker.step(first).masks.shape == (0, 240, 320)


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(RejectedInput, match="empty mask"):
        followed(frame((RED, 100, 100)), BLUE)
