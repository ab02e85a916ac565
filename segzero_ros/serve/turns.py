"""One thread for the engine, and whose turn it is: robots take turns, however many questions each of them has.

Covered: a bounded number of waiting questions, few per robot; one that is withdrawn leaves at once, or stops at the
next token; an engine that raises. Not covered: an engine that hangs (``running_s`` grows; /health shows it).
"""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from segzero_ros.command import Command
from segzero_ros.errors import RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.reasoner import Answer, Reasoner
from segzero_ros.serve.question import Refusal

PER_CLIENT = 4  # questions of one robot that may wait: a node sends one at a time, and may replace it quickly
RETRY_S = 1
_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Turn:
    """A question with its picture; ``on_text`` and ``on_end`` are called in the engine's thread.

    ``on_end`` gets the answer, or the ``Refusal`` that there is none; not called for a turn that was withdrawn while it
    waited.
    """

    client: str
    frame: Frame
    command: Command
    budget: int
    deadline_ns: int | None
    on_text: Callable[[str], None]
    on_end: Callable[[Answer | Refusal], None]
    withdrawn: threading.Event = field(default_factory=threading.Event)


class Turns:
    """The queue and the thread that works it off; owns the reasoner."""

    def __init__(self, reasoner: Reasoner, *, most_waiting: int) -> None:
        self._reasoner, self._most = reasoner, most_waiting
        self._changed = threading.Condition()
        self._waiting: collections.OrderedDict[str, collections.deque[Turn]] = collections.OrderedDict()
        self._running: Turn | None = None
        self._since = 0.0
        self._stopping = False
        self.answered = 0
        self._thread = threading.Thread(target=self._work, name="segzero-engine", daemon=True)
        self._thread.start()

    def take(self, turn: Turn) -> None:
        """Let ``turn`` wait; raises ``Refusal`` 429 (this robot has too many here) or 503 (everybody has)."""
        with self._changed:
            if self._stopping:
                raise Refusal(503, "the server stops", wait_s=RETRY_S)
            if self.waiting >= self._most:
                raise Refusal(503, f"{self.waiting} questions wait already; ask later", wait_s=RETRY_S)
            own = self._waiting.setdefault(turn.client, collections.deque())
            if len(own) >= PER_CLIENT:
                raise Refusal(429, f"{len(own)} questions of this client wait already; ask later", wait_s=RETRY_S)
            own.append(turn)
            self._changed.notify()

    def withdraw(self, turn: Turn) -> None:
        """Forget ``turn`` if it waits, stop it at the next token if it is at work."""
        turn.withdrawn.set()
        with self._changed:
            own = self._waiting.get(turn.client)
            if own is not None and turn in own:
                own.remove(turn)
                if not own:
                    del self._waiting[turn.client]

    def stop(self, timeout_s: float = 2.0) -> bool:
        """Withdraw everything and end the thread; False if the engine does not come back."""
        with self._changed:
            self._stopping = True
            for own in self._waiting.values():
                for turn in own:
                    turn.on_end(Refusal(503, "the server stops", wait_s=RETRY_S))
            self._waiting.clear()
            if self._running is not None:
                self._running.withdrawn.set()
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """How many questions wait."""
        return sum(map(len, self._waiting.values()))

    @property
    def running_s(self) -> float:
        """For how long the present question has been at work, 0 when there is none."""
        return time.monotonic() - self._since if self._running is not None else 0.0

    # ---- the thread ----

    def _work(self) -> None:
        while (turn := self._next()) is not None:
            turn.on_end(self._answer(turn))

    def _next(self) -> Turn | None:
        """Wait for the client whose turn it is; whoever has more goes to the end of the line."""
        with self._changed:
            self._running = None
            while not self._waiting and not self._stopping:
                self._changed.wait()
            if self._stopping:
                return None
            client, own = self._waiting.popitem(last=False)
            turn = own.popleft()
            if own:
                self._waiting[client] = own
            self._running, self._since = turn, time.monotonic()
            return turn

    def _answer(self, turn: Turn) -> Answer | Refusal:
        try:
            answer = self._reasoner.reason(
                turn.frame,
                turn.command,
                budget=turn.budget,
                deadline_ns=turn.deadline_ns,
                cancelled=turn.withdrawn.is_set,
                on_text=turn.on_text,
            )
        except RejectedInput as error:
            return Refusal(400, error.detail, code=error.code.name)
        except Exception:  # noqa: BLE001 - whatever an engine raises; the next question gets its turn
            _log.exception("the engine raised")
            return Refusal(500, "the engine failed; see the server's log")
        self.answered += 1
        return answer
