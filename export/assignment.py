"""The best one-to-one pairing of what was found with what was wanted: the one place where scipy decides it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment


def best_pairs(gain: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of the pairing with the largest sum of ``gain`` (M, N)."""
    rows, columns = linear_sum_assignment(gain, maximize=True)
    return rows, columns


def paired_mean(gain: NDArray[Any]) -> float:
    """Return the mean gain of the best pairing; what is left over on either side of (M, N) counts 0, (0, 0) is 1."""
    return float(gain[best_pairs(gain)].sum()) / max(gain.shape) if gain.size else float(gain.shape == (0, 0))
