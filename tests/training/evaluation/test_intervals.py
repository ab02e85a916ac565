"""Bootstrap intervals against a slow reference, against theory, and against what they promise."""

import numpy as np
import pytest

from training.evaluation import intervals as evaluation_intervals
from training.evaluation.intervals import RESAMPLES, difference, interval, resampled

RNG = np.random.default_rng(3)


def test_resampled_sums_are_those_of_sets_drawn_with_replacement():
    """The same sets, drawn and added up one by one."""
    values = RNG.random(7)
    rng = np.random.default_rng(7)
    slow = [sum(values[pick] for pick in picks) for picks in rng.integers(7, size=(RESAMPLES, 7))]
    assert resampled(values) == pytest.approx(slow)


def test_many_samples_are_drawn_in_chunks_that_cover_all_sets(monkeypatch):
    monkeypatch.setattr(evaluation_intervals, "_CHUNK_CELLS", 70_000)
    sums = resampled(np.ones(101))
    assert len(sums) == RESAMPLES
    assert set(sums) == {101.0}


def test_the_interval_of_a_mean_is_that_of_the_normal_law():
    values = RNG.normal(5.0, 2.0, size=2000)
    found = interval(values)
    error = values.std() / np.sqrt(len(values))
    assert found["value"] == pytest.approx(values.mean(), abs=1e-4)
    assert found["low"] == pytest.approx(values.mean() - 1.96 * error, abs=0.25 * error)
    assert found["high"] == pytest.approx(values.mean() + 1.96 * error, abs=0.25 * error)


def test_about_95_of_100_intervals_hold_the_truth():
    rng = np.random.default_rng(11)
    shares = [interval((rng.random(150) < 0.7).astype(float)) for _ in range(300)]
    held = sum(share["low"] <= 0.7 <= share["high"] for share in shares)
    assert 270 <= held <= 297


def test_a_quotient_of_sums_weighs_by_the_denominator_and_nothing_over_nothing_is_one():
    assert interval(np.array([1.0, 90.0]), np.array([2.0, 100.0]))["value"] == pytest.approx(91 / 102, abs=1e-4)
    assert interval(np.zeros(3), np.zeros(3)) == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_one_sample_has_an_interval_of_no_width():
    assert interval(np.array([0.25])) == {"value": 0.25, "low": 0.25, "high": 0.25}


def test_an_interval_is_the_same_every_time():
    values = RNG.random(50)
    assert interval(values) == interval(values)


def test_pairs_see_a_small_gain_that_the_samples_spread_hides():
    hard = RNG.random(200)
    gain = difference(hard, hard + 0.01 + 0.005 * RNG.random(200))
    assert 0.01 < gain["low"] < gain["high"] < 0.015
    apart = interval(hard)
    assert apart["high"] - apart["low"] > 0.05
