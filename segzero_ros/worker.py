"""The thread: the only one that asks the engines, with a slot for the newest frame and one for the next command.

Rules, each a test: every submitted job ends exactly once, in ``on_done``; at most one job waits; the newest frame
wins; cancel is honoured between tokens; what a callback raises is logged, counted and goes no further.
Clock: deadlines and ages run on the monotonic clock, so jumps of ROS or system time do nothing.
Covered: engines that raise, return rubbish, ignore cancel or hang (their command ends at ``stop`` or in ``expire``).
Not covered: an engine in this process that crashes it, or getting a hung thread back; ``host/`` does both.
"""

import collections
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, Protocol

from segzero_ros.command import TRANSITIONS, Command, Stage
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Cancelled, OnStage, OnText, Segmentation, error_text, unanswered
from segzero_ros.reasoner import ignore
from segzero_ros.segmenter import Tracker

BusyPolicy = Literal["preempt", "reject"]
FrameSource = Callable[[], Frame]
"""A frame not decoded yet: called in the worker's thread, and only for the frame that a command takes."""

FIRST_FRAME_WAIT_S = 5.0  # a camera that starts with the node needs 1-2 s for its first picture
FRAME_MAX_AGE_S = 1.0  # an older picture shows where things were
AGAIN_S = 10.0  # for grounding again what was lost
GRACE_S = 3.0  # what an engine may take to come back after a deadline (it still answers) or a cancel (one token)

_log = logging.getLogger(__name__)


class Grounder(Protocol):
    """What the worker asks: ``Pipeline``, or one whose engines are in another process.

    ``not_ready``: why a command would get no answer now, None when it may be asked.
    """

    @property
    def not_ready(self) -> tuple[Code, str] | None:
        """See the class."""
        ...

    @property
    def degraded_reason(self) -> str:
        """See ``Pipeline``."""
        ...

    def ground(
        self,
        frame: Frame,
        command: Command,
        *,
        deadline_ns: int | None,
        cancelled: Cancelled,
        on_text: OnText,
        on_stage: OnStage,
    ) -> Segmentation:
        """See ``Pipeline``."""
        ...

    def prefill_image(self, frame: Frame) -> None:
        """See ``Pipeline``."""
        ...

    def new_tracker(self) -> Tracker:
        """See ``Pipeline``."""
        ...


class Follower(Protocol):
    """What becomes of answers while the camera goes on: ``tracking/following.py``."""

    @property
    def active(self) -> bool:
        """Whether anything is to be found in every frame."""
        ...

    def keep(self, arrival: "Arrival") -> None:
        """A frame has come; from any thread."""
        ...

    def begin(self) -> None:
        """A command begins."""
        ...

    def carry(
        self, job: "Job", result: Segmentation, arrival: "Arrival", stopped: Callable[[], bool]
    ) -> "tuple[Segmentation, Arrival]":
        """Return the answer to tell, and the frame it is of."""
        ...

    def step(self, arrival: "Arrival", ground: Callable[[Frame, Command], Segmentation]) -> None:
        """Find in a frame what is followed."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """What the worker has seen so far; ``ended`` counts commands by code, ``busy`` = one is waiting or at work.

    ``frames_dropped``: frames that came while a command was at work and were replaced before one took them.
    ``engine_hung``: the engine has not come back from a command whose end was already reported. ``warmed``: frames
    prefilled while there was no command. ``degraded_reason``: see ``Pipeline.degraded_reason``.
    """

    frames: int
    frames_dropped: int
    commands: int
    ended: Mapping[Code, int]
    callback_errors: int
    busy: bool
    engine_hung: bool
    warmed: int = 0
    degraded_reason: str = ""


@dataclass(slots=True, eq=False)
class Job:
    """One command from its arrival to its answer.

    ``source``: what its frame is made from: the sender's own image, else the newest one that the worker has taken.
    ``timeout_s``: from the arrival on, waiting included; None = none. ``pieces``: the model's text so far.
    ``result``: how it ended. ``prepared``: what ``before_end`` made of that. ``on_progress`` is called at each new
    stage and piece, ``on_done`` at the end, once. ``stop_code``: what its end is called once it is asked
    to stop. ``track``: its objects are followed after the answer. ``given``: its frame is the sender's own.
    ``looked_at``: what the frame that the reasoner saw is made from; ``source`` is that of the frame of the masks.
    Times are on the worker's clock.
    """

    command: Command
    source: Frame | FrameSource | None = None
    timeout_s: float | None = None
    on_progress: Callable[["Job"], None] = ignore
    on_done: Callable[["Job"], None] = ignore
    frame: Frame | None = None
    stage: Stage = Stage.QUEUED
    pieces: list[str] = field(default_factory=list)
    result: Segmentation | None = None
    prepared: object = None
    arrived_ns: int = field(default_factory=time.monotonic_ns)
    started_ns: int | None = None
    frames_before: int = 0
    stop_code: Code | None = None
    stop_detail: str = ""
    stop_asked_ns: int | None = None
    track: bool = False
    given: bool = False
    looked_at: Frame | FrameSource | None = None

    @property
    def deadline_ns(self) -> int | None:
        """When ``timeout_s`` is over."""
        return None if self.timeout_s is None else self.arrived_ns + int(self.timeout_s * 1e9)

    def advance(self, stage: Stage) -> bool:
        """Go on to ``stage`` if the life cycle allows it; False once the job is done."""
        if stage not in TRANSITIONS[self.stage]:
            return False
        self.stage = stage
        return True

    def is_late(self, now_ns: int, grace_ns: int) -> bool:
        """Whether its deadline, or the moment it was asked to stop, lies more than ``grace_ns`` back."""
        moments = [moment for moment in (self.deadline_ns, self.stop_asked_ns) if moment is not None]
        return bool(moments) and now_ns > min(moments) + grace_ns


@dataclass(slots=True, eq=False)
class Arrival:
    """A frame that has come, of which moment it is, and what it was decoded to; only the worker's thread decodes.

    ``late_ns``: how much of its age it had when it came.
    """

    source: Frame | FrameSource
    at_ns: int
    late_ns: int = 0
    frame: Frame | None = None

    def decode(self) -> Frame:
        """Return the frame, the same object each time: a second command finds it encoded already."""
        if self.frame is None:
            self.frame = self.source if isinstance(self.source, Frame) else self.source()
        return self.frame


class Worker:
    """Grounds commands on the newest frame, one at a time, in a thread of its own.

    Callbacks run in the worker's thread, except for the end of a command that never started (refused, preempted,
    cancelled while waiting): that one runs in the thread that caused it. No lock is held while a callback runs.
    """

    def __init__(
        self,
        pipeline: Grounder,
        *,
        busy_policy: BusyPolicy = "preempt",
        first_frame_wait_s: float = FIRST_FRAME_WAIT_S,
        frame_max_age_s: float = FRAME_MAX_AGE_S,
        grace_s: float = GRACE_S,
        warm_hz: float = 0.0,
        before_end: Callable[[Job, Segmentation], None] | None = None,
        follower: Follower | None = None,
        now: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Start the thread. ``busy_policy``: a second command "preempt"s the first or is "reject"ed with BUSY.

        ``first_frame_wait_s``: how long a command waits for a frame not older than ``frame_max_age_s`` (see
        ``offer_frame``), before it ends with NO_FRAME or STALE_FRAME. ``grace_s``: see ``expire``. ``warm_hz``: how
        often the newest frame is prefilled while there is no command, at most; 0 = never. A command then takes the
        newest frame that was prefilled, as long as that one is not older than ``frame_max_age_s``.
        ``before_end``: called in the worker's thread with what was found, before anybody is told; it may wait for what
        belongs to the frame, and do what the answer needs time for. ``follower``: gets each answer before that.
        """
        self._pipeline = pipeline
        self._busy_policy = busy_policy
        self._first_frame_wait_ns = int(first_frame_wait_s * 1e9)
        self._frame_max_age_ns = int(frame_max_age_s * 1e9)
        self._grace_ns = int(grace_s * 1e9)
        self._warm_period_ns = int(1e9 / warm_hz) if warm_hz > 0 else None
        self._before_end = before_end
        self._follower = follower
        self._followed: Arrival | None = None  # the newest frame in which the follower has looked
        self._now = now
        self._changed = threading.Condition()
        self._waiting: Job | None = None
        self._running: Job | None = None
        self._newest: Arrival | None = None
        self._newest_was_used = True
        self._refused: tuple[RejectedInput, int] | None = (
            None  # the newest image, where it is no frame, and when it came
        )
        self._prefilled: Arrival | None = None  # the newest one of which the prefill succeeded
        self._tried: Arrival | None = None  # the newest one of which it was begun
        self._tried_at_ns = -(1 << 62)
        self._warmed = 0
        self._stopping = False
        self._frames = self._frames_dropped = self._commands = self._callback_errors = 0
        self._ended: collections.Counter[Code] = collections.Counter()
        self._thread = threading.Thread(target=self._work, name="segzero-worker", daemon=True)
        self._thread.start()

    # ---- called from any thread; none of these waits for an engine ----

    def offer_frame(self, frame: Frame | FrameSource, late_ns: int = 0) -> None:
        """Put ``frame`` into the slot of the newest one; a ``FrameSource`` saves decoding what no command takes.

        ``late_ns``: how old it is already.
        """
        with self._changed:
            if self._running is not None and not self._newest_was_used:
                self._frames_dropped += 1
            self._frames += 1
            arrival = self._newest = Arrival(frame, self._now() - late_ns, late_ns)
            self._refused, self._newest_was_used = None, False
            self._changed.notify_all()
        if self._follower is not None:
            self._follower.keep(arrival)

    def note_refusal(self, error: RejectedInput) -> None:
        """Remember why the camera's newest image is no frame: commands that wait for one in vain end with that."""
        with self._changed:
            self._refused = error, self._now()

    def submit(self, job: Job) -> bool:
        """Take ``job``; its end comes through ``on_done``, also when it is refused (then False is returned)."""
        job.arrived_ns = self._now()
        self._call(job.on_progress, job)
        with self._changed:
            self._commands += 1
            refusal = self._refusal()
            preempted = None
            if refusal is None:
                preempted, self._waiting = self._waiting, job
                if self._running is not None:
                    self._ask_to_stop(self._running, Code.PREEMPTED, f"preempted by the command {job.command.id!r}")
                self._changed.notify_all()
        if refusal is not None:
            self._end(job, *refusal)
            return False
        if preempted is not None:
            detail = f"preempted by the command {job.command.id!r}; send it again if wanted"
            self._end(preempted, Code.PREEMPTED, detail)
        return True

    def cancel(self, command_id: str) -> bool:
        """End the command of that id with CANCELLED, at once or after the next token; False if it is not here."""
        with self._changed:
            found = [job for job in self._unfinished() if job.command.id == command_id]
        for job in found:
            self._stop_job(job, Code.CANCELLED, "cancelled; send the command again if wanted")
        return bool(found)

    def reset(self) -> None:
        """Cancel what waits and runs and forget the frame."""
        with self._changed:
            found = self._unfinished()
            self._newest = self._prefilled = self._tried = self._refused = None
        for job in found:
            self._stop_job(job, Code.CANCELLED, "cancelled by a reset; send the command again if wanted")

    def expire(self) -> None:
        """Look at the clock; call it about once a second.

        A waiting command ends with TIMEOUT at its deadline. One at work has ``grace_s`` more, to close its answer or
        to notice that it was cancelled; then it ends here, even though its engine hangs.
        """
        now = self._now()
        with self._changed:
            waiting, running = self._waiting, self._running
            self._changed.notify_all()
        if waiting is not None and waiting.is_late(now, 0):
            self._stop_job(waiting, Code.TIMEOUT, "got no turn before the deadline; allow more time")
        if running is not None and running.is_late(now, self._grace_ns):
            self._stop_job(running, Code.TIMEOUT, "got no answer before the deadline; allow more time")
            self._end(running, running.stop_code or Code.TIMEOUT, running.stop_detail)

    def stop(self, timeout_s: float = 2.0) -> bool:
        """End everything and the thread; True if the thread is gone within ``timeout_s``, else its engine hangs.

        Every command has had its ``on_done`` when this returns, and later ones are refused with NOT_ACTIVE.
        """
        with self._changed:
            self._stopping = True
            found = self._unfinished()
            self._changed.notify_all()
        for job in found:
            self._stop_job(job, Code.CANCELLED, "cancelled because the node stops; send it again afterwards")
        if threading.current_thread() is self._thread:
            return False
        self._thread.join(timeout_s)
        for job in found:  # whatever a hung engine still owes
            self._end(job, Code.CANCELLED, "the node stopped while the engine did not come back")
        return not self._thread.is_alive()

    def stats(self) -> WorkerStats:
        """Return the counters of this moment."""
        with self._changed:
            running, waiting = self._running, self._waiting
            return WorkerStats(
                self._frames,
                self._frames_dropped,
                self._commands,
                dict(self._ended),
                self._callback_errors,
                busy=running is not None or waiting is not None,
                engine_hung=running is not None and running.stage is Stage.DONE,
                warmed=self._warmed,
                degraded_reason=self._pipeline.degraded_reason,
            )

    # ---- the thread ----

    def _work(self) -> None:
        while (work := self._next()) is not None:
            if isinstance(work, Job):
                self._run(work)
            elif isinstance(work, Arrival):
                self._prefill(work)
            else:
                work()

    def _next(self) -> Job | Arrival | Callable[[], None] | None:
        """Wait for a job, a frame to follow something in, or one to prefill before there is a job; None = stopping."""
        with self._changed:
            self._running = None
            while self._waiting is None and not self._stopping:
                if (arrival := self._to_follow()) is not None:
                    self._followed = arrival
                    return partial(self._follow, arrival)
                wait_s = self._until_prefill_s()
                if wait_s == 0.0 and self._newest is not None:
                    self._tried, self._tried_at_ns = self._newest, self._now()
                    return self._tried
                self._changed.wait(wait_s)
            self._running, self._waiting = self._waiting, None
            return self._running

    def _to_follow(self) -> Arrival | None:
        """Return a new frame for the follower; the lock is held."""
        follows = self._follower is not None and self._follower.active
        return self._newest if follows and self._newest is not self._followed else None

    def _follow(self, arrival: Arrival) -> None:
        """Have one frame looked at; a command that comes meanwhile ends what is grounded again."""
        if self._follower is None:
            return
        try:
            self._follower.step(arrival, self._ground_again)
        except Exception:  # noqa: BLE001 - a defect of ours; the next command and the next frame get their turn
            _log.exception("defect while following")

    def _ground_again(self, frame: Frame, command: Command) -> Segmentation:
        return self._pipeline.ground(
            frame,
            command,
            deadline_ns=self._now() + int(AGAIN_S * 1e9),
            cancelled=lambda: self._waiting is not None or self._stopping,
            on_text=ignore,
            on_stage=ignore,
        )

    def _until_prefill_s(self) -> float | None:
        """Return in how many seconds the newest frame is to be prefilled, None = not this one; the lock is held."""
        if self._warm_period_ns is None or self._newest is None or self._newest is self._tried:
            return None
        return max(0.0, (self._tried_at_ns + self._warm_period_ns - self._now()) / 1e9)

    def _prefill(self, arrival: Arrival) -> None:
        """Prefill a frame before anybody has asked. What goes wrong is a command's to report, not this one's."""
        try:
            self._pipeline.prefill_image(arrival.decode())
        except Exception:  # noqa: BLE001
            _log.debug("a frame could not be prefilled", exc_info=True)
            return
        with self._changed:
            self._warmed += 1
            if self._tried is arrival:  # else it was forgotten meanwhile
                self._prefilled = arrival

    def _run(self, job: Job) -> None:
        try:
            arrival = self._frame_for(job)
            if job.stop_code is not None:
                self._end(job, job.stop_code, job.stop_detail)
            if arrival is not None and job.stage is not Stage.DONE:
                frame = arrival.decode()
                job.given = job.source is not None
                job.source, job.frame = arrival.source, frame
                job.looked_at = arrival.source
                result = self._ground(job, frame)
                if self._follower is not None:
                    result, arrival = self._follower.carry(job, result, arrival, lambda: job.stop_code is not None)
                    job.source, job.frame, self._followed = arrival.source, result.frame, arrival
                if self._before_end is not None:
                    self._before_end(job, result)
                self._finish(job, result)
        except RejectedInput as error:
            self._end(job, error.code, error.detail)
        except Exception as error:  # noqa: BLE001 - a defect of ours; the command gets its end, the next one its turn
            _log.exception("defect while grounding %r", job.command.id)
            self._end(job, Code.INTERNAL, f"got {error_text(error)}; please report this with the log")

    def _ground(self, job: Job, frame: Frame) -> Segmentation:
        job.started_ns = self._now()
        job.frames_before = self._frames
        if self._follower is not None:
            self._follower.begin()
        result = self._pipeline.ground(
            frame,
            job.command,
            deadline_ns=job.deadline_ns,
            cancelled=lambda: job.stop_code is not None,
            on_text=partial(self._append, job),
            on_stage=partial(self._enter, job),
        )
        if result.code in (Code.CANCELLED, Code.REASONER_DIED) and job.stop_code is not None:
            return replace(result, code=job.stop_code, detail=job.stop_detail)
        return result

    def _frame_for(self, job: Job) -> Arrival | None:
        """Return the job's own frame, or the newest once it is fresh enough; None after ending it for want of one."""
        if job.source is not None:
            return Arrival(job.source, job.arrived_ns)
        until = job.arrived_ns + self._first_frame_wait_ns
        if job.deadline_ns is not None:
            until = min(until, job.deadline_ns)
        with self._changed:
            while job.stop_code is None:
                now = self._now()
                for known in (self._prefilled, self._newest):
                    if known is not None and now - known.at_ns <= self._frame_max_age_ns:
                        self._newest_was_used = True
                        return known
                if now >= until:
                    break
                self._changed.wait((until - now) / 1e9)
            waited_s = (self._now() - job.arrived_ns) / 1e9
            end = self._recent_refusal(job) or _frameless(self._newest, self._now(), waited_s)
        if job.stop_code is None:
            self._end(job, *end)
        return None

    def _recent_refusal(self, job: Job) -> tuple[Code, str] | None:
        """Return why the camera's images are no frames, if they come at all; the lock is held."""
        if self._refused is None or self._refused[1] < job.arrived_ns - self._frame_max_age_ns:
            return None
        error = self._refused[0]
        return error.code, f"the camera's images are refused: {error.detail}"

    # ---- ends ----

    def _unfinished(self) -> list[Job]:
        """Return the commands here that have no end yet; the lock is held."""
        return [job for job in (self._waiting, self._running) if job is not None and job.stage is not Stage.DONE]

    def _refusal(self) -> tuple[Code, str] | None:
        if self._stopping:
            return Code.NOT_ACTIVE, "got a command while stopped; activate the node first"
        if (not_ready := self._pipeline.not_ready) is not None:
            return not_ready
        if self._running is not None and self._running.stage is Stage.DONE:
            return Code.BUSY, "the engine has not come back from an earlier command; restart the node if it never does"
        if self._busy_policy == "reject" and (self._running is not None or self._waiting is not None):
            return Code.BUSY, "got a command while another is at work; wait for its end, or set busy_policy to preempt"
        return None

    def _stop_job(self, job: Job, code: Code, detail: str) -> None:
        """Ask a running job to stop; end a waiting one here."""
        with self._changed:
            waits = job is self._waiting
            if waits:
                self._waiting = None
            self._ask_to_stop(job, code, detail)
        if waits:
            self._end(job, code, detail)

    def _ask_to_stop(self, job: Job, code: Code, detail: str) -> None:
        """Set why the job has to stop, once; the lock is held."""
        if job.stop_code is None:
            job.stop_code, job.stop_detail, job.stop_asked_ns = code, detail, self._now()
        self._changed.notify_all()

    def _end(self, job: Job, code: Code, detail: str) -> None:
        self._finish(job, unanswered(job.command, code, detail, job.frame))

    def _finish(self, job: Job, result: Segmentation) -> None:
        """Report the job's end, the first time this is called for it."""
        with self._changed:
            if not job.advance(Stage.DONE):
                return
            self._ended[result.code] += 1
            seen = self._frames - job.frames_before if job.started_ns is not None else 0
            if self._running is job and threading.current_thread() is self._thread:
                self._running = None  # so that on_done may submit the next one
        job.result = _with_queue(result, job, self._now(), seen)
        self._call(job.on_progress, job)
        self._call(job.on_done, job)

    def _enter(self, job: Job, stage: Stage) -> None:
        with self._changed:
            entered = job.advance(stage)
        if entered:
            self._call(job.on_progress, job)

    def _append(self, job: Job, piece: str) -> None:
        if job.stage is not Stage.DONE:
            job.pieces.append(piece)
            self._call(job.on_progress, job)

    def _call(self, callback: Callable[[Job], None], job: Job) -> None:
        try:
            callback(job)
        except Exception:  # noqa: BLE001 - the callback's fault must not reach the command
            _log.exception("a callback raised")
            with self._changed:
                self._callback_errors += 1


def _frameless(newest: Arrival | None, now_ns: int, waited_s: float) -> tuple[Code, str]:
    if newest is None:
        return Code.NO_FRAME, f"got no frame in {waited_s:.1f} s; check the image topic and its QoS"
    age = f"the newest frame is {(now_ns - newest.at_ns) / 1e9:.1f} s old"
    if 2 * newest.late_ns > now_ns - newest.at_ns:
        late = f"and was {newest.late_ns / 1e9:.1f} s old when it came, by its stamp"
        return Code.STALE_FRAME, f"{age} {late}; check the network, and that the camera's clock is set like this one"
    return Code.STALE_FRAME, f"{age}; check that the camera still publishes new ones"


def _with_queue(result: Segmentation, job: Job, now_ns: int, dropped: int) -> Segmentation:
    """Add what only the worker knows: the wait before the start, and the frames that passed by."""
    queue_end_ns = now_ns if job.started_ns is None else job.started_ns
    timing = replace(
        result.timing,
        queue_ms=(queue_end_ns - job.arrived_ns) / 1e6,
        total_ms=(now_ns - job.arrived_ns) / 1e6,
        dropped_frames=dropped,
    )
    return replace(result, timing=timing)
