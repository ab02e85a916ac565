"""The node's pipeline where its engines are in another process: starts that, keeps it alive, asks it.

Every ``ground`` ends with one ``Segmentation``, whatever becomes of the process. One that crashes ends the command at
work with REASONER_DIED and is started again at once, then with growing pauses; one that hangs past a command's deadline
is ended and started again. Commands that come while it starts again wait for it, within bounds. While it opens for the
first time, or somebody else's is not there yet, they wait in the first moments only, in which small engines open; later
they get LOADING at once.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from segzero_ros.command import Command, Stage
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.host import messages
from segzero_ros.host.link import HELLO_S, Call, Link
from segzero_ros.host.messages import Opened, Result
from segzero_ros.host.pixels import NoRoom
from segzero_ros.host.process import LEAVE_S, Started
from segzero_ros.host.tracking import HostTracker
from segzero_ros.pipeline import (
    DEFAULT_BUDGET,
    Cancelled,
    Instance,
    OnStage,
    OnText,
    Segmentation,
    Timing,
    no_labels,
    unanswered,
)
from segzero_ros.reasoner import ignore, never

GIVE_UP_S = 2.8  # after a deadline or a cancel: the host itself says TIMEOUT after 2.5, the worker after 3
QUICK_S = 2.0  # after the start, for which commands wait: the demo bundle opens in less
RESTART_WAIT_S = 10.0  # for which a command waits while crashed engines open again
LOOK_S = 40.0  # for a prefill; the host itself gives up earlier
CLOSE_S = 1.5  # for our own process to be gone
TRIES = 3  # of a command that no host has begun: one may end at the moment it is asked
POLL_S = 0.01  # how soon a cancel is noticed
PING_S = 1.0
SILENCE_S = 20.0  # without a word from open engines: nothing in that process moves
PAUSES_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # before the n-th restart after a life that answered nothing
_log = logging.getLogger(__name__)

Phase = Literal["loading", "ready", "restarting", "failed", "closed"]


@dataclass(frozen=True, slots=True)
class HostState:
    """Where the engines are. ``detail``: what is loading, why they failed or had to be started again.

    ``seconds``: for how long it has been so. ``restarts``: since the node was configured. ``pid``: of our own process.
    """

    phase: Phase
    detail: str
    seconds: float
    restarts: int
    opened: Opened | None
    fault: RejectedInput | None
    pid: int


class HostPipeline:
    """The same questions as ``Pipeline``, asked of a host; ``ground`` and ``prefill_image`` by one thread at a time."""

    def __init__(
        self,
        start: Callable[[], Started],
        wanted: messages.Open | None,
        *,
        budget: int = DEFAULT_BUDGET,
        label: str = "",
        name: str = "node",
        on_change: "OnChange" = lambda host, state: None,
    ) -> None:
        """Start the host, in a thread of its own. ``start``: starts or finds it. ``wanted``: the engines to open.

        ``wanted`` None: the host is somebody else's and opens what it likes. ``budget``, ``label``: see ``Pipeline``.
        ``name``: for the host's log. ``on_change`` gets each new phase and whose it is, in that thread.
        """
        self._start, self._wanted, self._name = start, wanted, name
        self._budget, self._label = budget, label
        self._on_change = on_change
        self._changed = threading.Condition()
        self._born_s = time.monotonic()
        self._link: Link | None = None  # whose engines are open
        self._current: Link | None = None
        self._phase: Phase = "loading"
        self._detail, self._since_s = "starting", time.monotonic()
        self._restarts = 0
        self._fault: RejectedInput | None = None
        self._opened: Opened | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="segzero-host", daemon=True)
        self._thread.start()

    # ---- what the worker asks ----

    @property
    def not_ready(self) -> tuple[Code, str] | None:
        """Why a command would get no answer now, None when it may be asked: open, or open again soon."""
        state = self.state()
        if state.phase == "loading" and self._quick_left_s() <= 0:
            return Code.LOADING, f"the engines are being opened ({state.detail}); send it again in a while"
        if state.phase == "failed" and state.fault is not None:
            return state.fault.code, state.fault.detail
        return None

    @property
    def degraded_reason(self) -> str:
        """What keeps the reasoner from its best, or why it had to be started again."""
        with self._changed:
            if self._phase == "restarting":
                return f"the engines are being opened again: {self._detail}"
            return self._link.degraded if self._link is not None else ""

    def state(self) -> HostState:
        """Return where the engines are."""
        with self._changed:
            process = self._current.started.process if self._current is not None else None
            pid = process.pid if process is not None else 0
            seconds = time.monotonic() - self._since_s
            return HostState(self._phase, self._detail, seconds, self._restarts, self._opened, self._fault, pid)

    def ground(
        self,
        frame: Frame,
        command: Command,
        *,
        deadline_ns: int | None = None,
        cancelled: Cancelled = never,
        on_text: OnText = ignore,
        on_stage: OnStage = ignore,
    ) -> Segmentation:
        """See ``Pipeline.ground``."""
        patience = _Patience(deadline_ns, cancelled)
        try:
            for _ in range(TRIES):
                result = self._ask(frame, command, patience, on_text, on_stage)
                if result is not None:
                    break
            else:
                raise RejectedInput(Code.REASONER_DIED, "the engines' process ends whenever it is asked; see the log")
        except RejectedInput as error:
            result = unanswered(command, error.code, error.detail, frame)
        if result.code in (Code.TIMEOUT, Code.REASONER_DIED) and patience.was_cancelled:
            return unanswered(command, Code.CANCELLED, "cancelled; the engine did not come back and was ended", frame)
        return result

    def prefill_image(self, frame: Frame) -> None:
        """See ``Pipeline.prefill_image``."""
        link = self.open_link(time.monotonic_ns(), never)
        call = self._begin(link, frame)
        try:
            link.send(messages.Look(call.id, call.ring.number_in(call.slot)))
            try:
                reply = call.replies.get(timeout=LOOK_S)
            except queue.Empty:
                _give_up(link)
                reply = None
            if not isinstance(reply, messages.Looked) or reply.detail:
                detail = reply.detail if isinstance(reply, messages.Looked) else "the host ended"
                raise RejectedInput(Code.REASONER_FAILED, f"a picture could not be prefilled: {detail}")
        finally:
            link.end(call)

    def new_tracker(self) -> HostTracker:
        """See ``Pipeline.new_tracker``; asked by the same thread."""
        return HostTracker(lambda: self.open_link(time.monotonic_ns() + int(RESTART_WAIT_S * 1e9), never))

    def close(self) -> None:
        """End the host where it is ours, and every question with it."""
        self._closing.set()
        self._set("closed", "the node has closed it")
        current = self._current
        if current is not None:
            current.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_S)

    # ---- one question ----

    def _ask(
        self, frame: Frame, command: Command, patience: "_Patience", on_text: OnText, on_stage: OnStage
    ) -> Segmentation | None:
        """Ask the host once; None where it ended before it had begun, so that another may be asked."""
        link = self.open_link(patience.deadline_ns, patience.cancelled)
        call = self._begin(link, frame)
        start_ns = time.monotonic_ns()
        try:
            left_ms = None if patience.deadline_ns is None else (patience.deadline_ns - start_ns) / 1e6
            number = call.ring.number_in(call.slot)
            link.send(messages.Ground(call.id, number, command.id, command.text, self._budget, self._label, left_ms))
            result = self._result(link, call, patience, on_text, on_stage)
            total_ms = (time.monotonic_ns() - start_ns) / 1e6
            return _segmentation(result, call, command, frame, total_ms) if result is not None else None
        finally:
            link.end(call)

    def open_link(self, deadline_ns: int | None, cancelled: Cancelled) -> Link:
        """Return the link to open engines, waiting for them where they are being opened again."""
        until = time.monotonic() + RESTART_WAIT_S
        if deadline_ns is not None:
            until = min(until, deadline_ns / 1e9)

        def is_worth_waiting() -> bool:
            opening = self._phase == "loading" and self._quick_left_s() > 0
            return (opening or self._phase in ("ready", "restarting")) and time.monotonic() <= until

        with self._changed:
            while True:
                if self._link is not None and not self._link.ended:
                    return self._link
                if not is_worth_waiting():
                    break
                if cancelled():
                    raise RejectedInput(Code.CANCELLED, "cancelled before it was begun; send it again if wanted")
                self._changed.wait(POLL_S)
        raise RejectedInput(*(self.not_ready or (Code.LOADING, f"the engines are not open: {self._detail}")))

    def _quick_left_s(self) -> float:
        return self._born_s + QUICK_S - time.monotonic()

    def _begin(self, link: Link, frame: Frame) -> Call:
        try:
            return link.begin(frame)
        except NoRoom:  # earlier questions that never ended: the host is no good any more
            link.close()
            raise RejectedInput(Code.REASONER_DIED, "the host keeps every picture; it is started again") from None

    def _result(
        self, link: Link, call: Call, patience: "_Patience", on_text: OnText, on_stage: OnStage
    ) -> Result | None:
        """Take the replies of ``call`` until its result; ends the host that sends none in time. None: see ``_ask``."""
        begun = False
        while True:
            try:
                reply = call.replies.get(timeout=POLL_S)
            except queue.Empty:
                pass
            else:
                if isinstance(reply, Result) or (reply is None and not begun and not self._closing.is_set()):
                    return reply
                if reply is None:
                    code = Code.TIMEOUT if patience.is_late() else Code.REASONER_DIED
                    how = link.started.how_it_ended()
                    raise RejectedInput(code, f"the engines' process {how}; send the command again")
                begun = True
                _hand_on(reply, on_text, on_stage)
            if patience.stop_now():  # also between two words of a host that never pauses
                link.send(messages.Cancel(call.id))
            if patience.is_over():
                _give_up(link)
                raise RejectedInput(Code.TIMEOUT, "the engine hung and was ended; send it again")

    # ---- the thread ----

    def _keep(self) -> None:
        """Start the host, listen until it ends, and again."""
        in_a_row = 0
        while not self._closing.is_set():
            fault = self._live()
            if self._closing.is_set():
                return
            was_useful = self._current is not None and self._current.results > 0
            in_a_row = 0 if was_useful else in_a_row + 1
            pause_s = PAUSES_S[min(in_a_row, len(PAUSES_S) - 1)]
            if fault is not None and self._opened is None:
                if not self._is_awaited():
                    self._set("failed", fault.detail, fault)
                    return
                self._set("loading", fault.detail)
            elif fault is not None:
                self._set("restarting", str(fault))
            self._closing.wait(pause_s)

    def _is_awaited(self) -> bool:
        """Whether the host is somebody else's and not there yet: it may start after its nodes."""
        return self._wanted is None and self._current is None

    def _live(self) -> RejectedInput | None:
        """One life of a host; returns why it could not be used, None where it was and has ended."""
        self._current = None
        try:
            started = self._start()
        except RejectedInput as error:
            return error
        link = self._current = Link(started)
        listening = threading.Thread(target=link.listen, name="segzero-host-link", daemon=True)
        listening.start()
        link.hello(self._name)
        if self._wanted is not None:
            link.send(self._wanted)
        self._watch(link)
        with self._changed:
            was_open, self._link = self._link is link, None
        listening.join()
        how = started.how_it_ended() if not link.fault else str(link.fault)
        started.end(LEAVE_S if self._closing.is_set() else 0.0)
        if self._closing.is_set() or was_open:
            if not self._closing.is_set():
                _log.error("the engines' process %s; it is started again", how)
                self._restarts += 1
                self._set("restarting", f"the process {how}")
            return None
        return link.fault or RejectedInput(Code.HOST_UNUSABLE, f"the engines' process {how} before they were open")

    def _watch(self, link: Link) -> None:
        """Ping the host until its connection ends or it must be ended."""
        pings = 0
        born_s = time.monotonic()
        while not (link.ended or link.fault or self._closing.is_set()):
            link.changed.wait(PING_S)
            link.changed.clear()
            if link.opened is not None and self._link is not link:
                self._note_open(link, link.opened)
            silent_s = time.monotonic() - link.heard_s
            if (link.opened is not None and silent_s > SILENCE_S) or (
                link.greeting is None and time.monotonic() - born_s > HELLO_S
            ):
                _log.error("the engines' process has said nothing for %.0f s; it is ended", silent_s)
                _give_up(link)
                return
            with self._changed:
                if link.opened is None and link.loading and self._phase == "loading":
                    self._detail = link.loading
            pings += 1
            link.send(messages.Ping(pings))
        link.close()

    def _note_open(self, link: Link, opened: Opened) -> None:
        with self._changed:
            self._link, self._opened = link, opened
        self._set("ready", opened.engines)

    def _set(self, phase: Phase, detail: str, fault: RejectedInput | None = None) -> None:
        with self._changed:
            if self._phase == "closed":
                return
            self._phase, self._detail, self._fault, self._since_s = phase, detail, fault, time.monotonic()
            self._changed.notify_all()
        self._on_change(self, self.state())


def _hand_on(reply: messages.Message, on_text: OnText, on_stage: OnStage) -> None:
    if isinstance(reply, messages.Text):
        on_text(reply.text)
    elif isinstance(reply, messages.Stage):
        on_stage(Stage(reply.stage))


def _give_up(link: Link) -> None:
    """End a host that does not come back."""
    link.started.kill()
    link.close()


OnChange = Callable[[HostPipeline, HostState], None]


class _Patience:
    """When a question has to stop and when it is given up."""

    def __init__(self, deadline_ns: int | None, cancelled: Cancelled) -> None:
        self.deadline_ns, self.cancelled = deadline_ns, cancelled
        self._deadline_s = None if deadline_ns is None else deadline_ns / 1e9
        self._cancelled_s: float | None = None

    @property
    def was_cancelled(self) -> bool:
        """Whether the host was told to stop."""
        return self._cancelled_s is not None

    def stop_now(self) -> bool:
        """Whether it is to be cancelled now; True once."""
        if self._cancelled_s is None and self.cancelled():
            self._cancelled_s = time.monotonic()
            return True
        return False

    def is_over(self) -> bool:
        """Whether there was time enough for any end."""
        moments = [moment for moment in (self._deadline_s, self._cancelled_s) if moment is not None]
        return bool(moments) and time.monotonic() > min(moments) + GIVE_UP_S

    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self._deadline_s is not None and time.monotonic() > self._deadline_s


def _segmentation(result: Result, call: Call, command: Command, frame: Frame, total_ms: float) -> Segmentation:
    instances = tuple(
        Instance(row[0], row[1], (row[2], row[3], row[4], row[5]), (row[6], row[7]), row[8]) for row in result.instances
    )
    labels = call.ring.labels(call.slot, frame.size, result.labels) if result.labels else no_labels(frame)
    timing = Timing(
        queue_ms=result.queue_ms,
        first_token_ms=result.first_token_ms,
        reasoning_ms=result.reasoning_ms,
        segmentation_ms=result.segmentation_ms,
        total_ms=total_ms,
        tokens=result.tokens,
    )
    code = Code(result.code)
    return Segmentation(command, code, result.detail, result.reasoning, instances, labels, frame, timing, result.text)
