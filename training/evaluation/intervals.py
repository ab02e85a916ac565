"""95 % intervals by bootstrap: percentiles of a figure over resampled sets of samples.

(Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.)

The resampled sets are the same every time for the same number of samples, so that a figure is reproducible and two
runs over the same samples can be compared pair by pair. A figure that no resampling can change (all right, all wrong)
gets an interval of no width; how rare a failure then may still be is about 3 / samples (the "rule of three").
"""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

RESAMPLES = 1000
_CHUNK_CELLS = 4_000_000  # of the table of weights held at once: 32 MB


def interval(numerators: Values, denominators: Values | None = None, *, digits: int = 4) -> dict[str, float]:
    """Return sum / sum of two (samples,) arrays with its 95 % interval; without denominators the mean.

    Nothing over nothing counts as 1. There must be at least one sample.
    """
    below = np.ones_like(numerators) if denominators is None else denominators
    value = quotient(numerators.sum(keepdims=True), below.sum(keepdims=True))[0]
    low, high = np.percentile(quotient(resampled(numerators), resampled(below)), [2.5, 97.5])
    return {"value": round(float(value), digits), "low": round(float(low), digits), "high": round(float(high), digits)}


def difference(first: Values, second: Values, *, digits: int = 4) -> dict[str, float]:
    """Return mean(second) - mean(first) of paired (samples,) values with the 95 % interval of the paired bootstrap."""
    return interval(second - first, digits=digits)


def resampled(values: Values) -> Values:
    """Return the sums (RESAMPLES,) over the resampled sets of (samples,) values."""
    return np.concatenate([weights @ values for weights in _weights(len(values))])


def _weights(count: int) -> Iterator[Values]:
    """Yield, in chunks, how often each resampled set holds each sample: (sets, samples)."""
    if count * RESAMPLES <= _CHUNK_CELLS:
        yield _all_weights(count)
        return
    rng = np.random.default_rng(count)
    step = max(1, _CHUNK_CELLS // count)
    for start in range(0, RESAMPLES, step):
        yield _draw(rng, min(step, RESAMPLES - start), count)


@functools.lru_cache(maxsize=2)  # a group's figures ask for the same one again and again
def _all_weights(count: int) -> Values:
    return _draw(np.random.default_rng(count), RESAMPLES, count)


def _draw(rng: Any, sets: int, count: int) -> Values:
    picks = rng.integers(count, size=(sets, count)) + np.arange(sets)[:, None] * count
    return np.bincount(picks.ravel(), minlength=sets * count).reshape(sets, count).astype(np.float64)


def quotient(numerators: Values, denominators: Values) -> Values:
    """Return their quotients, 1 where there is nothing over nothing."""
    return np.divide(numerators, denominators, out=np.ones_like(numerators), where=denominators > 0)


def percentiles(values: Values, *, digits: int = 1) -> dict[str, float]:
    """Return the median and the 95th percentile."""
    p50, p95 = np.percentile(values, [50, 95])
    return {"p50": round(float(p50), digits), "p95": round(float(p95), digits)}
