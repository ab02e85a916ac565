"""What of a thing is covered, by its picture laid over the frame."""

from typing import Any

import numpy as np
import pytest

from segzero_ros.tracking.look import lab_of
from segzero_ros.tracking.motion import STILL
from segzero_ros.tracking.template import Template

SHAPE = (120, 160)
RED = (200, 40, 40)
GREY = (120, 120, 122)


def square(x: int, y: int, width: int = 40, height: int = 40) -> Any:
    mask = np.zeros(SHAPE, bool)
    mask[y : y + height, x : x + width] = True
    return mask


AT = square(60, 40)


def frame(*painted: tuple[Any, tuple[int, ...]], seed: int = 0) -> Any:
    """A wooden table with masks painted, the later ones above, and a sensor's noise."""
    rgb = np.full((*SHAPE, 3), (150, 110, 70), np.float32)
    for mask, colour in painted:
        rgb[mask] = colour
    noise = np.random.default_rng(seed).normal(0, 2, rgb.shape)
    return lab_of(np.clip(rgb + noise, 0, 255).astype(np.uint8))


def right(pixels: float) -> Any:
    return np.array([[1.0, 0, pixels], [0, 1, 0]])


def test_noise_covers_nothing() -> None:
    template = Template.cut(frame((AT, GREY)), AT)
    assert not template.covered(frame((AT, GREY), seed=1), AT, STILL).any()


@pytest.mark.parametrize("arm", [(90, 92, 96), (150, 150, 152), (108, 126, 148)])
def test_a_grey_arm_before_a_grey_thing_covers_what_it_hides(arm: tuple[int, ...]) -> None:
    hidden = square(60, 30, 18, 70)
    covered = Template.cut(frame((AT, GREY)), AT).covered(frame((AT, GREY), (hidden, arm), seed=1), AT, STILL)
    wrong = covered ^ (hidden & AT)
    assert wrong.sum() <= 0.05 * AT.sum()


@pytest.mark.parametrize("light", [0.5, 0.8])
def test_a_coloured_thing_over_which_a_shadow_passes_is_not_covered(light: float) -> None:
    lit = tuple(int(value * light) for value in RED)
    template = Template.cut(frame((AT, RED)), AT)
    half = square(60, 40, 20)
    assert template.covered(frame((AT, RED), (half, lit)), AT, STILL).mean() < 0.01
    assert template.covered(frame((AT, RED), (half, (40, 40, 200))), AT, STILL).sum() > 0.9 * half.sum()


def test_a_thing_is_where_its_template_fits() -> None:
    striped = [(AT, GREY), (square(60, 50, 40, 6), RED)]
    moved = [(square(70, 40), GREY), (square(70, 50, 40, 6), RED)]
    template = Template.cut(frame(*striped), AT)
    assert not template.covered(frame(*moved), square(70, 40), right(10)).any()
    assert template.covered(frame(*moved), AT, STILL)[:, 60:70].sum() > 0.9 * 400, "the table, where it was"


def test_what_is_covered_is_kept_from_before() -> None:
    hidden = square(60, 40, 20)
    before, now = frame((AT, GREY)), frame((AT, GREY), (hidden, RED))
    template = Template.cut(before, AT)
    kept = template.renewed(now, AT, STILL, template.covered(now, AT, STILL))
    assert not kept.covered(before, AT, STILL).any()
    assert Template.cut(now, AT).covered(before, AT, STILL).sum() > 0.9 * hidden.sum(), "cut anew it is the arm's"


def test_nothing_is_covered_of_what_is_not_in_the_picture() -> None:
    template = Template.cut(frame((AT, GREY)), AT)
    assert not template.covered(frame(), np.zeros(SHAPE, bool), right(500)).any()
    assert not template.covered(frame(), np.zeros(SHAPE, bool), right(-500)).any()


def test_in_pictures_of_another_size_it_is_where_the_thing_is() -> None:
    template = Template.cut(frame((AT, GREY)), AT).rescaled(np.array([2.0, 2.0]))
    large = np.kron(frame((AT, GREY)), np.ones((2, 2, 1), np.uint8))
    mask = np.kron(AT, np.ones((2, 2), bool))
    assert not template.covered(large, mask, STILL).any()
