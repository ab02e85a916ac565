"""The queue's clock: who waits too long behind another is told, and nobody else."""

import threading
import time
from collections.abc import Iterator

import pytest

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.host.fair_queue import FairQueue, Ticket

LIMIT_S = 30.0


class Ends:
    def __init__(self) -> None:
        self.came: list[object] = []
        self.changed = threading.Condition()

    def __call__(self, result: object) -> None:
        with self.changed:
            self.came.append(result)
            self.changed.notify_all()

    def wait(self, count: int = 1) -> list[object]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.came) >= count, LIMIT_S)
        return self.came


@pytest.fixture
def queue() -> Iterator[FairQueue]:
    made = FairQueue(most_waiting=8)
    yield made
    made.stop()


def test_a_deadline_that_has_passed_at_the_door_is_no_reason_where_nobody_is_at_work(queue: FairQueue) -> None:
    ends = Ends()
    past = time.monotonic_ns() - 1
    for _ in range(200):  # the engine's thread and whoever looks at the clock race for each
        queue.submit(Ticket("a", lambda _: "answer", ends, "peer", past))
        queue.expire(time.monotonic_ns())
        ends.wait(1)
        assert ends.came.pop() == "answer"


def test_one_that_waits_behind_another_past_its_deadline_is_told_so(queue: FairQueue) -> None:
    first, second, begun, go = Ends(), Ends(), threading.Event(), threading.Event()

    def work(_stopped: object) -> str:
        begun.set()
        go.wait(LIMIT_S)
        return "first"

    queue.submit(Ticket("a", work, first, "peer", None))
    assert begun.wait(LIMIT_S)
    queue.submit(Ticket("b", lambda _: "never", second, "other", time.monotonic_ns()))
    queue.expire(time.monotonic_ns() + 1)
    (refusal,) = second.wait()
    assert isinstance(refusal, RejectedInput)
    assert refusal.code is Code.TIMEOUT
    go.set()
    assert first.wait() == ["first"]
