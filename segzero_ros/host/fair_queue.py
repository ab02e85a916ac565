"""One thread for the engines, and a round-robin queue: one answer to each peer in turn, and of a peer to each client.

A peer is an address or a connection, which cannot be made up; a client is a name, which can, so names share the turns
of their peer.
Covered: a bounded number of waiting tickets, few per robot, and in a full queue few per peer; one that is withdrawn
leaves at once, or stops at the next token; one whose deadline passes while it waits; an engine that raises. Not
covered: an engine that hangs: ``running`` shows it, and whoever owns the process ends it.
"""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from segzero_ros.errors import Code, RejectedInput

PER_CLIENT = 4  # tickets of one robot that may wait: a node sends one at a time, and may replace it quickly
_log = logging.getLogger(__name__)


class NotTaken(Exception):
    """A ticket that gets no turn: its "client" has too many here, "all" have, or the queue is "stopping"."""

    def __init__(self, why: Literal["client", "all", "stopping"], detail: str) -> None:
        super().__init__(detail)
        self.why, self.detail = why, detail


@dataclass(slots=True, eq=False)
class Ticket:
    """Work for the engines. ``work`` gets what tells whether it is to stop; both functions run in the engines' thread.

    ``on_end`` gets what ``work`` returned or raised, or ``NotTaken`` or ``RejectedInput`` TIMEOUT where it got no turn
    (then in another thread); it is not called for a ticket that was withdrawn while it waited. ``peer``: where it
    came from. ``deadline_ns``: on the monotonic clock. ``started_ns``, ``stopped_ns``: when it was begun and withdrawn.
    """

    client: str
    work: Callable[[Callable[[], bool]], Any]
    on_end: Callable[[Any], None]
    peer: str = ""
    deadline_ns: int | None = None
    started_ns: int = 0
    stopped_ns: int = 0
    withdrawn: threading.Event = field(default_factory=threading.Event)

    def withdraw(self) -> None:
        """Have it stopped, the first time this is called."""
        if not self.withdrawn.is_set():
            self.stopped_ns = time.monotonic_ns()
            self.withdrawn.set()

    def overdue_ns(self, now_ns: int) -> int:
        """Return for how long it should have been over, by its deadline or its withdrawal; negative = not yet."""
        ends = [end for end in (self.deadline_ns, self.stopped_ns or None) if end is not None]
        return now_ns - min(ends) if ends else -1


_Clients = collections.OrderedDict[str, collections.deque[Ticket]]  # of one peer, the next one first


class FairQueue:
    """The queue and the thread that works it off; whatever the tickets' work touches is touched by no other thread."""

    def __init__(self, *, most_waiting: int) -> None:
        self.most_waiting = most_waiting
        self._changed = threading.Condition()
        self._waiting: collections.OrderedDict[str, _Clients] = collections.OrderedDict()
        self._running: Ticket | None = None
        self._stopping = False
        self.answered = 0
        self._thread = threading.Thread(target=self._work, name="segzero-engine", daemon=True)
        self._thread.start()

    def submit(self, ticket: Ticket) -> None:
        """Let ``ticket`` wait; raises ``NotTaken``.

        In a full queue it takes the place of the newest ticket of the peer that has most, where that has more than its
        own would have; that one is not taken then.
        """
        with self._changed:
            if self._stopping:
                raise NotTaken("stopping", "the server stops")
            clients = self._waiting.get(ticket.peer, collections.OrderedDict())
            own = clients.get(ticket.client, ())
            if len(own) >= PER_CLIENT:
                raise NotTaken("client", f"{len(own)} questions of this client wait already; ask later")
            if self.waiting >= self.most_waiting:
                self._make_room(ticket.peer)
            clients = self._waiting.setdefault(ticket.peer, collections.OrderedDict())
            clients.setdefault(ticket.client, collections.deque()).append(ticket)
            self._changed.notify()

    def _make_room(self, peer: str) -> None:
        counts = {other: sum(map(len, clients.values())) for other, clients in self._waiting.items()}
        most = max(counts, key=lambda other: counts[other])
        refusal = NotTaken("all", f"{self.waiting} questions wait already; ask later")
        if counts[most] <= counts.get(peer, 0) + 1:
            raise refusal
        newest = next(reversed(self._waiting[most].values()))[-1]
        self._remove(newest)
        newest.on_end(refusal)

    def withdraw(self, ticket: Ticket) -> bool:
        """Forget ``ticket`` if it waits (True), stop it at the next token if it is at work."""
        ticket.withdraw()
        with self._changed:
            return self._remove(ticket)

    def _remove(self, ticket: Ticket) -> bool:
        clients = self._waiting.get(ticket.peer, collections.OrderedDict())
        own = clients.get(ticket.client, collections.deque())
        if ticket not in own:
            return False
        own.remove(ticket)
        if not own:
            del clients[ticket.client]
        if not clients:
            del self._waiting[ticket.peer]
        return True

    def expire(self, now_ns: int) -> None:
        """End the tickets whose deadline has passed while another was at work with TIMEOUT; call it now and then.

        Where nobody is at work the next one has its turn already, however late it came.
        """
        with self._changed:
            if self._running is None:
                return
            late = [one for one in self._all() if one.deadline_ns is not None and now_ns > one.deadline_ns]
            late = [ticket for ticket in late if self._remove(ticket)]
        for ticket in late:
            ticket.on_end(RejectedInput(Code.TIMEOUT, "got no turn before the deadline; allow more time"))

    def stop(self, timeout_s: float = 2.0) -> bool:
        """Withdraw everything and end the thread; False if the engine does not come back."""
        with self._changed:
            self._stopping = True
            for ticket in self._all():
                ticket.on_end(NotTaken("stopping", "the server stops"))
            self._waiting.clear()
            if self._running is not None:
                self._running.withdraw()
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _all(self) -> list[Ticket]:
        return [one for clients in self._waiting.values() for own in clients.values() for one in own]

    @property
    def stopping(self) -> bool:
        """Whether ``stop`` was called."""
        return self._stopping

    @property
    def waiting(self) -> int:
        """How many tickets wait."""
        with self._changed:
            return len(self._all())

    @property
    def running(self) -> Ticket | None:
        """The ticket at work."""
        return self._running

    @property
    def running_s(self) -> float:
        """For how long the present ticket has been at work, 0 when there is none."""
        running = self._running
        return (time.monotonic_ns() - running.started_ns) / 1e9 if running is not None else 0.0

    # ---- the thread ----

    def _work(self) -> None:
        while (ticket := self._next()) is not None:
            try:
                ticket.on_end(self._answer(ticket))
            except Exception:  # noqa: BLE001 - the next ticket gets its turn all the same
                _log.exception("an answer could not be handed over")

    def _next(self) -> Ticket | None:
        """Wait for the next ticket; a peer, and of its clients the one, that has more goes to the end of the line."""
        with self._changed:
            self._running = None
            while not self._waiting and not self._stopping:
                self._changed.wait()
            if self._stopping:
                return None
            peer, clients = self._waiting.popitem(last=False)
            client, own = clients.popitem(last=False)
            ticket = own.popleft()
            if own:
                clients[client] = own
            if clients:
                self._waiting[peer] = clients
            ticket.started_ns = time.monotonic_ns()
            self._running = ticket
            return ticket

    def _answer(self, ticket: Ticket) -> Any:
        try:
            answer = ticket.work(ticket.withdrawn.is_set)
        except RejectedInput as error:
            return error
        except BaseException as error:  # noqa: BLE001 - whatever an engine raises
            _log.exception("the engine raised")
            return error
        self.answered += 1
        return answer
