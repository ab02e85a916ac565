"""The clocks and the counts behind the figures of following."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.follow.limits import DEVICES, build_large, stage_needs, step_ms, tables
from bench.follow.speed import bundle_table, frames_of, measure_bundle, starts
from bench.follow.stages import STAGES, Clocked
from bench.gpu.limits import Limits, Needs
from segzero_ros.backends import EngineOptions
from training.clips.truth import Clip
from training.evaluation.tracking.clips import evaluation_clips

BUNDLE = Path(__file__).parents[2] / "bundles" / "tabletop"


@pytest.fixture(scope="module")
def clip() -> Clip:
    (drawn,) = evaluation_clips(1, 0, frames=4, size=(320, 240))
    return drawn


def test_a_clock_adds_up_the_calls_of_its_stage_and_passes_the_rest_on() -> None:
    spent: dict[str, float] = {}
    clocked: Any = Clocked([3, 1, 2], {"sort": "sorting", "index": "finding"}, spent)
    clocked.sort()
    once = spent["sorting"]
    clocked.sort()
    assert spent["sorting"] > once > 0
    with pytest.raises(ValueError, match="9"):
        clocked.index(9)
    assert clocked.count(1) == 1
    assert set(spent) == {"sorting", "finding"}


def test_stages_of_the_demo_bundle_make_up_its_steps(clip: Clip) -> None:
    (row,) = measure_bundle(str(BUNDLE), [clip], [2], 3, EngineOptions(threads=1, provider="cpu"))
    assert (row["size"], row["objects"], row["ms"]["cpu"]["count"]) == ([320, 240], 2, 3)
    middle = {name: row["ms"][name]["p50"] for name in STAGES}
    assert min(middle.values()) > 0
    assert sum(middle.values()) == pytest.approx(row["ms"]["cpu"]["p50"], rel=0.3)
    assert row["fps"] == pytest.approx(1e3 / row["ms"]["cpu"]["p50"], rel=0.01)
    assert "| 320 x 240 | 2 |" in bundle_table([row])


def test_more_objects_than_things_are_followed_twice_each(clip: Clip) -> None:
    masks = starts(clip, 16)
    assert masks.shape == (16, 240, 320) and masks.any((1, 2)).all()
    frames = frames_of(clip)
    assert [next(frames).stamp_ns for _ in range(9)] == [50_000_000 * count for count in range(9)]


def test_what_is_counted_of_the_attention_is_what_its_shapes_say() -> None:
    """Four layers at 4096 places: products of scores and of values, over the places and over all that is remembered."""
    needs = stage_needs(build_large())
    places, keys = 4096, 7 * 4096 + 16 * 4
    scores = 4 * 2 * places * (places * (256 + 256) + keys * (256 + 64))
    projections = needs["memory attention"].flops - scores
    assert 0 < projections < 0.2 * scores
    assert needs["encoder"].bytes == pytest.approx(2 * 212e6, rel=0.02), "weights of SAM 2.1 large's encoder in FP16"
    assert all(device in tables(needs) for device in DEVICES)


def test_a_step_is_as_slow_as_the_tighter_limit_and_the_encoder_runs_once() -> None:
    needs = {"encoder": Needs(4e9, 1e9), "decoder": Needs(1e6, 2e12)}
    limits = Limits(gb_per_s=100, tflops=10)
    assert step_ms(needs, 1, limits) == pytest.approx(40 + 200)
    assert step_ms(needs, 3, limits) == pytest.approx(40 + 600)
    assert np.isclose(step_ms({"encoder": needs["encoder"]}, 9, limits), 40)
