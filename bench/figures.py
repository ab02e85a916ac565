"""Medians, tails and ratios of what was measured, with the interval that chance leaves open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
_SEED = 0  # the same figures from the same measurements


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median and 95th percentile; of nothing, an empty dictionary."""
    if not len(values):
        return {}
    return {"p50": _short(np.median(values)), "p95": _short(np.percentile(values, 95)), "count": len(values)}


def ratio(slower: Sequence[float], faster: Sequence[float]) -> dict[str, float]:
    """Return median(slower) / median(faster) of paired measurements, with its 95 % interval (paired bootstrap).

    Pairs are the same question asked of both, so they are drawn together (Efron and Tibshirani, 1993, chapter 8).
    """
    above, below = np.asarray(slower, float), np.asarray(faster, float)
    if above.shape != below.shape or not above.size:
        raise ValueError(f"got {above.shape} and {below.shape} measurements, want as many pairs, at least one")
    drawn = np.random.default_rng(_SEED).integers(0, len(above), (RESAMPLES, len(above)))
    quotients = np.median(above[drawn], axis=1) / np.median(below[drawn], axis=1)
    low, high = np.percentile(quotients, [2.5, 97.5])
    return {"ratio": _short(np.median(above) / np.median(below)), "low": _short(low), "high": _short(high)}


def spreads(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return the ``spread`` of each key over the rows that have it."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: spread([row[key] for row in rows if key in row]) for key in keys}


def _short(value: float | NDArray[np.float64]) -> float:
    return float(f"{float(value):.4g}")


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of docs/speed.md."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
