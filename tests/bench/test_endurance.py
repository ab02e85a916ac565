"""Following for long: what is counted while things come and go, and that the demo's memory does not grow."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.follow import endurance
from bench.follow.endurance import CHANGE, Endured, endure, growth, to_and_fro
from segzero_ros.frame import Frame
from segzero_ros.segmenter import Tracks
from training.clips.truth import Clip
from training.evaluation.tracking.clips import evaluation_clips
from training.evaluation.tracking.trackers import StayingTracker, open_tracker


@pytest.fixture(scope="module")
def clip() -> Clip:
    (drawn,) = evaluation_clips(1, 0, frames=8, size=(320, 240))
    return drawn


class CountingTracker(StayingTracker):
    """Follows nothing, but knows whom; ``repeats``: gives one id twice."""

    def __init__(self, *, repeats: bool = False) -> None:
        super().__init__()
        self.ids: list[int] = []
        self.most = self.last = 0
        self._repeats = repeats

    def start(self, frame: Frame, masks: NDArray[np.bool_]) -> tuple[int, ...]:
        assert masks.any((1, 2)).all()
        self.last += not (self._repeats and self.last == 2)
        self.ids.append(self.last)
        self.most = max(self.most, len(self.ids))
        return (self.last,)

    def step(self, frame: Frame) -> Tracks:
        nothing = np.zeros(len(self.ids), np.float32)
        return Tracks(tuple(self.ids), np.zeros((len(self.ids), *frame.rgb.shape[:2]), np.bool_), nothing, nothing)

    def forget(self, track_id: int) -> None:
        self.ids.remove(track_id)


def test_a_clip_runs_to_and_fro_without_a_jump() -> None:
    places = [place for place, _ in zip(to_and_fro(4), range(9), strict=False)]
    assert places == [0, 1, 2, 3, 2, 1, 0, 1, 2]


def test_one_two_and_three_objects_are_followed_in_turn(clip: Clip) -> None:
    tracker = CountingTracker()
    seen = endure(clip, tracker, 6 * CHANGE)
    assert (seen.frames, seen.started, tracker.most) == (6 * CHANGE, 6, 3)


def test_an_id_that_comes_twice_ends_it(clip: Clip) -> None:
    with pytest.raises(RuntimeError, match="never used again"):
        endure(clip, CountingTracker(repeats=True), 6 * CHANGE)


def test_the_time_that_was_given_is_kept(clip: Clip) -> None:
    assert endure(clip, CountingTracker(), 100, until_s=0.0) == Endured()


def test_a_leak_is_a_slope_and_what_was_filled_at_the_start_is_none() -> None:
    flat = [(frame, 100.0 if frame else 50.0) for frame in range(0, 10_000, 100)]
    leaking = [(frame, 100 + 0.002 * frame) for frame in range(0, 10_000, 100)]
    assert growth(flat)["mb_per_1000_frames"] == 0
    assert growth(leaking)["mb_per_1000_frames"] == pytest.approx(2.0)


@pytest.mark.parametrize("kind", ["memory", "prompted"])
def test_two_hundred_frames_of_the_demo_bundle_hold_what_a_hundred_hold(
    clip: Clip, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each remembered frame that was never let go would be 64 kB: 15 MB by then."""
    monkeypatch.setattr(endurance, "CHANGE", 20)
    monkeypatch.setattr(endurance, "SAMPLE", 20)
    seen = endure(clip, open_tracker(kind, "tabletop")(), 241)
    held = dict(seen.rss)
    assert seen.started >= 12
    assert held[240] - held[120] < 6
