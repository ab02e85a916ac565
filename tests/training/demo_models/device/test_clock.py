"""The clock passes through a schedule as steps would, and says what waiting took."""

import itertools

import pytest

torch = pytest.importorskip("torch", reason="offline stack not installed")

from training.demo_models.device import clock  # noqa: E402
from training.demo_models.device.ahead import default_workers  # noqa: E402
from training.demo_models.device.clock import Pace, Schedule, arithmetic, choose_device  # noqa: E402


@pytest.fixture
def now(monkeypatch):
    """A clock that stands until it is moved."""
    times = [1000.0]
    monkeypatch.setattr(clock.time, "monotonic", lambda: times[0])
    return times


def test_steps_are_steps_without_seconds():
    schedule = Schedule(10)
    assert [schedule.at(3), schedule.over(9), schedule.over(10)] == [3, False, True]


def test_seconds_pass_through_all_steps_however_many_are_made(now):
    schedule = Schedule(400, 100.0, began=1000.0)
    found = []
    for now[0] in (1000.0, 1025.0, 1099.9, 1100.0, 1200.0):
        found.append((schedule.at(7), schedule.over(7)))
    assert found == [(0, False), (100, False), (399, False), (400, True), (400, True)]


def test_the_pace_counts_pictures_and_waiting(now):
    def slow():
        for item in itertools.count():
            now[0] += 3.0  # it takes so long to make one
            yield item

    pace = Pace(every=10.0, since=1000.0)
    for _, _ in zip(range(2), pace.timed(slow()), strict=False):
        now[0] += 1.0  # the step
        pace.pictures += 20
        assert pace.line() is None
    now[0] = 1010.0
    assert pace.line() == {"pictures_per_s": 4.0, "waiting": 0.6}
    assert pace.pictures == 0


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda" and choose_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"


def test_a_cpu_has_no_workers_and_no_bfloat16_unless_asked():
    assert default_workers(torch.device("cpu")) == 0 and default_workers(torch.device("cuda"), lambda: 16) == 8
    product = torch.ones(2, 2)
    with arithmetic(torch.device("cpu")):
        assert (product @ product).dtype == torch.float32
    with arithmetic(torch.device("cpu"), wanted=True):
        assert (product @ product).dtype == torch.bfloat16
