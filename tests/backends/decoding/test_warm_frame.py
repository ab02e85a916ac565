"""Looking before anybody speaks: a command starts with its text, on a frame that is not too old."""

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from segzero_ros.backends.fake import FakeReasoner, FakeSegmenter
from segzero_ros.command import Command
from segzero_ros.errors import Code
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Pipeline, Segmentation
from segzero_ros.profile import get_profile
from segzero_ros.worker import Job, Worker

LIMIT_S = 60.0


class Eyes(FakeReasoner):
    """A reasoner that says which frames it looked at in advance, and may be held up doing so."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []
        self.changed = threading.Condition()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.fail = False

    def prefill_image(self, frame: Frame) -> None:
        with self.changed:
            self.seen.append(frame.stamp_ns)
            self.changed.notify_all()
        assert self.may_go_on.wait(LIMIT_S)
        if self.fail:
            raise RuntimeError("the vision engine is out of memory")

    def wait_for(self, count: int) -> list[int]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.seen) >= count, LIMIT_S)
        return self.seen


class Table:
    """A worker that looks in advance as often as it can."""

    def __init__(self, warm_hz: float = 1e9, **options: float) -> None:
        self.eyes, self.segmenter, self.ns = Eyes(), FakeSegmenter(), 10**9
        pipeline = Pipeline(get_profile("abstaining_v2"), self.eyes, self.segmenter, engines="fake")
        self.worker = Worker(pipeline, warm_hz=warm_hz, now=lambda: self.ns, **options)

    def show(self, stamp_ns: int) -> None:
        self.worker.offer_frame(Frame(np.zeros((24, 32, 3), np.uint8), stamp_ns))

    def ask(self) -> Segmentation:
        over = threading.Event()
        job = Job(Command("1", "mug"), on_done=lambda _: over.set())
        self.worker.submit(job)
        assert over.wait(LIMIT_S)
        return job.result

    def settle(self, count: int) -> None:
        """Wait until so many frames were looked at to the end."""
        self.eyes.wait_for(count)
        for _ in range(100_000):
            if self.worker.stats().warmed >= count:
                return
            threading.Event().wait(0.001)
        raise AssertionError(self.worker.stats())


@pytest.fixture
def table() -> Iterator[Callable[..., Table]]:
    made: list[Table] = []

    def make(**options: float) -> Table:
        made.append(Table(**options))
        return made[-1]

    yield make
    for each in made:
        each.eyes.may_go_on.set()
        assert each.worker.stop(LIMIT_S)


def test_a_frame_is_looked_at_and_encoded_once_before_anybody_speaks(table: Callable[..., Table]) -> None:
    warm = table()
    warm.show(7)
    warm.settle(1)
    assert warm.ask().frame.stamp_ns == 7
    assert warm.eyes.seen == [7]
    assert warm.segmenter.encoded == 1


def test_a_command_takes_the_frame_that_was_looked_at_though_a_newer_one_has_come(table: Callable[..., Table]) -> None:
    warm = table(warm_hz=1.0)
    warm.show(1)
    warm.settle(1)
    warm.show(2)  # too soon after the first to be looked at: the clock stands
    assert warm.ask().frame.stamp_ns == 1


def test_a_look_that_has_become_too_old_is_not_used(table: Callable[..., Table]) -> None:
    warm = table(warm_hz=0.1, frame_max_age_s=1.0)
    warm.show(1)
    warm.settle(1)
    warm.ns += 2 * 10**9
    warm.show(2)
    assert warm.ask().frame.stamp_ns == 2


def test_a_command_that_comes_while_looking_takes_that_frame(table: Callable[..., Table]) -> None:
    warm = table()
    warm.eyes.may_go_on.clear()
    warm.show(3)
    warm.eyes.wait_for(1)
    over = threading.Event()
    job = Job(Command("1", "mug"), on_done=lambda _: over.set())
    warm.worker.submit(job)
    warm.eyes.may_go_on.set()
    assert over.wait(LIMIT_S)
    assert job.result.frame.stamp_ns == 3
    assert warm.eyes.seen == [3]


def test_a_reset_while_looking_forgets_that_frame(table: Callable[..., Table]) -> None:
    warm = table(first_frame_wait_s=0.0)
    warm.eyes.may_go_on.clear()
    warm.show(3)
    warm.eyes.wait_for(1)
    warm.worker.reset()
    warm.eyes.may_go_on.set()
    assert warm.ask().code is Code.NO_FRAME


def test_what_fails_while_looking_is_left_to_the_command(table: Callable[..., Table]) -> None:
    warm = table()
    warm.eyes.fail = True
    warm.show(3)
    warm.eyes.wait_for(1)
    assert warm.ask().code is Code.OK
    assert warm.worker.stats().warmed == 0


def test_nothing_is_looked_at_unless_asked_for(table: Callable[..., Table]) -> None:
    cold = table(warm_hz=0.0)
    cold.show(1)
    assert cold.ask().code is Code.OK
    assert cold.eyes.seen == []
