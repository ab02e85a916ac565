"""Windows: small things are large in them, near ones share one."""

from typing import Any

import numpy as np
import pytest

from segzero_ros.tracking.window import HOLD, SHARE, SMALLEST, first_of, plan, size_for

PICTURE = (640, 480)


def box(x: float, y: float, side: float = 40) -> Any:
    return np.array([x, y, x + side, y + side])


def windows(*boxes: Any) -> Any:
    return plan(boxes, [size_for(one, PICTURE) for one in boxes], PICTURE)


def test_a_small_thing_has_the_smallest_window_in_the_pictures_shape_with_the_thing_in_its_middle() -> None:
    (window,) = windows(box(300, 200))
    rows, columns = window.slices
    assert (columns.stop - columns.start, rows.stop - rows.start) == (round(640 * SMALLEST), round(480 * SMALLEST))
    assert (columns.start + columns.stop) / 2 == pytest.approx(320, abs=1)
    assert (rows.start + rows.stop) / 2 == pytest.approx(220, abs=1)


def test_a_large_thing_has_the_whole_picture() -> None:
    (window,) = windows(box(100, 50, 400))
    assert window.slices == (slice(0, 480), slice(0, 640))


def test_a_thing_takes_its_share_of_the_window() -> None:
    side = 480 * SHARE * 0.6
    assert size_for(box(0, 0, side), PICTURE) == pytest.approx(0.6)


def test_a_size_is_held_until_quite_another_is_wanted() -> None:
    held = 0.6
    near, far = 480 * SHARE * held * (HOLD - 0.1), 480 * SHARE * held * (HOLD + 0.1)
    assert size_for(box(0, 0, near), PICTURE, held) == held
    assert size_for(box(0, 0, far), PICTURE, held) == pytest.approx(held * (HOLD + 0.1))


@pytest.mark.parametrize("place", [(-50, 200), (630, 470), (900, -300)])
def test_a_window_lies_in_the_picture_at_the_border_where_its_thing_left(place: tuple[int, int]) -> None:
    (window,) = windows(box(*place))
    rows, columns = window.slices
    assert 0 <= rows.start < rows.stop <= 480
    assert 0 <= columns.start < columns.stop <= 640
    assert (columns.start == 0) == (place[0] < 0)


def test_each_thing_is_in_one_window_and_far_ones_do_not_share_it() -> None:
    found = windows(box(100, 100), box(150, 120), box(500, 380))
    assert sorted(window.rows for window in found) == [(0, 1), (2,)]


def test_of_many_windows_those_are_looked_at_whose_things_waited_longest() -> None:
    found = windows(box(20, 20), box(560, 20), box(60, 30), box(300, 400))
    assert [window.rows for window in first_of(found, [0, 1, 3, 2], 2)] == [(0, 2), (3,)]
    assert len(first_of(found, [0, 0, 0, 0], 9)) == 3
