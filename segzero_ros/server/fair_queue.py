"""One thread for the engine, and a round-robin queue: one answer to each peer in turn, and of a peer to each client.

A peer is an address, which cannot be made up; a client is a name, which can, so names share the turns of their address.
Covered: a bounded number of waiting requests, few per robot, and in a full queue few per address; one that is
withdrawn leaves at once, or stops at the next token; an engine that raises. Not covered: an engine that hangs
(``running_s`` grows; /health shows it).
"""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from segzero_ros.errors import RejectedInput
from segzero_ros.reasoner import Answer, Reasoner, Request
from segzero_ros.server.chat_request import Refusal

PER_CLIENT = 4  # requests of one robot that may wait: a node sends one at a time, and may replace it quickly
RETRY_S = 1
_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Ticket:
    """A client's request; its ``on_text`` and ``on_end`` are called in the engine's thread.

    ``on_end`` gets the answer, or the ``Refusal`` that there is none; not called for a ticket that was withdrawn
    while it waited. ``peer``: the address it came from.
    """

    client: str
    request: Request
    on_end: Callable[[Answer | Refusal], None]
    withdrawn: threading.Event = field(default_factory=threading.Event)
    peer: str = ""


_Clients = collections.OrderedDict[str, collections.deque[Ticket]]  # of one peer, the next one first


class FairQueue:
    """The queue and the thread that works it off; owns the reasoner."""

    def __init__(self, reasoner: Reasoner, *, most_waiting: int) -> None:
        self._reasoner, self._most = reasoner, most_waiting
        self._changed = threading.Condition()
        self._waiting: collections.OrderedDict[str, _Clients] = collections.OrderedDict()
        self._running: Ticket | None = None
        self._since = 0.0
        self._stopping = False
        self.answered = 0
        self._thread = threading.Thread(target=self._work, name="segzero-engine", daemon=True)
        self._thread.start()

    def submit(self, ticket: Ticket) -> None:
        """Let ``ticket`` wait; raises ``Refusal`` 429 (this robot has too many here) or 503 (everybody has).

        In a full queue it takes the place of the newest ticket of the peer that has most, where that has more than its
        own would have; that one is refused then.
        """
        with self._changed:
            if self._stopping:
                raise Refusal(503, "the server stops", wait_s=RETRY_S)
            clients = self._waiting.get(ticket.peer, collections.OrderedDict())
            own = clients.get(ticket.client, ())
            if len(own) >= PER_CLIENT:
                raise Refusal(429, f"{len(own)} questions of this client wait already; ask later", wait_s=RETRY_S)
            if self.waiting >= self._most:
                self._make_room(ticket.peer)
            clients = self._waiting.setdefault(ticket.peer, collections.OrderedDict())
            clients.setdefault(ticket.client, collections.deque()).append(ticket)
            self._changed.notify()

    def _make_room(self, peer: str) -> None:
        counts = {other: sum(map(len, clients.values())) for other, clients in self._waiting.items()}
        most = max(counts, key=lambda other: counts[other])
        refusal = Refusal(503, f"{self.waiting} questions wait already; ask later", wait_s=RETRY_S)
        if counts[most] <= counts.get(peer, 0) + 1:
            raise refusal
        newest = next(reversed(self._waiting[most].values()))[-1]
        self._remove(newest)
        newest.on_end(refusal)

    def withdraw(self, ticket: Ticket) -> None:
        """Forget ``ticket`` if it waits, stop it at the next token if it is at work."""
        ticket.withdrawn.set()
        with self._changed:
            self._remove(ticket)

    def _remove(self, ticket: Ticket) -> None:
        clients = self._waiting.get(ticket.peer, collections.OrderedDict())
        own = clients.get(ticket.client, collections.deque())
        if ticket in own:
            own.remove(ticket)
            if not own:
                del clients[ticket.client]
            if not clients:
                del self._waiting[ticket.peer]

    def stop(self, timeout_s: float = 2.0) -> bool:
        """Withdraw everything and end the thread; False if the engine does not come back."""
        with self._changed:
            self._stopping = True
            for ticket in [one for clients in self._waiting.values() for own in clients.values() for one in own]:
                ticket.on_end(Refusal(503, "the server stops", wait_s=RETRY_S))
            self._waiting.clear()
            if self._running is not None:
                self._running.withdrawn.set()
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        with self._changed:
            return sum(len(own) for clients in self._waiting.values() for own in clients.values())

    @property
    def running_s(self) -> float:
        """For how long the present request has been at work, 0 when there is none."""
        return time.monotonic() - self._since if self._running is not None else 0.0

    # ---- the thread ----

    def _work(self) -> None:
        while (ticket := self._next()) is not None:
            ticket.on_end(self._answer(ticket))

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
            self._running, self._since = ticket, time.monotonic()
            return ticket

    def _answer(self, ticket: Ticket) -> Answer | Refusal:
        try:
            answer = self._reasoner.reason(replace(ticket.request, cancelled=ticket.withdrawn.is_set))
        except RejectedInput as error:
            return Refusal(400, error.detail, code=error.code.name)
        except Exception:  # noqa: BLE001 - whatever an engine raises; the next ticket is served all the same
            _log.exception("the engine raised")
            return Refusal(500, "the engine failed; see the server's log")
        self.answered += 1
        return answer
