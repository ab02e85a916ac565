"""Looks: the same colours are alike in any place and size, other ones are not."""

import numpy as np
import pytest

from segzero_ros.tracking.look import alike, lab_of, look_of

PURE = {"blue": (20, 30, 240), "red": (230, 20, 20), "green": (20, 200, 30), "white": (240, 240, 240)}


def picture(colour: tuple[int, int, int]) -> np.ndarray:  # type: ignore[type-arg]
    rgb = np.full((40, 60, 3), 120, np.uint8)
    rgb[10:30, 10:30] = colour
    return lab_of(rgb)


MASK = np.zeros((40, 60), bool)
MASK[10:30, 10:30] = True


@pytest.mark.parametrize("name", PURE)
def test_a_colour_is_itself_and_no_other_one(name: str) -> None:
    looks = {other: look_of(picture(colour), MASK) for other, colour in PURE.items()}
    for other, look in looks.items():
        assert (alike(looks[name], look) > 0.7) == (other == name)


def test_a_shade_darker_is_still_alike() -> None:
    darker = tuple(round(0.9 * part) for part in PURE["blue"])
    assert alike(look_of(picture(PURE["blue"]), MASK), look_of(picture(darker), MASK)) > 0.35  # type: ignore[arg-type]


def test_half_of_it_is_alike_in_part() -> None:
    wide = MASK.copy()
    wide[10:30, 30:50] = True
    assert 0.4 < alike(look_of(picture(PURE["red"]), MASK), look_of(picture(PURE["red"]), wide)) < 0.9


def test_a_mask_too_small_for_a_look_is_like_nothing() -> None:
    tiny = np.zeros_like(MASK)
    tiny[10, 10] = True
    look = look_of(picture(PURE["red"]), tiny)
    assert alike(look, look) == 0
