"""What SAM 2's memory is fed, and what is made of it, without an engine; the graphs are tested in tests/export."""

from typing import Any

import numpy as np
import pytest

from segzero_ros.answer import Target
from segzero_ros.backends.sam2_memory import ABSENT, GRAPHS, Sam2MemoryTracker, check_memory_graphs, target_of
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.segmenter import Masks

S = 32
FRAME = Frame(np.zeros((48, 64, 3), np.uint8), 0)


class TalliedEngine:
    """Remembers what it was asked; its masks are the lower left quarter."""

    def __init__(self) -> None:
        self.ages: list[Any] = []
        self.pointer_ages: list[Any] = []
        self.remembered: list[Any] = []
        self.presence = 3.0

    def prompt(self, masks: Any) -> Any:
        return np.zeros((len(masks), 4, 2, 2), np.float32)

    def attend(self, memories: Any, ages: Any, pointers: Any, pointer_ages: Any) -> Any:
        assert memories.shape[:2] == ages.shape
        assert pointers.shape[:2] == pointer_ages.shape
        self.ages.append(ages.tolist())
        self.pointer_ages.append(pointer_ages.tolist())
        return np.zeros((len(ages), 4, 2, 2), np.float32)

    def decode(self, seen: Any) -> Any:
        logits = np.full((len(seen), S // 4, S // 4), -8.0, np.float32)
        logits[:, S // 8 :, : S // 8] = 8.0
        many = np.full(len(seen), self.presence, np.float32)
        return logits, np.full(len(seen), 0.7, np.float32), many, np.zeros((len(seen), 4), np.float32)

    def remember(self, masks: Any, given: Any, presence: Any) -> Any:
        self.remembered.append((masks.copy(), given.tolist(), presence.tolist()))
        return np.zeros((len(masks), 4, 3), np.float32)


class GivenSegmenter:
    """Answers every prompt with one mask."""

    def __init__(self, mask: Any = None) -> None:
        self.mask = mask
        self.asked: list[Target] = []

    def set_image(self, frame: Frame) -> None:
        pass

    def predict(self, targets: tuple[Target, ...]) -> Masks:
        self.asked += targets
        return Masks(np.stack([self.mask] * len(targets)), np.ones(len(targets), np.float32))


def masks(count: int = 1) -> Any:
    given = np.zeros((count, 48, 64), bool)
    given[:, 10:20, 10:30] = True
    return given


def test_the_first_frame_and_the_last_six_are_remembered_by_their_ages() -> None:
    engine = TalliedEngine()
    tracker = Sam2MemoryTracker(GivenSegmenter(), engine, (S, S))
    tracker.start(FRAME, masks())
    for _ in range(20):
        tracker.step(FRAME)
    assert engine.ages[0] == [[0]]
    assert engine.ages[2] == [[0, 2, 1]]
    assert engine.ages[-1] == [[0, 6, 5, 4, 3, 2, 1]]
    assert engine.pointer_ages[-1] == [[20, *range(15, 0, -1)]]


def test_an_object_that_joins_later_has_no_past_where_the_others_have_one() -> None:
    engine = TalliedEngine()
    tracker = Sam2MemoryTracker(GivenSegmenter(), engine, (S, S))
    tracker.start(FRAME, masks())
    tracker.step(FRAME)
    tracker.step(FRAME)
    assert tracker.start(FRAME, masks()) == (2,)
    tracker.step(FRAME)
    assert engine.ages[-1] == [[0, 2, 1], [0, ABSENT, ABSENT]]
    assert engine.pointer_ages[-1] == [[3, 2, 1], [1, ABSENT, ABSENT]]


def test_what_is_given_is_remembered_as_given_and_what_is_found_as_found() -> None:
    engine = TalliedEngine()
    tracker = Sam2MemoryTracker(GivenSegmenter(), engine, (S, S))
    tracker.start(FRAME, masks(2))
    tracker.step(FRAME)
    (first, given, sure), (_, found, presence) = engine.remembered
    assert (given, sure, found, presence) == ([1, 1], [10, 10], [0, 0], [3, 3])
    assert set(np.unique(first)) == {-10, 10}


def test_presence_is_a_share_and_an_object_thinner_than_the_grid_still_starts() -> None:
    engine = TalliedEngine()
    engine.presence = 0.0
    tracker = Sam2MemoryTracker(GivenSegmenter(), engine, (S, S))
    thin = np.zeros((1, 48, 64), bool)
    thin[0, 5, 7] = True
    tracker.start(FRAME, thin)
    assert engine.remembered[0][0].max() == 10
    assert tracker.step(FRAME).presence[0] == pytest.approx(0.5)


def test_box_and_middle_are_those_of_the_largest_piece_wherever_it_lies() -> None:
    mask = np.zeros((48, 64), bool)
    mask[2:6, 50:60] = mask[30:41, 7:22] = True
    target = target_of(mask)
    assert target is not None
    assert target.box == (7, 30, 22, 41)
    ((x, y),) = target.points
    assert (12 <= x <= 17) and y == 35.5, "the middle of rows 30 to 40"
    assert target_of(np.zeros((48, 64), bool)) is None


@pytest.mark.parametrize("wrong", ["input", "size"])
def test_graphs_of_another_bundle_are_refused(wrong: str) -> None:
    inputs = {role: list(names) for role, names in GRAPHS.items()}
    if wrong == "input":
        inputs["memory_attention"].remove("ages")
    with pytest.raises(RejectedInput) as refused:
        check_memory_graphs((S, S), inputs, ["objects", S, S if wrong == "input" else 2 * S])
    assert refused.value.code is Code.BUNDLE_FORMAT
    assert "export the bundle again" in refused.value.detail
