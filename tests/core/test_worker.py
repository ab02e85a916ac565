"""Every command ends exactly once, whatever engines, callers and callbacks do.

No test sleeps: engines wait on events, the clock is a number, and whatever waits here has a limit that is never met.
"""

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from segzero_ros.backends.fake import (
    FakeReasoner,
    FakeSegmenter,
    HangingReasoner,
    RaisingReasoner,
    WaitingReasoner,
)
from segzero_ros.command import Command, Stage
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Pipeline, Segmentation
from segzero_ros.profile import get_profile
from segzero_ros.reasoner import Reasoner
from segzero_ros.worker import GRACE_S, Job, Worker

LIMIT_S = 60.0  # for a busy machine; a test that needs it has failed


class Clock:
    """Monotonic nanoseconds that pass only when told to."""

    def __init__(self) -> None:
        self.ns = 1_000_000_000

    def __call__(self) -> int:
        return self.ns

    def advance(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)


class Ends:
    """Collects what ``on_done`` brings and lets a test wait for it."""

    def __init__(self) -> None:
        self.results: list[Segmentation] = []
        self._came = threading.Condition()

    def __call__(self, job: Job) -> None:
        assert job.result is not None
        with self._came:
            self.results.append(job.result)
            self._came.notify_all()

    def wait(self, count: int = 1) -> list[Segmentation]:
        with self._came:
            assert self._came.wait_for(lambda: len(self.results) >= count, LIMIT_S), f"only {len(self.results)} ended"
        return self.results

    def codes(self, count: int = 1) -> dict[str, Code]:
        return {result.command.id: result.code for result in self.wait(count)}


class Bench:
    """A worker on a fake clock, with what it needs around it."""

    def __init__(self, reasoner: Reasoner | None = None, **options: Any) -> None:
        self.clock = Clock()
        self.segmenter = FakeSegmenter()
        self.reasoner = reasoner or FakeReasoner(now=self.clock)
        pipeline = Pipeline(get_profile("abstaining_v2"), self.reasoner, self.segmenter, now=self.clock)
        self.worker = Worker(pipeline, **({"now": self.clock} | options))
        self.ends = Ends()

    def submit(self, command_id: str, **options: Any) -> bool:
        return self.worker.submit(Job(Command(command_id, "the red mug"), on_done=self.ends, **options))


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(*arguments: Any, **options: Any) -> Bench:
        made.append(Bench(*arguments, **options))
        return made[-1]

    yield make
    for each in made:
        if isinstance(each.reasoner, HangingReasoner):
            each.reasoner.release.set()
        if isinstance(each.reasoner, WaitingReasoner):
            each.reasoner.go(100_000)
        assert each.worker.stop(LIMIT_S), "the thread is still there"


def frame(stamp_ns: int = 1) -> Frame:
    return Frame(np.zeros((12, 16, 3), np.uint8), stamp_ns)


# ---- one command ----


def test_a_command_is_grounded_on_the_newest_frame(bench: Callable[..., Bench]) -> None:
    b = bench()
    for stamp_ns in range(5):
        b.worker.offer_frame(frame(stamp_ns))
    assert b.submit("a")
    (result,) = b.ends.wait()
    assert (result.code, result.frame.stamp_ns, result.command.id) == (Code.OK, 4, "a")


def test_a_command_may_bring_its_own_frame(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.worker.offer_frame(frame(1))
    b.submit("a", source=frame(77))
    assert b.ends.wait()[0].frame.stamp_ns == 77


def test_a_command_waits_for_the_first_frame(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.submit("a")
    assert b.worker.stats().busy
    b.worker.offer_frame(frame(3))
    assert b.ends.wait()[0].frame.stamp_ns == 3


def test_stages_are_announced_in_order_and_text_as_it_grows(bench: Callable[..., Bench]) -> None:
    b = bench()
    seen: list[tuple[Stage, str]] = []
    b.worker.offer_frame(frame())
    b.submit("a", on_progress=lambda job: seen.append((job.stage, "".join(job.pieces))))
    (result,) = b.ends.wait()
    assert list(dict(seen)) == [Stage.QUEUED, Stage.REASONING, Stage.SEGMENTING, Stage.DONE]
    texts = [text for _, text in seen]
    assert texts == sorted(texts, key=len)
    assert len(set(texts)) > 5
    assert texts[-1] == result.text


def test_an_undecoded_frame_is_decoded_once_and_only_when_looked_at(bench: Callable[..., Bench]) -> None:
    b = bench()
    decoded: list[int] = []
    for stamp_ns in range(3):
        b.worker.offer_frame(lambda stamp_ns=stamp_ns: decoded.append(stamp_ns) or frame(stamp_ns))  # type: ignore[func-returns-value]
    b.submit("a")
    b.ends.wait(1)
    b.submit("b")
    assert set(b.ends.codes(2).values()) == {Code.OK}
    assert decoded == [2]
    assert b.segmenter.encoded == 1


def test_a_job_leads_to_what_its_frame_was_made_from_however_many_frames_are_decoded_after_it(
    bench: Callable[..., Bench],
) -> None:
    b = bench()
    sources = [lambda stamp_ns=stamp_ns: frame(stamp_ns) for stamp_ns in range(10)]
    jobs = [Job(Command(str(number), "the mug"), on_done=b.ends) for number in range(10)]
    for number, (job, source) in enumerate(zip(jobs, sources, strict=True), start=1):
        b.worker.offer_frame(source)
        b.worker.submit(job)
        b.ends.wait(number)
    assert [job.source for job in jobs] == sources
    assert [job.result.frame.stamp_ns for job in jobs if job.result] == list(range(10))


def test_a_frame_that_cannot_be_decoded_ends_its_command_with_its_code(bench: Callable[..., Bench]) -> None:
    def broken() -> Frame:
        raise RejectedInput(Code.IMAGE_LAYOUT, "got 3 bytes")

    b = bench()
    b.submit("a", source=broken)
    assert b.ends.codes() == {"a": Code.IMAGE_LAYOUT}


# ---- no frame, old frame, no time ----


def test_without_a_frame_the_command_ends_after_the_wait(bench: Callable[..., Bench]) -> None:
    b = bench(first_frame_wait_s=5)
    b.submit("a")
    b.clock.advance(5.1)
    b.worker.expire()
    assert b.ends.codes() == {"a": Code.NO_FRAME}


REFUSAL = RejectedInput(Code.IMAGE_ENCODING, "got the encoding '8UC3'")


def test_where_every_image_is_refused_the_command_ends_with_the_reason(bench: Callable[..., Bench]) -> None:
    b = bench(first_frame_wait_s=2.0)
    b.submit("a")
    for _ in range(6):
        b.clock.advance(0.5)
        b.worker.note_refusal(REFUSAL)
        b.worker.expire()
    (result,) = b.ends.wait()
    assert result.code is Code.IMAGE_ENCODING
    assert "8UC3" in result.detail


@pytest.mark.parametrize("order", ["good first", "bad first"])
def test_one_good_frame_among_refused_images_is_enough(bench: Callable[..., Bench], order: str) -> None:
    b = bench()
    events = [lambda: b.worker.offer_frame(frame(3)), lambda: b.worker.note_refusal(REFUSAL)]
    for event in events if order == "good first" else reversed(events):
        event()
    b.submit("a")
    assert b.ends.wait()[0].code is Code.OK


@pytest.mark.parametrize("forget", ["time", "reset", "a good frame"])
def test_a_refusal_of_before_is_no_reason(bench: Callable[..., Bench], forget: str) -> None:
    b = bench(first_frame_wait_s=0.0, frame_max_age_s=1.0)
    b.worker.note_refusal(REFUSAL)
    if forget == "a good frame":
        b.worker.offer_frame(frame())
    if forget == "reset":
        b.worker.reset()
    else:
        b.clock.advance(1.1)
    b.submit("a")
    assert b.ends.wait()[0].code is (Code.STALE_FRAME if forget == "a good frame" else Code.NO_FRAME)


def test_an_old_frame_is_not_looked_at(bench: Callable[..., Bench]) -> None:
    b = bench(first_frame_wait_s=0, frame_max_age_s=1)
    b.worker.offer_frame(frame())
    b.clock.advance(1.5)
    b.submit("a")
    (result,) = b.ends.wait()
    assert result.code is Code.STALE_FRAME
    assert "1.5 s old" in result.detail


def test_a_frame_that_was_old_when_it_came_is_not_looked_at(bench: Callable[..., Bench]) -> None:
    b = bench(first_frame_wait_s=0.0, frame_max_age_s=1.0)
    b.worker.offer_frame(frame(), late_ns=3_000_000_000)
    b.submit("late")
    (result,) = b.ends.wait()
    assert result.code is Code.STALE_FRAME
    assert "3.0 s old when it came" in result.detail
    b.worker.offer_frame(frame(), late_ns=300_000_000)
    b.clock.advance(0.6)
    b.submit("fresh")
    assert b.ends.codes(2)["fresh"] is Code.OK
    b.clock.advance(0.2)
    b.submit("later")
    assert b.ends.codes(3)["later"] is Code.STALE_FRAME


def test_a_fresh_frame_ends_the_wait_of_a_stale_one(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.worker.offer_frame(frame(1))
    b.clock.advance(60)
    b.submit("a")
    b.worker.offer_frame(frame(2))
    assert b.ends.wait()[0].frame.stamp_ns == 2


def test_a_deadline_counts_the_wait_for_a_frame(bench: Callable[..., Bench]) -> None:
    b = bench(first_frame_wait_s=60)
    b.submit("a", timeout_s=2)
    b.clock.advance(2.1)
    b.worker.expire()
    assert set(b.ends.codes().values()) <= {Code.NO_FRAME, Code.TIMEOUT}


def test_a_deadline_in_the_thinking_still_brings_the_answer(bench: Callable[..., Bench]) -> None:
    b = bench(WaitingReasoner())
    b.reasoner._now = b.clock
    b.worker.offer_frame(frame())
    b.submit("a", timeout_s=2)
    assert b.reasoner.started.wait(LIMIT_S)
    b.clock.advance(2.1)
    b.reasoner.go(100)
    assert b.ends.codes() == {"a": Code.OK}


# ---- two commands ----


def test_a_second_command_preempts_the_first(bench: Callable[..., Bench]) -> None:
    b = bench(WaitingReasoner())
    b.worker.offer_frame(frame())
    b.submit("a")
    assert b.reasoner.started.wait(LIMIT_S)
    b.submit("b")
    b.submit("c")
    assert b.ends.codes(1) == {"b": Code.PREEMPTED}  # at once: it had not begun
    b.reasoner.go(100_000)
    assert b.ends.codes(3) == {"a": Code.PREEMPTED, "b": Code.PREEMPTED, "c": Code.OK}
    assert "'b'" in next(result.detail for result in b.ends.results if result.command.id == "a")


def test_a_second_command_is_refused_where_the_policy_says_so(bench: Callable[..., Bench]) -> None:
    b = bench(WaitingReasoner(), busy_policy="reject")
    b.worker.offer_frame(frame())
    assert b.submit("a")
    assert b.reasoner.started.wait(LIMIT_S)
    assert not b.submit("b")
    assert b.ends.codes(1) == {"b": Code.BUSY}
    b.reasoner.go(100_000)
    assert b.ends.codes(2)["a"] is Code.OK


def test_on_done_may_submit_the_next_command(bench: Callable[..., Bench]) -> None:
    b = bench(busy_policy="reject")
    b.worker.offer_frame(frame())
    b.worker.submit(Job(Command("a", "x"), on_done=lambda job: [b.ends(job), b.submit("b")]))
    assert b.ends.codes(2) == {"a": Code.OK, "b": Code.OK}


def test_a_thousand_commands_each_end_once(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.worker.offer_frame(frame())
    for k in range(1000):
        b.submit(str(k))
    assert len(b.ends.codes(1000)) == 1000
    assert set(b.ends.codes(1000).values()) <= {Code.OK, Code.PREEMPTED}
    assert b.ends.results[-1].command.id == "999" or b.ends.codes(1000)["999"] is Code.OK
    assert sum(b.worker.stats().ended.values()) == 1000


# ---- cancel, reset, stop ----


def test_cancel_ends_a_running_command_after_the_next_token(bench: Callable[..., Bench]) -> None:
    b = bench(WaitingReasoner())
    b.worker.offer_frame(frame())
    b.submit("a")
    assert b.reasoner.started.wait(LIMIT_S)
    assert b.worker.cancel("a")
    b.reasoner.go(1)
    assert b.ends.codes() == {"a": Code.CANCELLED}


def test_cancel_ends_a_command_that_waits_for_a_frame(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.submit("a")
    assert b.worker.cancel("a")
    assert b.ends.codes() == {"a": Code.CANCELLED}


def test_cancel_ends_a_waiting_command_and_leaves_the_running_one(bench: Callable[..., Bench]) -> None:
    b = bench(WaitingReasoner())
    b.worker.offer_frame(frame())
    b.submit("a")
    assert b.reasoner.started.wait(LIMIT_S)
    b.submit("b")
    assert b.worker.cancel("b")
    assert b.ends.codes(1) == {"b": Code.CANCELLED}


def test_cancel_of_an_unknown_or_ended_command_says_so(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.worker.offer_frame(frame())
    b.submit("a")
    b.ends.wait()
    assert not b.worker.cancel("a")
    assert not b.worker.cancel("nobody")


def test_a_preempted_command_stays_preempted_when_it_is_cancelled_too(bench: Callable[..., Bench]) -> None:
    b = bench(WaitingReasoner())
    b.worker.offer_frame(frame())
    b.submit("a")
    assert b.reasoner.started.wait(LIMIT_S)
    b.submit("b")
    b.worker.cancel("a")
    b.reasoner.go(100_000)
    assert b.ends.codes(2)["a"] is Code.PREEMPTED


def test_reset_ends_everything_and_forgets_the_frame(bench: Callable[..., Bench]) -> None:
    b = bench(WaitingReasoner(), first_frame_wait_s=0)
    b.worker.offer_frame(frame())
    b.submit("a")
    assert b.reasoner.started.wait(LIMIT_S)
    b.worker.reset()
    b.reasoner.go(1)
    b.ends.wait(1)
    b.submit("b")
    assert b.ends.codes(2) == {"a": Code.CANCELLED, "b": Code.NO_FRAME}


def test_stop_ends_running_and_waiting_commands_and_refuses_later_ones(bench: Callable[..., Bench]) -> None:
    b = bench(WaitingReasoner())
    b.worker.offer_frame(frame())
    b.submit("a")
    assert b.reasoner.started.wait(LIMIT_S)
    b.submit("b")
    b.reasoner.go(100_000)
    assert b.worker.stop(LIMIT_S)
    assert set(b.ends.codes(2)) == {"a", "b"}
    assert not b.submit("c")
    assert b.ends.codes(3)["c"] is Code.NOT_ACTIVE
    assert b.worker.stop(LIMIT_S)


def test_stop_of_an_idle_worker_ends_its_thread(bench: Callable[..., Bench]) -> None:
    assert bench().worker.stop(LIMIT_S)


def test_stop_ends_the_command_of_an_engine_that_never_comes_back(bench: Callable[..., Bench]) -> None:
    b = bench(HangingReasoner())
    b.worker.offer_frame(frame())
    b.submit("a")
    assert b.reasoner.started.wait(LIMIT_S)
    assert not b.worker.stop(0.01)
    assert b.ends.codes() == {"a": Code.CANCELLED}
    b.reasoner.release.set()
    assert b.worker.stop(LIMIT_S)
    assert len(b.ends.results) == 1


# ---- engines that hang or fail, callbacks that raise ----


def test_a_hanging_engine_costs_its_command_the_deadline_and_later_ones_their_turn(bench: Callable[..., Bench]) -> None:
    b = bench(HangingReasoner())
    b.worker.offer_frame(frame())
    b.submit("a", timeout_s=2)
    assert b.reasoner.started.wait(LIMIT_S)
    b.clock.advance(2 + GRACE_S - 0.1)
    b.worker.expire()
    assert b.ends.results == []
    b.clock.advance(0.2)
    b.worker.expire()
    assert b.ends.codes() == {"a": Code.TIMEOUT}
    assert b.worker.stats().engine_hung
    assert not b.submit("b")
    assert b.ends.codes(2)["b"] is Code.BUSY


def test_an_engine_that_comes_back_late_serves_again(bench: Callable[..., Bench]) -> None:
    b = bench(HangingReasoner())
    pieces: list[str] = []
    b.worker.offer_frame(frame())
    b.submit("a", timeout_s=2, on_progress=lambda job: pieces.extend(job.pieces))
    assert b.reasoner.started.wait(LIMIT_S)
    b.clock.advance(60)
    b.worker.expire()
    b.ends.wait(1)
    b.reasoner.release.set()
    while b.worker.stats().busy:
        threading.Event().wait(0.001)
    b.worker.offer_frame(frame())
    assert b.submit("b")
    assert b.ends.codes(2) == {"a": Code.TIMEOUT, "b": Code.OK}
    assert pieces == []


def test_a_hanging_engine_does_not_keep_a_cancelled_command(bench: Callable[..., Bench]) -> None:
    b = bench(HangingReasoner())
    b.worker.offer_frame(frame())
    b.submit("a")
    assert b.reasoner.started.wait(LIMIT_S)
    b.worker.cancel("a")
    b.clock.advance(GRACE_S + 0.1)
    b.worker.expire()
    assert b.ends.codes() == {"a": Code.CANCELLED}


def test_a_waiting_command_times_out_while_another_hangs(bench: Callable[..., Bench]) -> None:
    b = bench(HangingReasoner())
    b.worker.offer_frame(frame())
    b.submit("a")
    assert b.reasoner.started.wait(LIMIT_S)
    b.submit("b", timeout_s=1)
    b.clock.advance(1.1)
    b.worker.expire()
    assert b.ends.codes(1) == {"b": Code.TIMEOUT}


def test_after_a_failing_engine_the_next_command_works(bench: Callable[..., Bench]) -> None:
    b = bench(RaisingReasoner())
    b.worker.offer_frame(frame())
    b.submit("a")
    b.ends.wait(1)
    b.worker._pipeline.reasoner = FakeReasoner()
    b.submit("b")
    assert b.ends.codes(2) == {"a": Code.REASONER_FAILED, "b": Code.OK}


def test_a_defect_of_our_own_is_a_code_too(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    b = bench()
    monkeypatch.setattr(b.worker._pipeline, "ground", lambda *_, **__: 1 / 0)
    b.worker.offer_frame(frame())
    b.submit("a")
    assert b.ends.codes(1) == {"a": Code.INTERNAL}
    monkeypatch.undo()
    b.submit("b")
    assert b.ends.codes(2)["b"] is Code.OK


def test_callbacks_that_raise_are_counted_and_harm_nobody(bench: Callable[..., Bench]) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("a callback fell over")

    b = bench()
    b.worker.offer_frame(frame())
    b.worker.submit(Job(Command("a", "x"), on_progress=broken, on_done=broken))
    b.submit("b")
    assert b.ends.codes(1)["b"] is Code.OK
    assert b.worker.stats().callback_errors >= 2
    assert sum(b.worker.stats().ended.values()) == 2


# ---- counting ----


def test_queue_time_is_the_wait_and_total_time_is_all(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.submit("a")
    b.clock.advance(0.25)
    b.worker.offer_frame(frame())
    timing = b.ends.wait()[0].timing
    assert (timing.queue_ms, timing.total_ms) == (250, 250)


def test_frames_that_pass_by_are_counted_and_only_one_is_kept(bench: Callable[..., Bench]) -> None:
    b = bench(WaitingReasoner())
    b.worker.offer_frame(frame(0))
    b.submit("a")
    assert b.reasoner.started.wait(LIMIT_S)
    for stamp_ns in range(1, 10_001):
        b.worker.offer_frame(frame(stamp_ns))
    b.reasoner.go(100_000)
    (result,) = b.ends.wait()
    assert result.timing.dropped_frames == 10_000
    stats = b.worker.stats()
    assert (stats.frames, stats.frames_dropped, stats.commands, dict(stats.ended)) == (10_001, 9_999, 1, {Code.OK: 1})
    b.submit("b")
    assert b.ends.wait(2)[1].frame.stamp_ns == 10_000


def test_random_schedules_end_every_command_once(bench: Callable[..., Bench]) -> None:
    """Commands, cancels, frames, expiries and resets from three threads, in every order the machine makes."""
    for policy in ("preempt", "reject"):
        b = bench(busy_policy=policy)
        numbers = itertools.count()

        def act(seed: int, b: Bench = b, numbers: "itertools.count[int]" = numbers) -> None:
            rng = np.random.default_rng(seed)
            for kind in rng.integers(0, 8, 150):
                if kind < 4:
                    b.submit(str(next(numbers)), timeout_s=float(rng.integers(1, 5)))
                elif kind == 4:
                    b.worker.cancel(str(rng.integers(0, 300)))
                elif kind == 5:
                    b.clock.advance(0.5)
                    b.worker.expire()
                elif kind == 6:
                    b.worker.offer_frame(frame())
                else:
                    b.worker.reset()

        threads = [threading.Thread(target=act, args=(seed,)) for seed in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)
        assert b.worker.stop(LIMIT_S)
        said = next(numbers)
        assert sorted(int(result.command.id) for result in b.ends.results) == list(range(said))
        assert sum(b.worker.stats().ended.values()) == said
        assert all(bool(result.detail) == (result.code is not Code.OK) for result in b.ends.results)
