"""The command server, where commands are taken in: each gets a number, its progress told, and exactly one answer.

A command may come from the topic or the action; from here on there is no difference. Refused ones, too, are answered:
silence is never a result. ``submit`` and everything it calls back runs in the executor's thread; only the methods of
``_Job`` that the worker calls run in the worker's, and they do nothing but note and post.
"""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from segzero_ros.answer import clean_text, split_thinking
from segzero_ros.command import MAX_COMMAND_CHARS, Command, Stage, read_command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.health import Health
from segzero_ros.msg import Segmentation
from segzero_ros.pipeline import Segmentation as Result
from segzero_ros.pipeline import unanswered
from segzero_ros.reasoner import ignore
from segzero_ros.ros.camera import CameraFrame
from segzero_ros.ros.executor.queue import ExecutorQueue
from segzero_ros.worker import Worker

PROGRESS_PERIOD_NS = 30_000_000  # faster than a person reads; a fast engine makes hundreds of pieces per second


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a command is: ``reasoning`` is all of it so far, untrusted; ``elapsed_s`` since it was taken in."""

    stage: Stage
    reasoning: str
    elapsed_s: float


OnProgress = Callable[[Progress], None]
OnAnswer = Callable[[Segmentation], None]
Publish = Callable[[Result, CameraFrame | None], Segmentation]
Report = Callable[[str, BaseException], str]


class CommandServer:
    """Takes commands in while it is open; closed, it answers them with the reason why."""

    def __init__(
        self, queue: ExecutorQueue, health: Health, publish: Publish, on_progress: OnProgress, report: Report
    ) -> None:
        """``publish`` sends an answer to everybody and returns it; ``on_progress`` hears of every command.

        ``report`` logs a defect, (where, what), and returns a line about it.
        """
        self._queue = queue
        self._report = report
        self._health = health
        self._publish = publish
        self._on_progress = on_progress
        self._worker: Worker | None = None
        self._closed_because = "the node is unconfigured"

    def open(self, worker: Worker) -> None:
        """Hand commands to ``worker`` from now on."""
        self._worker = worker

    def close(self, reason: str) -> None:
        """Answer further commands with NOT_ACTIVE and ``reason``; those taken in before are not touched."""
        self._worker = None
        self._closed_because = reason

    def submit(
        self,
        text: str,
        *,
        timeout_s: float,
        command_id: str = "",
        source: CameraFrame | None = None,
        fault: RejectedInput | None = None,
        on_progress: OnProgress = ignore,
        on_answer: OnAnswer = ignore,
    ) -> str:
        """Take a command in and return its id; ``on_answer`` gets its one answer, perhaps before this returns.

        ``source``: look at this image instead of the camera's newest. ``fault``: what is already known to be wrong.
        """
        job = _Job(command_id or uuid.uuid4().hex, self, source, on_progress, on_answer)
        try:
            if fault is not None:
                raise fault
            command = read_command(text, job.id)
            self._open_worker().submit(
                command, frame=source, deadline_s=timeout_s, on_text=job.hear, on_stage=job.enter, on_done=job.end
            )
        except RejectedInput as error:
            self._health.saw_rejection(error.code, error.detail)
            self.finish(job, unanswered(_echo(job.id, text), error.code, error.detail))
        except Exception as error:  # noqa: BLE001 - a defect, but the command gets its answer
            self.finish(job, unanswered(_echo(job.id, text), Code.INTERNAL, self._report("submit", error)))
        return job.id

    def cancel(self, command_id: str) -> bool:
        """Ask for the end of a command; False when it is not at work any more."""
        return self._worker is not None and self._worker.cancel(command_id)

    def post(self, call: Callable[[], None]) -> None:
        """Run ``call`` in the executor's thread."""
        self._queue.post(call)

    def tell(self, job: "_Job", stage: Stage) -> None:
        """Pass a command's progress on."""
        progress = job.progress(stage)
        if progress is not None:
            self._on_progress(progress)
            job.on_progress(progress)

    def finish(self, job: "_Job", result: Result) -> None:
        """Publish a command's answer, the first time this is called for it."""
        if job.is_answered:
            return
        job.is_answered = True
        self.tell(job, Stage.DONE)
        self._health.saw_end(result)
        try:
            answer = self._publish(result, job.source)
        except Exception as error:  # noqa: BLE001 - a defect, but the command gets its answer
            answer = self._publish(unanswered(result.command, Code.INTERNAL, self._report("publish", error)), None)
        job.on_answer(answer)

    def _open_worker(self) -> Worker:
        if self._worker is None:
            raise RejectedInput(Code.NOT_ACTIVE, self._closed_because)
        return self._worker


@dataclass(slots=True, eq=False)
class _Job:
    """One command between its arrival and its answer."""

    id: str
    command_server: CommandServer
    source: CameraFrame | None
    on_progress: OnProgress
    on_answer: OnAnswer
    started_ns: int = field(default_factory=time.monotonic_ns)
    is_answered: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _pieces: list[str] = field(default_factory=list)
    _stage: Stage = Stage.QUEUED
    _posted_ns: int = 0
    _told: tuple[Stage, str] | None = None

    # ---- called by the worker, from its thread ----

    def hear(self, piece: str) -> None:
        """Note a piece of the model's text, and have it told if the last time is long enough ago."""
        now = time.monotonic_ns()
        with self._lock:
            self._pieces.append(piece)
            if now - self._posted_ns < PROGRESS_PERIOD_NS:
                return
            self._posted_ns = now
            stage = self._stage
        self.command_server.post(lambda: self.command_server.tell(self, stage))

    def enter(self, stage: Stage) -> None:
        """Note a stage and have it told."""
        with self._lock:
            self._stage = stage
        self.command_server.post(lambda: self.command_server.tell(self, stage))

    def end(self, result: Result) -> None:
        """Have the answer published."""
        self.command_server.post(lambda: self.command_server.finish(self, result))

    # ---- in the executor's thread ----

    def progress(self, stage: Stage) -> Progress | None:
        """Return what there is to tell in this stage, None when it has been told already."""
        with self._lock:
            text = "".join(self._pieces)
            self._pieces[:] = [text]
        now = (stage, _without_cut_tag(split_thinking(text)[0]))
        if now == self._told:
            return None
        self._told = now
        return Progress(*now, elapsed_s=(time.monotonic_ns() - self.started_ns) / 1e9)


def _echo(command_id: str, text: str) -> Command:
    """Return a command that was refused, for its answer: short and safe to show."""
    return Command(command_id, clean_text(text[:MAX_COMMAND_CHARS]))


def _without_cut_tag(text: str) -> str:
    """Drop the beginning of a closing tag that has not fully come yet."""
    start = text.rfind("<")
    return text[:start].rstrip() if start >= 0 and "</think>".startswith(text[start:]) else text
