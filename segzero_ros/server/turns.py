"""The turns of HTTP clients at one reasoner: ``FairQueue``, with its refusals as HTTP has them."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.host.fair_queue import FairQueue, NotTaken, Ticket
from segzero_ros.reasoner import Answer, Reasoner, Request
from segzero_ros.server.chat_request import Refusal

RETRY_S = 1
LONGEST_S = 300.0  # for a request whose client gives no deadline
HUNG_NS = 2_500_000_000  # past a deadline or a withdrawal: an engine may take 2 s to close its answer
WATCH_S = 0.25
HUNG = 70  # exit status: an engine did not come back
_log = logging.getLogger(__name__)
OnEnd = Callable[[Answer | Refusal], None]


class Turns(FairQueue):
    """The queue of one reasoner, which it owns."""

    def __init__(self, reasoner: Reasoner, *, most_waiting: int) -> None:
        super().__init__(most_waiting=most_waiting)
        self._reasoner = reasoner

    def ticket(self, client: str, request: Request, on_end: OnEnd, *, peer: str = "") -> Ticket:
        """Return a ticket for ``request``, to be submitted; ``on_end`` gets its end."""

        def work(stopped: Callable[[], bool]) -> Answer:
            return self._reasoner.reason(replace(request, cancelled=stopped))

        def end(result: object) -> None:
            on_end(result if isinstance(result, Answer) else _refusal(result))

        latest_ns = time.monotonic_ns() + int(LONGEST_S * 1e9)
        return Ticket(client, work, end, peer, request.deadline_ns or latest_ns)

    @property
    def late_s(self) -> float:
        """For how long the request at work should have been over, 0 when all is well."""
        running = self.running
        return max(0.0, running.overdue_ns(time.monotonic_ns()) / 1e9) if running is not None else 0.0

    def watch(self, end_process: Callable[[int], object] = os._exit) -> threading.Thread:
        """End requests that wait past their deadline, and the process where an engine does not come back; in a thread.

        A hung engine cannot be had back; whoever started the server (systemd, a container) starts it again.
        """

        def look() -> None:
            while not self.stopping:
                time.sleep(WATCH_S)
                self.expire(time.monotonic_ns())
                running = self.running
                if running is not None and running.overdue_ns(time.monotonic_ns()) > HUNG_NS:
                    _log.error("the engine does not come back; the server ends, to be started again")
                    running.on_end(RejectedInput(Code.TIMEOUT, "the engine hung; the server is started again"))
                    time.sleep(WATCH_S)  # for the last words to the client
                    end_process(HUNG)
                    return

        thread = threading.Thread(target=look, name="segzero-watch", daemon=True)
        thread.start()
        return thread

    def submit(self, ticket: Ticket) -> None:
        """Let ``ticket`` wait for its turn; raises ``Refusal`` 429 or 503."""
        try:
            super().submit(ticket)
        except NotTaken as error:
            raise _refusal(error) from None


def _refusal(error: object) -> Refusal:
    if isinstance(error, NotTaken):
        return Refusal(429 if error.why == "client" else 503, error.detail, wait_s=RETRY_S)
    if isinstance(error, RejectedInput):
        return Refusal(400, error.detail, code=error.code.name)
    return Refusal(500, "the engine failed; see the server's log")
