"""What the judge says of trackers whose answers are known: those that are right, swap two things, or see ghosts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from segzero_ros.frame import Frame
from segzero_ros.segmenter import Tracks
from segzero_ros.tabletop.sampling import sample_scene
from training.clips.script import Script
from training.clips.truth import Clip
from training.evaluation.tracking.events import SETTLED, looks
from training.evaluation.tracking.judge import Judged, follow, judge
from training.evaluation.tracking.main import JudgedClip, figures, table
from training.evaluation.tracking.trackers import StayingTracker

FRAMES = 20
HIDDEN = range(5, 9)


def clip_of(ids: NDArray[np.uint8]) -> Clip:
    """A clip of two things alike, as `ids` (T, H, W) says; what is not seen is hidden."""
    scene = sample_scene(3, "train", count=2)
    one, two = scene.things
    twins = (one, replace(two, kind=one.kind, colour=one.colour))
    script = Script(3, "train", "rod", 0.1, (replace(scene, things=twins),) * len(ids))
    pixels = np.array([[(frame == n).sum() for n in (1, 2)] for frame in ids])
    where = tuple(tuple("seen" if count else "hidden" for count in row) for row in pixels)
    frames = np.zeros((*ids.shape, 3), np.uint8)
    return Clip(script, frames, ids, pixels, (pixels > 0).astype(float), where)  # type: ignore[arg-type]


def hiding() -> Clip:
    """Thing 1 moves slowly and is hidden for four frames; thing 2 stays far away."""
    ids = np.zeros((FRAMES, 60, 80), np.uint8)
    for t in range(FRAMES):
        if t not in HIDDEN:
            ids[t, 10:22, 10 + t // 4 : 22 + t // 4] = 1
        ids[t, 40:52, 60:72] = 2
    return clip_of(ids)


class Scripted:
    """A tracker that says what `answers` (T - 1, N, H, W) say; present is what has a mask."""

    kind = "scripted"

    def __init__(self, answers: NDArray[np.bool_]) -> None:
        self._answers = iter(answers)

    def start(self, frame: Frame, masks: NDArray[np.bool_]) -> tuple[int, ...]:
        return tuple(range(1, len(masks) + 1))

    def step(self, frame: Frame) -> Tracks:
        masks = next(self._answers)
        shown = masks.any((1, 2)).astype(np.float32)
        return Tracks(tuple(range(1, len(masks) + 1)), masks, shown, shown)

    def forget(self, track_id: int) -> None:
        raise NotImplementedError


def truth(clip: Clip) -> NDArray[np.bool_]:
    return np.stack([clip.ids[1:] == 1, clip.ids[1:] == 2], axis=1)


def verdict(clip: Clip, answers: NDArray[np.bool_]) -> list[Judged]:
    start = np.stack([clip.ids[0] == 1, clip.ids[0] == 2])
    return judge(clip, [0, 1], follow(Scripted(answers), clip, start))


def test_the_truth_is_right_in_everything() -> None:
    clip = hiding()
    first, second = verdict(clip, truth(clip))
    assert (first.j, first.f, second.j, second.f) == (1, 1, 1, 1)
    assert (first.looked, first.kept) == ({"hidden": 1, "outside": 0, "met": 0},) * 2
    assert (first.seen, first.gone) == (FRAMES - 1 - len(HIDDEN), len(HIDDEN))
    assert (first.present_when_seen, first.absent_when_gone) == (first.seen, first.gone)
    assert not any(second.looked.values())


def test_a_ghost_costs_the_frames_in_which_the_thing_is_hidden() -> None:
    clip = hiding()
    answers = truth(clip)
    for t in HIDDEN:
        answers[t - 1, 0, 10:22, 10:22] = True
    first, _ = verdict(clip, answers)
    assert first.j == pytest.approx(1 - len(HIDDEN) / (FRAMES - 1))
    assert first.absent_when_gone == 0
    assert first.kept["hidden"] == 1


def test_an_identity_is_lost_with_a_mask_of_another_thing_and_with_none() -> None:
    clip = hiding()
    swapped, none = truth(clip), truth(clip)
    after = HIDDEN.stop - 1
    swapped[after:, 0] = swapped[after:, 1]
    none[after:, 0] = False
    assert verdict(clip, swapped)[0].kept["hidden"] == 0
    assert verdict(clip, none)[0].kept["hidden"] == 0
    found_late = truth(clip)
    found_late[after : after + SETTLED - 1, 0] = False
    assert verdict(clip, found_late)[0].kept["hidden"] == 1


def test_things_alike_that_meet_are_looked_at_after_they_part() -> None:
    ids = np.zeros((FRAMES, 60, 80), np.uint8)
    for t in range(FRAMES):
        ids[t, 30:40, 5 + 3 * t : 15 + 3 * t] = 1
        ids[t, 28:38, 65 - 3 * t : 75 - 3 * t][ids[t, 28:38, 65 - 3 * t : 75 - 3 * t] == 0] = 2
    found = looks(clip_of(ids), 0)
    meets = [t for t in range(FRAMES) if abs((5 + 3 * t) - (65 - 3 * t)) <= 10]
    assert found == {"hidden": [], "outside": [], "met": [meets[-1] + SETTLED]}


def test_staying_is_right_until_things_move() -> None:
    clip = hiding()
    start = np.stack([clip.ids[0] == 1, clip.ids[0] == 2])
    first, second = judge(clip, [0, 1], follow(StayingTracker(), clip, start))
    assert second.j == 1
    assert first.j < 0.75
    assert first.absent_when_gone == 0


def test_the_table_has_a_line_for_each_motion_and_counts_what_was_looked_at() -> None:
    clip = hiding()
    things = tuple(verdict(clip, truth(clip)))
    judged = [JudgedClip(1, "rod", things, 2.0), JudgedClip(2, "camera", things[1:], 4.0)]
    made = figures(judged)
    assert made["identity"] == {"value": 1.0, "low": 1.0, "high": 1.0, "of": 1}
    assert made["identity after met"] is None
    assert made["step_ms"] == 3.0
    assert [line.split(" | ")[0] for line in table(judged).splitlines()[2:]] == ["| rod", "| camera", "| all"]
    assert "1.000 of 1" in table(judged)
