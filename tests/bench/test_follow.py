"""The measure of masks that are followed to now, with trackers whose answers are known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.follow.__main__ import Case, summary, table
from bench.follow.carry import carry, first_mask, publish_at_once
from bench.follow.world import HORIZON_S, ORBITS, SPEEDS, Camera, make_world
from segzero_ros.frame import Frame
from segzero_ros.matching import mask_iou
from segzero_ros.segmenter import Tracks
from segzero_ros.tabletop.render import Renderer
from training.evaluation.tracking.trackers import StayingTracker

RATE_HZ = 10.0
READY_S = 0.75


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer(320, 240) as opened:
        yield opened


class TruthfulTracker:
    """Says where the thing is, and counts its steps."""

    kind = "truthful"

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self.stamps: list[int] = []

    def start(self, frame: Frame, masks: NDArray[np.bool_]) -> tuple[int, ...]:
        assert frame.stamp_ns == 0
        return (1,)

    def step(self, frame: Frame) -> Tracks:
        self.stamps.append(frame.stamp_ns)
        mask = self._camera.truth(self._camera.number_at(frame.stamp_ns / 1e9))
        return Tracks((1,), mask[None], np.ones(1, np.float32), np.ones(1, np.float32))

    def forget(self, track_id: int) -> None:
        pass


def test_the_thing_goes_one_way_at_its_speed_and_nothing_else_moves(renderer: Renderer) -> None:
    world = make_world(1, 0.3, 0.0, renderer)
    places = {t: {x.id: np.asarray(x.position[:2]) for x in world.scene_at(t).things} for t in (0.0, 0.5, HORIZON_S)}
    for number, home in places[0.0].items():
        steps = [np.linalg.norm(places[t][number] - home) for t in (0.5, HORIZON_S)]
        assert steps == pytest.approx([0.15, 0.3 * HORIZON_S] if number == world.thing else [0, 0])
    assert world.scene_at(0.5).camera.position == pytest.approx(world.scene_at(0.0).camera.position)


def test_speeds_change_neither_the_things_nor_where_the_thing_passes(renderer: Renderer) -> None:
    slow, fast = (make_world(1, speed, 0.15, renderer) for speed in SPEEDS[1:])
    middle = HORIZON_S / 2
    assert slow.start == fast.start
    assert slow.scene_at(middle).things == fast.scene_at(middle).things


def test_a_mask_as_it_is_fits_its_own_frame_and_not_now(renderer: Renderer) -> None:
    camera = Camera(make_world(1, 0.3, 0.0, renderer), renderer, RATE_HZ)
    made = publish_at_once(first_mask(camera, None), READY_S)
    assert (made.frame, made.at_s) == (0, READY_S)
    assert mask_iou(made.mask, camera.truth(0)) == 1
    assert mask_iou(made.mask, camera.truth_at(made.at_s)) < 0.5


def test_a_tracker_that_is_right_brings_it_to_the_newest_frame(renderer: Renderer) -> None:
    camera = Camera(make_world(1, 0.3, 0.45, renderer), renderer, RATE_HZ)
    tracker = TruthfulTracker(camera)
    made = carry(camera, first_mask(camera, None), READY_S, lambda: tracker)
    assert camera.time_of(made.frame) > READY_S - 1 / RATE_HZ
    assert tracker.stamps == sorted(set(tracker.stamps))
    assert mask_iou(made.mask, camera.truth(made.frame)) == 1
    as_it_is = mask_iou(first_mask(camera, None), camera.truth_at(made.at_s))
    assert mask_iou(made.mask, camera.truth_at(made.at_s)) > as_it_is


def test_staying_is_worth_nothing_in_the_frame_that_it_is_said_to_be_of(renderer: Renderer) -> None:
    camera = Camera(make_world(1, 0.3, 0.0, renderer), renderer, RATE_HZ)
    made = carry(camera, first_mask(camera, None), READY_S, StayingTracker)
    assert made.frame > 0
    assert mask_iou(made.mask, camera.truth(made.frame)) < 0.5


def test_the_table_has_every_pair_of_speeds_and_means_of_both_ways() -> None:
    cases = [
        Case(0, speed, orbit, 1.0, followed, 0.9 if followed else 1.0, 0.8 if followed else 0.4, 0.1, "")
        for speed in SPEEDS
        for orbit in ORBITS
        for followed in (False, True)
    ]
    assert summary([case for case in cases if case.followed]) == {"worlds": 9, "own": 0.9, "now": 0.8, "age_s": 0.1}
    assert len(table(cases).splitlines()) == 2 + 9 + 1
    assert table(cases).splitlines()[-1] == "| 1.00 s | all | all | 1.000, 0.400, 0.10 | 0.900, 0.800, 0.10 |"
