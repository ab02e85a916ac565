"""Health reports what is wrong with camera, commands and inputs, by a clock handed in."""

import random

import pytest

from segzero_ros.command import Command
from segzero_ros.errors import Code
from segzero_ros.health import WINDOW_S, Diagnostic, Health, Level
from segzero_ros.pipeline import unanswered


class Clock:
    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


def watch(health: Health, clock: Clock, *, count: int, period_s: float) -> None:
    for _ in range(count):
        clock.ns += int(period_s * 1e9)
        health.count_frame(clock.ns)


def part(health: Health, name: str) -> Diagnostic:
    (found,) = [line for line in health.report() if line.name == name]
    return found


def test_before_the_first_frame_the_camera_is_stale_and_the_message_says_what_to_check(clock: Clock) -> None:
    camera = part(Health(1.0, clock), "camera")
    assert camera.level is Level.STALE
    assert "remapped" in camera.message


def test_the_rate_is_that_of_the_last_frames(clock: Clock) -> None:
    health = Health(1.0, clock)
    watch(health, clock, count=50, period_s=0.5)
    watch(health, clock, count=50, period_s=0.1)
    assert health.rate_hz() == pytest.approx(10)
    assert part(health, "camera").level is Level.OK


def test_a_camera_that_stops_is_stale_and_its_rate_zero(clock: Clock) -> None:
    health = Health(1.0, clock)
    watch(health, clock, count=50, period_s=0.1)
    clock.ns += 1_000_000_000
    assert part(health, "camera").level is Level.OK
    clock.ns += 1
    assert part(health, "camera").level is Level.STALE
    assert health.rate_hz() == 0
    watch(health, clock, count=1, period_s=0)
    assert part(health, "camera").level is Level.OK


def test_a_camera_that_slows_down_shows_in_the_rate_before_it_is_stale(clock: Clock) -> None:
    health = Health(1.0, clock)
    watch(health, clock, count=50, period_s=0.01)
    clock.ns += 900_000_000
    assert health.rate_hz() < 30


def test_stamps_that_step_back_are_told_and_counted(clock: Clock) -> None:
    health = Health(1.0, clock)
    assert [health.count_frame(stamp) for stamp in (5, 6, 6, 3, 4)] == [True, True, True, False, True]
    camera = part(health, "camera")
    assert (camera.level, camera.values["stamps_stepping_back"]) == (Level.WARN, "1")


def test_what_was_out_of_order_is_over_after_a_while(clock: Clock) -> None:
    health = Health(1.0, clock)
    health.count_frame(5)
    health.count_ignored("older")
    assert "1 older frames were ignored" in part(health, "camera").message
    watch(health, clock, count=int(10 * WINDOW_S) + 1, period_s=0.1)
    camera = part(health, "camera")
    assert (camera.level, camera.values["frames_out_of_order"]) == (Level.OK, "1")


def test_a_camera_that_repeats_itself_is_stale_and_the_message_says_so(clock: Clock) -> None:
    health = Health(1.0, clock)
    health.count_frame(5)
    for _ in range(12):
        clock.ns += 10**8
        health.count_ignored("repeated")
    camera = part(health, "camera")
    assert (camera.level, camera.values["frames_repeated"]) == (Level.STALE, "12")
    assert "again and again" in camera.message
    health.count_frame(6)
    assert part(health, "camera").level is health.camera_level() is Level.OK


def test_frames_that_come_late_are_stale_while_they_come(clock: Clock) -> None:
    health = Health(1.0, clock)
    health.count_frame(5, late_ns=3 * 10**9, by_stamp=True)
    camera = part(health, "camera")
    assert (camera.level, camera.values["age_s"], camera.values["age_by"]) == (Level.STALE, "3.00", "stamp")
    assert "3.0 s late" in camera.message
    health.count_frame(6, late_ns=10**8, by_stamp=True)
    assert part(health, "camera").level is Level.OK
    health.count_frame(7)
    assert part(health, "camera").values["age_by"] == "arrival"


def test_a_qos_that_lets_nothing_through_is_an_error_until_it_is_mended(clock: Clock) -> None:
    health = Health(1.0, clock)
    health.note_qos("image", "the publisher is best effort, image_qos is reliable; set image_qos to best_effort")
    camera = part(health, "camera")
    assert camera.level is Level.ERROR
    assert "image_qos" in camera.message
    health.count_frame(1)
    assert part(health, "camera").level is Level.WARN
    health.note_qos("image", "")
    assert part(health, "camera").level is Level.OK


def test_ends_are_counted_by_code_and_only_our_own_faults_are_errors(clock: Clock) -> None:
    health = Health(1.0, clock)
    for code in (Code.NO_TARGET, Code.TIMEOUT, Code.NO_TARGET):
        health.count_end(unanswered(Command("1", "mug"), code, "why"))
    commands = part(health, "commands")
    assert (commands.level, commands.values["NO_TARGET"], commands.values["TIMEOUT"]) == (Level.OK, "2", "1")
    health.count_end(unanswered(Command("2", "mug"), Code.REASONER_FAILED, "the engine fell over"))
    assert part(health, "commands").level is Level.ERROR
    assert "the engine fell over" in part(health, "commands").message
    health.count_end(unanswered(Command("3", "mug"), Code.NO_TARGET, "why"))
    assert part(health, "commands").level is Level.OK


def test_refused_inputs_are_counted_with_the_latest_reason(clock: Clock) -> None:
    health = Health(1.0, clock)
    assert part(health, "inputs").level is Level.OK
    health.count_rejection(Code.IMAGE_LAYOUT, "got 3 bytes")
    health.count_rejection(Code.COMMAND_EMPTY, "got nothing")
    inputs = part(health, "inputs")
    assert (inputs.level, inputs.values) == (Level.WARN, {"COMMAND_EMPTY": "1", "IMAGE_LAYOUT": "1"})
    assert "got nothing" in inputs.message


@pytest.mark.parametrize("name", ["camera", "commands", "inputs"])
def test_what_is_over_warns_for_a_window_and_not_for_ever(clock: Clock, name: str) -> None:
    health = Health(60.0, clock)
    for stamp in (9, 3):
        health.count_frame(stamp)
    health.count_end(unanswered(Command("1", "mug"), Code.SERVER_STALLED, "it sent nothing"))
    health.count_rejection(Code.IMAGE_SIZE, "got 0 x 0")
    before = part(health, name)
    assert before.level > Level.OK
    clock.ns += int(WINDOW_S * 1e9)
    assert part(health, name).level == before.level
    clock.ns += 1
    assert part(health, name).level is Level.OK
    assert part(health, name).values["last_total_ms" if name == "commands" else next(iter(before.values))]
    assert health.counted_s == pytest.approx(WINDOW_S)


def test_a_later_event_warns_anew(clock: Clock) -> None:
    health = Health(1.0, clock)
    for _ in range(3):
        health.count_rejection(Code.COMMAND_TOO_LONG, "got 600 characters")
        assert part(health, "inputs").level is Level.WARN
        clock.ns += int(2 * WINDOW_S * 1e9)
        assert part(health, "inputs").level is Level.OK
    assert part(health, "inputs").values == {"COMMAND_TOO_LONG": "3"}


def test_a_failure_that_nothing_followed_stays_in_the_message(clock: Clock) -> None:
    health = Health(1.0, clock)
    health.count_end(unanswered(Command("1", "mug"), Code.REASONER_FAILED, "out of memory"))
    clock.ns += int(2 * WINDOW_S * 1e9)
    assert "the last with REASONER_FAILED: out of memory" in part(health, "commands").message


def test_any_schedule_of_frames_is_stale_exactly_when_none_came_in_time(clock: Clock) -> None:
    rng = random.Random(18)
    health, newest = Health(1.0, clock), None
    for _ in range(10_000):
        clock.ns += rng.choice([0, 1, 10**7, 3 * 10**8, 10**9, 10**9 + 1, 5 * 10**9])
        late = newest is None or clock.ns - newest > 10**9
        assert (part(health, "camera").level is Level.STALE) == late
        if rng.random() < 0.7:
            health.count_frame(rng.randrange(10**12))
            newest = clock.ns
        assert 0 <= health.rate_hz() <= 30 * 1e9


def test_every_value_is_text_and_every_message_says_something(clock: Clock) -> None:
    for line in Health(1.0, clock).report():
        assert line.message
        assert all(isinstance(value, str) for value in line.values.values())
