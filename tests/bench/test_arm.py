"""How the bench of the passing arm counts."""

from itertools import repeat

import pytest

from bench.follow import arm
from bench.follow.arm import Passed, passes, summary
from training.evaluation.tracking.trackers import StayingTracker


def test_what_says_that_everything_stays_is_wrong_where_the_arm_hides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arm, "RATE_HZ", 3.0)
    monkeypatch.setattr(arm, "LAST", 3)
    things = passes(44, (StayingTracker() for _ in repeat(None)))
    assert "white mug" in {one.name for one in things}
    found = summary(things)
    assert found["things"] == len(things)
    assert 0 < found["told_when_hidden"] == found["hidden_frames"]
    assert 0.2 < found["iou"] < 0.95


def test_the_summary_counts_things_and_frames() -> None:
    things = [Passed(1, "red mug", 0.9, 0.8, 4, 1), Passed(1, "red box", 0.5, 0.2, 2, 0)]
    assert summary(things) == {
        "things": 2,
        "iou": 0.7,
        "on_it_in_the_end": 1,
        "hidden_frames": 6,
        "told_when_hidden": 1,
    }
