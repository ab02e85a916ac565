"""The best pairing, held against every pairing there is."""

import itertools

import numpy as np
import pytest

from export.assignment import paired_mean
from segzero_ros.matching import box_ious

ONE, OTHER = (0.0, 0.0, 10.0, 10.0), (20.0, 20.0, 30.0, 30.0)


def test_boxes_are_paired_as_well_as_they_can_be_and_what_is_left_over_counts_nothing():
    assert paired_mean(box_ious([ONE, OTHER], [OTHER, ONE])) == 1
    assert paired_mean(box_ious([ONE], [ONE, OTHER])) == 0.5
    assert paired_mean(box_ious([], [])) == 1
    assert paired_mean(box_ious([], [ONE])) == paired_mean(box_ious([ONE], [])) == 0


@pytest.mark.parametrize("seed", range(20))
def test_no_other_pairing_gains_more(seed):
    gain = np.random.default_rng(seed).random((3, 4))
    best = max(
        sum(gain[row, column] for row, column in enumerate(order)) for order in itertools.permutations(range(4), 3)
    )
    assert paired_mean(gain) == pytest.approx(best / 4)
