"""The overlay shows every mask, box and point, the command and what came of it, for frames of any size."""

import numpy as np
import pytest
from numpy.typing import NDArray

from segzero_ros.backends.fake import FakeReasoner, FakeSegmenter, GarbageReasoner
from segzero_ros.command import MAX_COMMAND_CHARS, Command
from segzero_ros.errors import Code
from segzero_ros.frame import Frame
from segzero_ros.overlay import colour_of, draw_overlay
from segzero_ros.pipeline import Pipeline, Segmentation, unanswered
from segzero_ros.profile import get_profile
from segzero_ros.reasoner import Reasoner


def ground(height: int, width: int, text: str = "the red mug", reasoner: Reasoner | None = None) -> Segmentation:
    frame = Frame(np.full((height, width, 3), 100, np.uint8), 0)
    pipeline = Pipeline(get_profile("abstaining_v2"), reasoner or FakeReasoner(), FakeSegmenter())
    return pipeline.ground(frame, Command("1", text))


def differs(picture: NDArray[np.uint8], rows: slice, columns: slice) -> bool:
    return bool((picture[rows, columns] != 100).any())


def test_the_mask_is_tinted_in_the_instances_colour_and_the_rest_left_alone() -> None:
    picture = draw_overlay(ground(480, 640))
    assert picture.shape[1] == 640
    assert picture.shape[0] > 480
    assert picture.dtype == np.uint8
    inside = picture[300, 200]
    assert np.abs(inside - (100 * 0.55 + np.array(colour_of(1)) * 0.45)).max() <= 1
    assert not differs(picture, slice(0, 90), slice(0, 640))
    assert differs(picture, slice(238, 242), slice(318, 322))


def test_the_result_itself_is_not_drawn_on() -> None:
    result = ground(480, 640)
    draw_overlay(result)
    assert (result.frame.rgb == 100).all()


def test_another_picture_of_the_same_size_may_be_drawn_on() -> None:
    picture = draw_overlay(ground(480, 640), np.full((480, 640, 3), 7, np.uint8))
    assert (picture[:90] == 7).all()


@pytest.mark.parametrize(
    "size", [(1, 1), (2, 3), (60, 80), (240, 320), (1200, 1600), (20, 2000), (2000, 20), (8192, 1)]
)
def test_any_size_can_be_drawn_and_small_ones_grow(size: tuple[int, int]) -> None:
    picture = draw_overlay(ground(*size))
    assert picture.shape[1] >= 480
    assert picture.size < 20_000_000


@pytest.mark.parametrize("text", ["x" * MAX_COMMAND_CHARS, "die große Tasse 🍵 " * 20, "%s {} \\ '", "W " * 200])
def test_any_command_fits_the_caption(text: str) -> None:
    assert draw_overlay(ground(480, 640, text)).shape[1] == 640


@pytest.mark.parametrize("code", list(Code))
def test_every_code_can_be_shown_without_a_frame(code: Code) -> None:
    picture = draw_overlay(unanswered(Command("1", "mug"), code, "why, and what to do"))
    assert picture.shape[1] == 480


def test_an_unreadable_answer_is_shown_as_such() -> None:
    bad, good = draw_overlay(ground(480, 640, reasoner=GarbageReasoner())), draw_overlay(ground(480, 640))
    assert not differs(bad, slice(0, 480), slice(0, 640))
    assert bad[480:].shape != good[480:].shape or (bad[480:] != good[480:]).any()


def test_neighbouring_instances_have_different_colours() -> None:
    assert all(colour_of(k) != colour_of(k + 1) for k in range(1, 50))
