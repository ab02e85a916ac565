"""HTTP clients' questions at a host's reasoner: many at once, each with its own picture; one end each.

The queue and its fairness are the host's (``host/fair_queue.py``); here is what outlives a host. Covered: one that
crashes (the question at work ends with 500, those that waited are asked again of the next one), hangs (ended
GIVE_UP_S after the question's end was due), or does not move at all (those that wait end at their own deadlines). Not
covered: a question that crashes every host; it is asked once, and its client may ask again.
"""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from segzero_ros.errors import Code, clean_text
from segzero_ros.frame import Frame
from segzero_ros.host import messages
from segzero_ros.host.link import Call, Link
from segzero_ros.host.messages import Answered, Message, Refused, Stage, Text
from segzero_ros.host.pixels import NoRoom
from segzero_ros.host.process import Started
from segzero_ros.host.supervisor import HostState, Supervisor
from segzero_ros.reasoner import Answer, ignore
from segzero_ros.server.chat_request import Refusal

RETRY_S = 1
LOADING_RETRY_S = 2
LONGEST_S = 300.0  # for a question whose client gives no deadline
RESTART_WAIT_S = 10.0  # for which a question waits while crashed engines open again
WATCH_S = 0.25
WAIT_GRACE_S = 0.3  # past its deadline, for a question that waits: the host itself ends it at the next quarter second
GIVE_UP_S = 2.8  # past its end, for one at work: an engine may take 2 s to close its answer, the host says so after 2.5
SILENT_S = 5.0  # without a word from a host that is asked each second
TRIES = 3  # of a question that no host has begun
SPARE_SLOTS = 4  # for pictures beside those that wait: at work, on their way, refused
_NS = 1_000_000_000
_log = logging.getLogger(__name__)


def _nothing(_text: str, _pieces: int) -> None:
    """Take no notice."""


@dataclass(slots=True, eq=False)
class Question:
    """A rendered question on a picture.

    ``client``, ``peer``: whose turn it is. ``budget``: thinking tokens. ``on_text`` gets what is said and how many
    pieces of the engine that is, ``on_end`` the end, both in another thread; a withdrawn question may get none.
    ``most_pieces``, ``stops``: what ends the answer early. ``started_ns``, ``stopped_ns``: when it was begun and
    withdrawn, on the monotonic clock like ``deadline_ns``; 0 = not. The rest is for ``Turns``.
    """

    frame: Frame
    text: str
    budget: int
    on_end: Callable[[Answer | Refusal], object]
    on_text: Callable[[str, int], object] = _nothing
    id: str = ""
    client: str = ""
    peer: str = ""
    deadline_ns: int | None = None
    most_pieces: int | None = None
    stops: tuple[str, ...] = ()
    started_ns: int = 0
    stopped_ns: int = 0
    number: int = 0
    tries: int = 0
    since_ns: int = 0
    link: Link | None = None
    call: Call | None = None
    ended: bool = False
    texts: list[str] = field(default_factory=list)

    def overdue_ns(self, now_ns: int) -> int:
        """Return for how long it should have been over, by its deadline or its withdrawal; negative = not yet."""
        ends = [end for end in (self.deadline_ns, self.stopped_ns or None) if end is not None]
        return now_ns - min(ends) if ends else -1


class Turns:
    """The engines' process and the questions on their way to it; ``submit`` sends, ``withdraw`` never waits."""

    def __init__(
        self,
        start: Callable[[], Started],
        wanted: messages.Open,
        *,
        on_change: Callable[[HostState], object] = ignore,
    ) -> None:
        """``start`` and ``wanted``: see ``Supervisor``. ``on_change`` gets each new state, in its thread."""
        self._on_change = on_change
        self._changed = threading.Condition()
        self._unsent: collections.deque[Question] = collections.deque()
        self._sent: dict[Question, None] = {}
        self._lost: list[Question] = []
        self._cancels: list[Question] = []
        self._full = self._stopping = False
        self._count = 0
        self.answered = 0
        slots = wanted.most_waiting + SPARE_SLOTS
        self._host = Supervisor(start, wanted, name="segzero serve", on_change=self._note, slots=slots)
        self._thread = threading.Thread(target=self._work, name="segzero-turns", daemon=True)
        self._thread.start()
        self._host.start()

    def submit(self, question: Question) -> None:
        """Let ``question`` wait for its turn; raises ``Refusal`` 503 where there are no engines."""
        now = time.monotonic_ns()
        phase = self._host.phase
        if phase not in ("ready", "restarting"):
            raise _no_engines(self._host.state())
        with self._changed:
            if self._stopping:
                raise _stops()
            self._count += 1
            question.number, question.since_ns = self._count, now
            if question.deadline_ns is None:
                question.deadline_ns = now + int(LONGEST_S * _NS)
            is_first = not self._unsent
            self._unsent.append(question)
        if is_first:
            self._send_next()
        else:
            with self._changed:
                self._changed.notify()

    def withdraw(self, question: Question) -> None:
        """Forget ``question`` if it waits, stop it at the next token if it is at work; nothing where it has ended."""
        with self._changed:
            if question.ended or question.stopped_ns:
                return
            question.stopped_ns = time.monotonic_ns()
            self._cancels.append(question)
            self._changed.notify()

    def stop(self) -> None:
        """End every question, and the engines' process."""
        with self._changed:
            self._stopping = True
            left = [*self._unsent, *self._sent]
            self._changed.notify()
        for question in left:
            self._end(question, _stops())
        self._host.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(WATCH_S)

    def state(self) -> HostState:
        """Return where the engines are."""
        return self._host.state()

    @property
    def waiting(self) -> int:
        """How many questions wait."""
        with self._changed:
            return sum(not one.started_ns and not one.stopped_ns for one in (*self._unsent, *self._sent))

    @property
    def running(self) -> Question | None:
        """The question at work."""
        with self._changed:
            return next((one for one in self._sent if one.started_ns), None)

    @property
    def running_s(self) -> float:
        """For how long the present question has been at work, 0 when there is none."""
        running = self.running
        return (time.monotonic_ns() - running.started_ns) / _NS if running is not None else 0.0

    @property
    def late_s(self) -> float:
        """For how long the question at work should have been over, or the host has said nothing; 0 when all is well."""
        running, link = self.running, self._host.link
        overdue_s = running.overdue_ns(time.monotonic_ns()) / _NS if running is not None else 0.0
        silent_s = time.monotonic() - link.heard_s if link is not None else 0.0
        return max(0.0, overdue_s, silent_s if silent_s > SILENT_S else 0.0)

    # ---- what the host says, in the thread that listens to it ----

    def hear(self, question: Question, reply: Message | None) -> None:
        """Take an answer of the host to ``question``."""
        if isinstance(reply, Text):
            question.texts.append(reply.text)
            question.on_text(reply.text, reply.pieces)
        elif isinstance(reply, Stage):
            question.started_ns = time.monotonic_ns()
        elif isinstance(reply, Answered):
            with self._changed:
                self.answered += 1
            self._end(question, _answer(reply, "".join(question.texts)))
        elif isinstance(reply, Refused):
            self._end(question, _refusal(reply))
        elif reply is None:
            with self._changed:
                self._lost.append(question)
                self._changed.notify()

    def _end(self, question: Question, end: Answer | Refusal) -> None:
        """Give ``question`` its end, once."""
        if self._forget(question):
            try:
                question.on_end(end)
            except RuntimeError:  # the event loop of whoever waited is closed
                _log.info("nobody waits for an answer any more")

    def _forget(self, question: Question) -> bool:
        with self._changed:
            if question.ended:
                return False
            question.ended = True
            self._sent.pop(question, None)
            if question in self._unsent:
                self._unsent.remove(question)
            link, call = question.link, question.call
            # Whoever asked holds the question, and it them: pictures and shared memory do not wait for the collector.
            question.link, question.call, question.on_text = None, None, _nothing
            self._full = False
            self._changed.notify()
        if link is not None and call is not None:
            link.end(call)
        return True

    def _note(self, state: HostState) -> None:
        with self._changed:
            self._changed.notify()
        self._on_change(state)

    # ---- the thread that asks ----

    def _work(self) -> None:
        due = 0.0
        while not self._stopping:
            with self._changed:
                self._changed.wait_for(self._has_work, WATCH_S)
                cancels, self._cancels = self._cancels, []
                lost, self._lost = self._lost, []
            for question in cancels:
                self._cancel(question)
            for question in lost:
                self._lose(question)
            self._send_next()
            if time.monotonic() >= due:
                due = time.monotonic() + WATCH_S
                self._look()

    def _has_work(self) -> bool:
        can_send = bool(self._unsent) and not self._full and self._host.link is not None
        return bool(self._stopping or self._cancels or self._lost or can_send)

    def _send_next(self) -> None:
        link = self._host.link
        with self._changed:
            if link is None or not self._unsent or self._stopping:
                return
            question = self._unsent.popleft()
            question.link, question.tries = link, question.tries + 1
            self._sent[question] = None
        try:
            call = link.begin(question.frame, _Replies(self, question))
        except NoRoom:
            with self._changed:
                self._sent.pop(question, None)
                self._unsent.appendleft(question)
                self._full = True
            return
        with self._changed:
            gone = question.ended
            question.call = None if gone else call
        if gone:
            link.end(call)
            return
        link.send(_ask(question, call))
        if question.stopped_ns:  # its Cancel may have gone before it
            link.send(messages.Cancel(call.id))

    def _cancel(self, question: Question) -> None:
        with self._changed:
            link, call, waits_here = question.link, question.call, question in self._unsent
        if waits_here:
            self._forget(question)
        elif link is not None and call is not None:
            link.send(messages.Cancel(call.id))

    def _lose(self, question: Question) -> None:
        """Ask a question of the next host where it was not begun; else that was its end."""
        with self._changed:
            link, call, question.call = question.link, question.call, None
            self._sent.pop(question, None)
            again = not (question.ended or question.started_ns or question.stopped_ns or question.tries >= TRIES)
            if again:
                question.since_ns = time.monotonic_ns()
                self._unsent = collections.deque(sorted([*self._unsent, question], key=lambda one: one.number))
                self._full = False
        if link is not None and call is not None:
            link.end(call)
        if link is not None and not (again or question.ended):
            self._end(question, _died(question, link))

    def _look(self) -> None:
        """End what waits for too long, and a host that does not come back."""
        now = time.monotonic_ns()
        with self._changed:
            open_questions = [*self._unsent, *self._sent]
            unsent = set(self._unsent)
        is_away = self._host.link is None
        for question in open_questions:
            link = question.link
            overdue_s = question.overdue_ns(now) / _NS
            if question.started_ns and overdue_s > GIVE_UP_S and link is not None:
                _log.error("the engine does not come back; its process is ended, to be started again")
                link.give_up()
            elif not question.started_ns and overdue_s > WAIT_GRACE_S:
                self._end(question, _no_turn())
            elif is_away and question in unsent and now - question.since_ns > RESTART_WAIT_S * _NS:
                self._end(question, _no_engines(self._host.state()))


class _Replies:
    """Hands the host's answers to one question on."""

    def __init__(self, turns: Turns, question: Question) -> None:
        self._turns, self._question = turns, question

    def put(self, reply: Message | None) -> None:
        """Take the next one."""
        self._turns.hear(self._question, reply)


def _ask(question: Question, call: Call) -> messages.Ask:
    left_ms = None if question.deadline_ns is None else (question.deadline_ns - time.monotonic_ns()) / 1e6
    return messages.Ask(
        id=call.id,
        picture=call.ring.number_in(call.slot),
        client=clean_text(question.client),
        peer=question.peer,
        command_id=question.id,
        text=question.text,
        budget=question.budget,
        most_pieces=question.most_pieces,
        stops=[clean_text(stop) for stop in question.stops],
        timeout_ms=left_ms,
    )


def _answer(end: Answered, text: str) -> Answer:
    return Answer(text, end.tokens, end.confidence, end.timings_ms, end.finish, end.steps)  # type: ignore[arg-type]


def _refusal(end: Refused) -> Refusal:
    code = Code(end.code)
    if end.why in ("queue", "client", "stopping"):
        return Refusal(429 if end.why == "client" else 503, end.detail, wait_s=RETRY_S)
    if code is Code.TIMEOUT:
        return Refusal(504, end.detail, code=code.name)
    if end.why == "question":
        return Refusal(400, end.detail, code=code.name)
    _log.error("the engine failed: %s", end.detail)
    return Refusal(500, "the engine failed; see the server's log", code=code.name)


def _died(question: Question, link: Link) -> Refusal:
    how = link.started.how_it_ended()
    if question.overdue_ns(time.monotonic_ns()) >= 0:
        return Refusal(504, "the engine hung and was ended; ask again", code=Code.TIMEOUT.name)
    return Refusal(500, f"the engine's process {how}; ask again", code=Code.REASONER_DIED.name)


def _no_turn() -> Refusal:
    return Refusal(504, "got no turn before the deadline; allow more time", code=Code.TIMEOUT.name)


def _no_engines(state: HostState) -> Refusal:
    opening = "opened again" if state.restarts else "opened"
    detail = f"the engines are being {opening} ({state.detail}); ask later"
    return Refusal(503, detail, wait_s=LOADING_RETRY_S, code=Code.LOADING.name)


def _stops() -> Refusal:
    return Refusal(503, "the server stops", wait_s=RETRY_S)
