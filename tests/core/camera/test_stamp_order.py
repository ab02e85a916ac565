"""Which of a camera's frames are new, and how old each was when it came: told by stamps where they can be believed."""

import random
from typing import Any

import pytest

from segzero_ros.frame import MAX_LATE_NS, Judgement, StampOrder

S = 1_000_000_000
NOW = 1_700_000_000 * S


class Camera:
    """Judges frames on a clock that starts at NOW; times in seconds."""

    def __init__(self, now_s: float = 0.0) -> None:
        self.order = StampOrder()
        self.came = 0.0
        self.now = now_s

    def wait(self, seconds: float) -> None:
        self.came += seconds
        self.now += seconds

    def frame(self, stamp_s: float, *, is_same: bool = False) -> Judgement:
        stamp, now, came = (int(value * S) for value in (stamp_s, self.now, self.came))
        return self.order.judge(NOW + stamp, NOW + now, came, lambda: is_same)


@pytest.mark.parametrize(
    ("late_s", "by_stamp"),
    [(0.0, True), (0.04, True), (3.0, True), (30.0, True), (-0.5, True), (-3.0, False), (61.0, False), (1e7, False)],
)
def test_the_first_frame_is_judged_by_its_stamp_where_that_is_of_this_clock(late_s: float, by_stamp: bool) -> None:
    judged = Camera().frame(-late_s)
    assert (judged.kind, judged.by_stamp) == ("new", by_stamp)
    assert judged.late_ns == (max(0, int(late_s * S)) if by_stamp else 0)


def test_a_stamp_that_was_not_set_tells_nothing() -> None:
    order = StampOrder()
    assert all(order.judge(0, NOW, k * S, lambda: True) == Judgement("new") for k in range(5))


def test_the_same_frame_again_is_repeated_and_another_of_the_same_stamp_is_new() -> None:
    camera = Camera()
    camera.frame(0)
    assert camera.frame(0, is_same=True).kind == "repeated"
    assert camera.frame(0, is_same=False) == Judgement("new")


@pytest.mark.parametrize("back_s", [0.001, 0.1, 3.0, 59.0])
def test_an_older_frame_is_not_new_however_late_it_comes(back_s: float) -> None:
    camera = Camera()
    camera.frame(0)
    camera.wait(0.05)
    assert camera.frame(-back_s).kind == "older"
    camera.wait(5.0)
    assert camera.frame(-back_s).kind == "older"
    assert camera.frame(0.05).kind == "new"


def test_a_bag_that_loops_is_a_jump_after_half_a_second() -> None:
    camera, kinds = Camera(now_s=1e6), []
    for k in range(100):
        camera.frame(k / 10)
        camera.wait(0.1)
    for k in range(20):
        kinds.append(camera.frame(k / 10))
        camera.wait(0.1)
    assert [judged.kind for judged in kinds] == ["older"] * 4 + ["new"] * 16
    assert [k for k, judged in enumerate(kinds) if judged.jumped] == [4]


def test_a_step_back_of_more_than_any_network_or_together_with_this_clock_is_a_jump_at_once() -> None:
    camera = Camera()
    camera.frame(0)
    assert camera.frame(-61).jumped
    camera = Camera()
    camera.frame(0)
    camera.now -= 20
    judged = camera.frame(-20)
    assert (judged.kind, judged.jumped, judged.by_stamp) == ("new", True, True)


def test_after_a_jump_only_arrivals_tell_until_a_stamp_is_fresh() -> None:
    camera = Camera()
    camera.frame(1000)
    assert not camera.frame(-50).by_stamp
    assert not camera.frame(-40).by_stamp
    assert camera.frame(-0.1).by_stamp
    assert camera.frame(0).by_stamp
    camera.wait(30)
    assert camera.frame(1).late_ns == 29 * S


def test_a_forgotten_frame_may_come_again() -> None:
    camera = Camera()
    camera.frame(0)
    camera.order.forget()
    assert camera.frame(0, is_same=True).kind == "new"


def test_no_schedule_lets_stamps_step_back_unsaid_or_makes_a_frame_older_than_its_stamp() -> None:
    rng: Any = random.Random(8)
    camera, newest = Camera(), None
    for _ in range(20_000):
        camera.wait(rng.choice([0.01, 0.1, 1.0]))
        if rng.random() < 0.01:
            camera.now += rng.uniform(-100, 100)
        stamp = camera.now - rng.choice([0, 0.1, 5, 40, 500, -2]) * rng.random()
        judged = camera.frame(stamp)
        if judged.kind == "new":
            assert judged.jumped == (newest is not None and stamp < newest)
            newest = stamp
        assert 0 <= judged.late_ns <= MAX_LATE_NS
        assert judged.late_ns <= max(0, (camera.now - stamp) * S + 1000)
