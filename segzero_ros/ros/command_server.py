"""The command server: every command that comes in gets an id, progress, and exactly one answer.

A command may come from the topic or the action; from here on there is no difference. Refused ones, too, are answered:
silence is never a result. Everything runs in the executor's thread; what the worker calls in its own only posts.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

from segzero_ros.answer import clean_text, split_thinking
from segzero_ros.command import MAX_COMMAND_CHARS, Command, Stage, read_command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.health import Health
from segzero_ros.msg import Segmentation
from segzero_ros.pipeline import Segmentation as Result
from segzero_ros.pipeline import unanswered
from segzero_ros.reasoner import ignore
from segzero_ros.ros.camera import CameraFrame
from segzero_ros.ros.convert import MAX_TEXT_CHARS
from segzero_ros.ros.executor.queue import ExecutorQueue
from segzero_ros.worker import FrameSource, Job, Worker

PROGRESS_PERIOD_NS = 30_000_000  # faster than a person reads; a fast engine makes hundreds of pieces per second
LOGGED_CHARS = 80  # of a command's text: a sentence, and one line of the log


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a command is: ``reasoning`` is all of it so far, untrusted; ``elapsed_s`` since it was taken in."""

    stage: Stage
    reasoning: str
    elapsed_s: float


OnProgress = Callable[[Progress], None]
OnAnswer = Callable[[Segmentation], None]
Publish = Callable[[Result, Frame | FrameSource | None, object], Segmentation]
Report = Callable[[str, BaseException], str]
Log = Callable[[str], object]


class CommandServer:
    """Hands commands to the worker while it is open; closed, it answers them with the reason why."""

    def __init__(
        self,
        queue: ExecutorQueue,
        health: Health,
        publish: Publish,
        on_progress: OnProgress,
        report: Report,
        log: Log = ignore,
        on_command: Callable[[str, str], object] = lambda command_id, text: None,
        on_answered: Callable[[Job, Segmentation], object] = lambda job, answer: None,
    ) -> None:
        """``publish`` sends an answer to everybody and returns it; it gets ``source`` and ``prepared`` of the job, too.

        ``on_progress`` gets the progress of every command.
        ``report`` logs a defect, (where, what), and returns a line about it; ``log`` gets a line per command.
        ``on_command`` gets the id and the very words of each, unread; ``on_answered`` each answer once it is out.
        """
        self._queue = queue
        self._report = report
        self._log = log
        self._health = health
        self._publish = publish
        self._on_progress = on_progress
        self._on_command, self._on_answered = on_command, on_answered
        self._worker: Worker | None = None
        self._closed_because = "the node is unconfigured"

    def open(self, worker: Worker) -> None:
        """Hand commands to ``worker`` from now on."""
        self._worker = worker

    def close(self, reason: str) -> None:
        """Answer further commands with NOT_ACTIVE and ``reason``; those submitted before are not touched."""
        self._worker = None
        self._closed_because = reason

    def submit(
        self,
        text: str,
        *,
        timeout_s: float,
        command_id: str = "",
        source: CameraFrame | None = None,
        track: bool = False,
        fault: RejectedInput | None = None,
        on_progress: OnProgress = ignore,
        on_answer: OnAnswer = ignore,
    ) -> str:
        """Submit a command and return its id; ``on_answer`` gets its one answer, perhaps before this returns.

        ``source``: ground on this image, not the camera's newest. ``track``: follow what is found. ``fault``: what is
        already known to be wrong.
        """
        unread = Command(command_id or uuid.uuid4().hex, "")
        self._on_command(unread.id, text)
        report = _ProgressReport(self._queue, (self._on_progress, on_progress))

        def answer(job: Job) -> None:
            report.publish(job, Stage.DONE)
            on_answer(self._answer(job))

        job = Job(unread, source, timeout_s, report, lambda job: self._queue.post(lambda: answer(job)), track=track)
        try:
            if fault is not None:
                raise fault
            job.command = read_command(text, unread.id)
            self._open_worker().submit(job)
        except RejectedInput as error:
            self._health.count_rejection(error.code, error.detail)
            job.result = unanswered(_echo(job, text), error.code, error.detail)
        except Exception as error:  # noqa: BLE001 - a defect, but the command gets its answer
            job.result = unanswered(_echo(job, text), Code.INTERNAL, self._report("submit", error))
        if job.result is not None and job.advance(Stage.DONE):
            answer(job)
        return unread.id

    def cancel(self, command_id: str) -> bool:
        """Ask for the end of a command; False when it is not at work any more."""
        return self._worker is not None and self._worker.cancel(command_id)

    def _answer(self, job: Job) -> Segmentation:
        """Publish how a command ended."""
        result = cast(Result, job.result)
        self._health.count_end(result)
        try:
            answer = self._publish(result, job.source, job.prepared)
        except Exception as error:  # noqa: BLE001 - a defect, but the command gets its answer
            answer = self._publish(
                unanswered(result.command, Code.INTERNAL, self._report("publish", error)), None, None
            )
        self._on_answered(job, answer)
        self._log(log_line(answer))
        return answer

    def _open_worker(self) -> Worker:
        if self._worker is None:
            raise RejectedInput(Code.NOT_ACTIVE, self._closed_because)
        return self._worker


class _ProgressReport:
    """Publishes one command's progress: each new stage at once, growing reasoning every PROGRESS_PERIOD_NS."""

    def __init__(self, queue: ExecutorQueue, listeners: Sequence[OnProgress]) -> None:
        self._queue = queue
        self._listeners = listeners
        self._posted_stage: Stage | None = None
        self._posted_ns = 0
        self._published: tuple[Stage, str] | None = None

    def __call__(self, job: Job) -> None:
        """Have it published if it is time; in the worker's thread."""
        stage, now = job.stage, time.monotonic_ns()
        if stage is self._posted_stage:
            if now - self._posted_ns < PROGRESS_PERIOD_NS:
                return
            self._posted_ns = now
        self._posted_stage = stage
        self._queue.post(lambda: self.publish(job, stage))

    def publish(self, job: Job, stage: Stage) -> None:
        """Publish what is new; in the executor's thread."""
        state = (stage, _without_cut_tag(split_thinking("".join(job.pieces))[0])[:MAX_TEXT_CHARS])
        if state != self._published:
            self._published = state
            progress = Progress(*state, elapsed_s=(time.monotonic_ns() - job.arrived_ns) / 1e9)
            for listener in self._listeners:
                listener(progress)


def log_line(answer: Segmentation) -> str:
    """Return what the log keeps of a command: the words as they were read and cut, never ``detail`` or reasoning."""
    text = answer.command if len(answer.command) <= LOGGED_CHARS else answer.command[:LOGGED_CHARS] + "..."
    code, count = Code(answer.code).name, len(answer.instances)
    return f"command {answer.command_id} {text!r}: {code}, {count} found, {answer.timing.total_ms:.0f} ms"


def _echo(job: Job, text: str) -> Command:
    """Return the command that the answer of a refused job repeats: short and safe to show, where it was not read."""
    return job.command if job.command.text else replace(job.command, text=echoed_text(text))


def echoed_text(text: str) -> str:
    """Return the words of the answer to ``text``: as they were read, or shown safely where they are no command."""
    try:
        return read_command(text, "").text
    except RejectedInput:
        return clean_text(text[:MAX_COMMAND_CHARS])


def _without_cut_tag(text: str) -> str:
    """Drop the beginning of a closing tag that has not fully come yet."""
    start = text.rfind("<")
    return text[:start].rstrip() if start >= 0 and "</think>".startswith(text[start:]) else text
