"""Scores against cases small enough to count by hand."""

import numpy as np
import pytest

from segzero_ros.matching import all_matched, box_iou, box_ious, distinct, mask_iou, overlap

LEFT = np.array([[1, 1, 0, 0]], bool)
MIDDLE = np.array([[0, 1, 1, 0]], bool)
NOTHING = np.zeros((1, 4), bool)


def test_two_masks_that_share_one_of_three_pixels_have_a_third():
    assert overlap(LEFT, MIDDLE) == (1, 3)
    assert mask_iou(LEFT, MIDDLE) == pytest.approx(1 / 3)


def test_two_empty_masks_agree_and_one_empty_mask_does_not():
    assert mask_iou(NOTHING, NOTHING) == 1.0
    assert mask_iou(NOTHING, LEFT) == 0.0


def test_boxes_that_share_a_quarter_of_each():
    assert box_iou((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert box_iou((0, 0, 2, 2), (2, 0, 4, 2)) == 0.0, "touching is not overlapping"
    assert box_iou((1, 1, 1, 5), (0, 0, 2, 2)) == 0.0, "a box without area overlaps nothing"


def test_every_found_box_is_held_against_every_true_one_and_the_last_pixel_may_count():
    found, true = [(0, 0, 2, 2), (5, 5, 6, 6)], [(1, 1, 3, 3), (0, 0, 2, 2), (2, 0, 4, 2)]
    assert box_ious(found, true) == pytest.approx(np.array([[1 / 7, 1, 0], [0, 0, 0]]))
    assert box_ious(found, true, last_pixel=1)[0] == pytest.approx([4 / 14, 1, 3 / 15])
    assert box_ious([], true).shape == (0, 3) and box_ious(found, []).shape == (2, 0)


def test_several_objects_match_in_any_order_but_each_only_once():
    a, b = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0)
    assert all_matched([b, a], [a, b])
    assert not all_matched([a, a], [a, b]), "the same object twice does not stand for two"
    assert not all_matched([a], [a, b])
    assert not all_matched([a, b], [a])
    assert all_matched([], [])


def test_the_pairing_is_found_even_where_the_first_choice_would_block_it():
    wide, narrow = (0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 6.0, 10.0)
    found = [(0.0, 0.0, 7.5, 10.0), (0.0, 0.0, 10.0, 10.0)]
    assert box_iou(found[0], wide) > 0.5
    assert box_iou(found[0], narrow) > 0.5
    assert box_iou(found[1], wide) > 0.5
    assert all_matched(found, [wide, narrow], 0.61)


@pytest.mark.parametrize(
    ("shifts", "kept"),
    [([0, 1], [0]), ([0, 3], [0, 1]), ([0, 40, 1, 41], [0, 1]), ([0, 1, 2, 3, 4], [0, 2, 4]), ([], [])],
)
def test_a_mask_that_repeats_a_kept_one_is_left_out(shifts, kept):
    masks = np.zeros(
        (len(shifts), 4, 64), bool
    )  # ten columns each: shifted by one, 9 of 11 are shared, by two, 8 of 12
    for mask, shift in zip(masks, shifts, strict=True):
        mask[:, shift : shift + 10] = True
    assert distinct(masks, [(shift, 0, shift + 10, 4) for shift in shifts]) == kept


def test_empty_masks_repeat_nothing():
    assert distinct(np.zeros((2, 4, 4), bool), [(0, 0, 4, 4)] * 2) == [0, 1]
