"""Which masks of a thing are believed: judged by where it should be, its area and its look."""

from typing import Any

import numpy as np
import pytest

from segzero_ros.tracking.guard import GAIN, GROWN, SHOWN, Judge, Thing, share_out
from segzero_ros.tracking.look import lab_of
from segzero_ros.tracking.motion import STILL

SHAPE = (120, 160)
ALL = (slice(0, 120), slice(0, 160))
NONE = np.zeros(SHAPE, bool)


def square(x: int, y: int, width: int = 40, height: int = 40) -> Any:
    mask = np.zeros(SHAPE, bool)
    mask[max(0, y) : y + height, max(0, x) : x + width] = True
    return mask


def picture(**things: Any) -> Any:
    """A grey table with masks painted red, blue and so on, the later ones above."""
    colours = {"red": (220, 30, 30), "blue": (30, 40, 230), "arm": (245, 215, 40)}
    rgb = np.full((*SHAPE, 3), 110, np.uint8)
    for name, mask in things.items():
        rgb[mask] = colours[name]
    return lab_of(rgb)


AT = square(60, 40)


def begun() -> Thing:
    return Thing.begin(AT, picture(red=AT))


def judge(thing: Thing, lab: Any, support: float = 1.0) -> Judge:
    return Judge(thing, ALL, lab, support)


def seen_once(thing: Thing, mask: Any, lab: Any, support: float = 1.0) -> Any:
    """One step of a thing that stood still."""
    thing.expect(STILL, STILL, lab)
    told = judge(thing, lab, support).choose(mask)
    thing.settle(told, lab)
    return told


def test_a_mask_that_fits_moves_the_running_mean_by_its_gain() -> None:
    thing = begun()
    told = seen_once(thing, square(61, 40), picture(red=square(61, 40)))
    assert np.array_equal(told, AT), "one frame does not outvote the mean"
    assert thing.soft[50, 100] == pytest.approx(255 * GAIN, abs=1)
    for _ in range(3):
        told = seen_once(thing, square(61, 40), picture(red=square(61, 40)))
    assert np.array_equal(told, square(61, 40))


def test_a_mask_does_not_creep_onto_what_touches_the_thing() -> None:
    thing, lab = begun(), picture(red=AT, blue=square(100, 40))
    for more in range(2, 40, 2):
        told = seen_once(thing, square(60, 40, 40 + more), lab)
    assert (told & square(100, 40)).sum() <= 1.2 * (GROWN - 1) * AT.sum()
    assert (told & AT).sum() == AT.sum()


def test_a_mask_of_what_looks_different_is_not_believed_and_the_thing_is_hidden() -> None:
    thing = begun()
    assert not seen_once(thing, AT, picture(arm=AT)).any()
    assert thing.hidden == 1
    assert np.array_equal(thing.soft > 127, AT), "it is expected where it was"


def test_what_shows_of_a_partly_hidden_thing_is_told_and_the_whole_is_expected() -> None:
    thing, part = begun(), square(60, 40, 14)
    lab = picture(red=AT, arm=square(74, 20, 50, 80))
    told = seen_once(thing, part, lab)
    assert (told ^ part).sum() <= 40, "but for a column at the arm's edge"
    assert np.array_equal(thing.soft > 127, AT)
    assert np.array_equal(seen_once(thing, AT, picture(red=AT)), AT)


def test_a_sliver_is_not_a_thing() -> None:
    thing, sliver = begun(), square(60, 40, round(40 * SHOWN) - 2)
    lab = picture(red=AT, arm=square(60 + round(40 * SHOWN) - 2, 20, 60, 80))
    assert not seen_once(thing, sliver, lab, support=0.0).any()


def test_the_expected_mask_is_told_where_nothing_fits_and_it_looks_as_it_did() -> None:
    elsewhere = square(5, 5)
    assert np.array_equal(seen_once(begun(), elsewhere, picture(red=AT), support=0.9), AT)
    gone = picture(red=square(60, 40, 3))
    assert not seen_once(begun(), elsewhere, gone, support=0.9).any()


def test_without_any_mask_the_expected_one_is_told() -> None:
    assert np.array_equal(judge(begun(), picture(red=AT)).choose(), AT)


def hidden(frames: int) -> Thing:
    thing = begun()
    for _ in range(frames):
        seen_once(thing, NONE, picture(arm=AT), support=0.0)
    assert thing.hidden == frames
    return thing


def test_a_hidden_thing_comes_back_where_it_was_and_at_once() -> None:
    thing = hidden(5)
    assert np.array_equal(seen_once(thing, square(66, 44), picture(red=square(66, 44))), square(66, 44))
    assert thing.hidden == 0


def test_it_comes_back_no_further_than_it_can_have_gone() -> None:
    far = square(-20, 40, 60)
    one, other = hidden(1), hidden(30)
    lab = picture(red=square(120, 80))
    assert not seen_once(one, square(120, 80), lab).any()
    assert seen_once(other, square(120, 80), lab).any()
    assert far.any()


def test_it_does_not_come_back_as_another_colour_or_size() -> None:
    assert not seen_once(hidden(5), AT, picture(blue=AT)).any()
    large = square(40, 20, 80, 80)
    assert not seen_once(hidden(5), large, picture(red=large)).any()


def test_a_hidden_thing_is_expected_to_move_with_the_camera() -> None:
    thing, pan = hidden(2), np.array([[1.0, 0, 12], [0, 1, -5]])
    thing.expect(STILL, pan, picture(arm=square(72, 35)))
    assert np.array_equal(thing.soft > 127, square(72, 35))
    assert thing.box == pytest.approx([72, 35, 112, 75])


def test_a_thing_that_left_the_picture_is_known_to_be_outside() -> None:
    thing, pan = begun(), np.array([[1.0, 0, -120], [0, 1, 0]])
    thing.expect(pan, pan, picture())
    assert not (thing.soft > 127).any()
    assert thing.box[2] < 0
    assert not judge(thing, picture()).is_expected


def test_a_thing_that_leaves_by_and_by_comes_back_whole() -> None:
    thing = begun()
    for step in range(1, 21):
        move = np.array([[1.0, 0, -8 if step <= 10 else 8], [0, 1, 0]])
        left = 60 - 8 * step if step <= 10 else 60 - 8 * (20 - step)
        shown = square(left, 40) if left > -40 else NONE
        shown = shown & (np.arange(160) < left + 40)[None]
        lab = picture(red=shown)
        thing.expect(move, move, lab)
        thing.settle(judge(thing, lab).choose(shown), lab)
    assert np.array_equal(thing.soft > 127, AT)
    assert np.array_equal(thing.shown, AT)


def test_the_usual_area_follows_slowly_what_is_seen_and_at_once_where_the_camera_comes_nearer() -> None:
    thing, nearer = begun(), np.array([[1.1, 0, 0], [0, 1.1, 0]])
    thing.settle(square(60, 40, 48), picture(red=square(60, 40, 48)))
    assert AT.sum() < thing.area < 1.01 * AT.sum()
    before = thing.area
    thing.expect(nearer, nearer, picture())
    assert thing.area == pytest.approx(1.21 * before)


def test_another_size_of_the_picture_keeps_everything_in_its_place() -> None:
    thing = begun()
    thing.rescale((320, 240))
    assert thing.soft.shape == (240, 320)
    assert thing.box == pytest.approx([120, 80, 200, 160])
    assert (thing.soft > 127).sum() == pytest.approx(thing.area, rel=0.02)
    assert thing.shown.sum() == pytest.approx(thing.area)


def test_a_pixel_belongs_to_the_thing_that_is_surest_of_it_and_no_other_changes() -> None:
    one, other = begun(), begun()
    one.soft[:, 80:] //= 2
    other.soft[:, :80] //= 2
    masks = np.stack([square(60, 40), square(60, 40) | square(110, 50, 9)])
    share_out(masks, [one, other])
    assert masks.sum(axis=0).max() == 1
    assert np.array_equal(masks[0], square(60, 40, 20))
    assert np.array_equal(masks[1], square(80, 40, 20) | square(110, 50, 9))


def test_corners_of_what_passes_before_a_thing_do_not_take_it_along() -> None:
    thing, passing = begun(), np.array([[1.0, 0, 15], [0, 1, 0]])
    for step in range(3):
        lab = picture(red=AT, arm=square(30 + 15 * step, 0, 50, 120))
        thing.expect(passing, STILL, lab)
        thing.settle(judge(thing, lab).choose(AT), lab)
    assert np.array_equal(thing.soft > 127, AT)
    assert thing.hidden == 1, "all of it is behind the arm now"
    lab = picture(red=AT, arm=square(100, 0, 50, 120))
    assert np.array_equal(seen_once(thing, AT, lab), AT)


def test_a_thing_that_moves_by_itself_is_expected_where_it_went() -> None:
    thing, own = begun(), np.array([[1.0, 0, 12], [0, 1, 0]])
    thing.expect(own, STILL, picture(red=square(72, 40)))
    assert np.array_equal(thing.soft > 127, square(72, 40))
    assert thing.clear == 1


def test_a_mask_of_what_passes_before_a_hidden_thing_is_not_the_thing() -> None:
    """Not even if it has the thing's colours: a grey arm before a grey mug."""
    thing = Thing.begin(AT, lab_of(np.where(AT[..., None], np.uint8(120), np.uint8(200)).repeat(3, axis=2)))
    arm = lab_of(np.where(square(40, 0, 80, 120)[..., None], np.uint8(105), np.uint8(200)).repeat(3, axis=2))
    for _ in range(3):
        assert not seen_once(thing, AT, arm).any()


def test_what_comes_back_elsewhere_has_the_shape_it_had() -> None:
    tall, wide = square(110, 10, 20, 80), square(100, 60)
    assert not seen_once(hidden(20), tall, picture(red=tall)).any()
    assert np.array_equal(seen_once(hidden(20), wide, picture(red=wide)), wide)


def test_a_thing_that_looks_otherwise_for_long_and_is_still_there_is_seen_again() -> None:
    """A label that was turned to the camera while something passed: the colours are its own, elsewhere."""
    thing = Thing.begin(AT, picture(red=AT, blue=square(60, 40, 20)))
    turned = picture(red=AT, blue=square(80, 40, 20))
    told = [seen_once(thing, AT, turned) for _ in range(20)]
    assert not np.array_equal(told[0], AT)
    assert np.array_equal(told[-1], AT)


def test_a_thing_that_is_pushed_faster_than_its_corners_tell_is_followed_by_its_picture() -> None:
    striped = lambda x: picture(red=square(x, 40), blue=square(x + 6, 46, 28, 6))  # noqa: E731
    thing = Thing.begin(AT, striped(60))
    told = seen_once(thing, square(78, 40), striped(78))
    assert np.array_equal(told, square(78, 40))
    assert thing.box == pytest.approx([78, 40, 118, 80])


def test_a_mask_elsewhere_on_what_has_its_colours_but_not_its_picture_is_not_followed() -> None:
    thing = Thing.begin(AT, picture(red=AT, blue=square(66, 46, 28, 6)))
    other = picture(red=square(78, 40), blue=square(84, 60, 28, 6))
    assert not np.array_equal(seen_once(thing, square(78, 40), other), square(78, 40))
