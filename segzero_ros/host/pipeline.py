"""The node's pipeline where its engines are in another process: starts that, keeps it alive, asks it.

Every ``ground`` ends with one ``Segmentation``, whatever becomes of the process. One that crashes ends the command at
work with REASONER_DIED and is started again at once, then with growing pauses; one that hangs past a command's deadline
is ended and started again. Commands that come while it starts again wait for it, within bounds. While it opens for the
first time, or somebody else's is not there yet, they wait in the first moments only, in which small engines open; later
they get LOADING at once.
"""

import queue
import time
from collections.abc import Callable

from segzero_ros.answer import Point, Target
from segzero_ros.command import Command, Stage
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.host import messages
from segzero_ros.host.link import Call, Link
from segzero_ros.host.messages import Result
from segzero_ros.host.pixels import NoRoom
from segzero_ros.host.process import Started
from segzero_ros.host.supervisor import HostState, Supervisor
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
TRIES = 3  # of a command that no host has begun: one may end at the moment it is asked
POLL_S = 0.025  # how soon a cancel is noticed; each look takes the engines' processors for a moment


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
        self._budget, self._label = budget, label
        self._born_s = time.monotonic()
        self._host = Supervisor(start, wanted, name=name, on_change=lambda state: on_change(self, state))
        self._host.start()

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
        state, link = self._host.state(), self._host.link
        if state.phase == "restarting":
            return f"the engines are being opened again: {state.detail}"
        return link.degraded if link is not None else ""

    def state(self) -> HostState:
        """Return where the engines are."""
        return self._host.state()

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

        def ask(id: int, picture: int, left_ms: float | None) -> messages.Ground:
            return messages.Ground(id, picture, command.id, command.text, self._budget, self._label, left_ms)

        return self._answer(frame, command, patience, ask, on_text, on_stage)

    def mask(
        self, frame: Frame, command: Command, targets: tuple[Target, ...], *, deadline_ns: int | None = None
    ) -> Segmentation:
        """See ``Pipeline.mask``."""
        rows = [[*map(float, one.box), _flat(one.points), _flat(one.off)] for one in targets]

        def ask(id: int, picture: int, left_ms: float | None) -> messages.Prompt:
            return messages.Prompt(id, picture, command.id, command.text, rows, left_ms)

        return self._answer(frame, command, _Patience(deadline_ns, never), ask)

    def _answer(
        self,
        frame: Frame,
        command: Command,
        patience: "_Patience",
        make: "MakeQuestion",
        on_text: OnText = ignore,
        on_stage: OnStage = ignore,
    ) -> Segmentation:
        """Ask what ``make`` makes, of another host where one ended before it had begun."""
        try:
            for _ in range(TRIES):
                result = self._ask(frame, command, patience, make, on_text, on_stage)
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
                link.give_up()
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
        self._host.close()

    # ---- one question ----

    def _ask(
        self,
        frame: Frame,
        command: Command,
        patience: "_Patience",
        make: "MakeQuestion",
        on_text: OnText,
        on_stage: OnStage,
    ) -> Segmentation | None:
        """Ask the host once; None where it ended before it had begun, so that another may be asked."""
        link = self.open_link(patience.deadline_ns, patience.cancelled)
        call = self._begin(link, frame)
        start_ns = time.monotonic_ns()
        try:
            left_ms = None if patience.deadline_ns is None else (patience.deadline_ns - start_ns) / 1e6
            link.send(make(call.id, call.ring.number_in(call.slot), left_ms))
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
            opening = self._host.phase == "loading" and self._quick_left_s() > 0
            return (opening or self._host.phase in ("ready", "restarting")) and time.monotonic() <= until

        with self._host.changed:
            while True:
                link = self._host.link
                if link is not None:
                    return link
                if not is_worth_waiting():
                    break
                if cancelled():
                    raise RejectedInput(Code.CANCELLED, "cancelled before it was begun; send it again if wanted")
                self._host.changed.wait(POLL_S)
        raise RejectedInput(*(self.not_ready or (Code.LOADING, f"the engines are not open: {self.state().detail}")))

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
                if isinstance(reply, Result) or (reply is None and not begun and not self._host.is_closing):
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
                link.give_up()
                raise RejectedInput(Code.TIMEOUT, "the engine hung and was ended; send it again")


def _hand_on(reply: messages.Message, on_text: OnText, on_stage: OnStage) -> None:
    if isinstance(reply, messages.Text):
        on_text(reply.text)
    elif isinstance(reply, messages.Stage):
        on_stage(Stage(reply.stage))


OnChange = Callable[[HostPipeline, HostState], None]
MakeQuestion = Callable[[int, int, float | None], messages.Message]  # of its id, its picture's number, the time left


def _flat(points: tuple[Point, ...]) -> list[float]:
    return [float(side) for point in points for side in point]


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
