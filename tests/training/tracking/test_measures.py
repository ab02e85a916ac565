"""J and F against slow implementations of their definitions, on masks drawn at random."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from training.evaluation.tracking.measures import TOLERANCE, boundary, region

EMPTY = np.zeros((60, 80), np.bool_)


def blob(rng: np.random.Generator) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:60, :80]
    (y, x), (h, w) = rng.uniform(10, 50, 2), rng.uniform(4, 20, 2)
    return np.asarray(((rows - y) / h) ** 2 + ((columns - x) / w) ** 2 < 1)


def slow_boundary(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    def edge(mask: NDArray[np.bool_]) -> set[tuple[int, int]]:
        height, width = mask.shape
        last = {
            (i, j): mask[min(i, height - 1), min(j, width - 1)] for i in range(height + 1) for j in range(width + 1)
        }
        return {
            (i, j)
            for i, j in itertools.product(range(height), range(width))
            if any(
                last[i, j] != last[i + a, j + b]
                for a, b in ((0, 1), (1, 0), (1, 1))
                if i + a < height and j + b < width
            )
        }

    reach = math.ceil(TOLERANCE * math.hypot(*found.shape))

    def near(ones: set[tuple[int, int]], others: set[tuple[int, int]]) -> float:
        return sum(any((a - i) ** 2 + (b - j) ** 2 <= reach**2 for a, b in others) for i, j in ones) / len(ones)

    precision, recall = near(edge(found), edge(true)), near(edge(true), edge(found))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("seed", range(6))
def test_f_is_what_its_definition_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found, true = blob(rng), blob(rng)
    assert boundary(found, true) == pytest.approx(slow_boundary(found, true), abs=1e-12)
    nearly = np.roll(true, 1, axis=1)
    assert boundary(nearly, true) == pytest.approx(slow_boundary(nearly, true), abs=1e-12)


def test_j_is_the_iou() -> None:
    one, other = EMPTY.copy(), EMPTY.copy()
    one[10:20, 10:20], other[10:20, 15:25] = True, True
    assert region(one, other) == pytest.approx(50 / 150)


def test_where_a_thing_is_hidden_the_empty_mask_is_right_and_any_other_wrong() -> None:
    some = EMPTY.copy()
    some[5:9, 5:9] = True
    assert (region(EMPTY, EMPTY), boundary(EMPTY, EMPTY)) == (1, 1)
    assert (region(some, EMPTY), boundary(some, EMPTY)) == (0, 0)
    assert (region(EMPTY, some), boundary(EMPTY, some)) == (0, 0)


def test_a_mask_of_everything_has_no_boundary() -> None:
    assert boundary(~EMPTY, ~EMPTY) == 1
