"""The turns of HTTP clients at one reasoner: ``FairQueue``, with its refusals as HTTP has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from segzero_ros.errors import RejectedInput
from segzero_ros.host.fair_queue import FairQueue, NotTaken, Ticket
from segzero_ros.reasoner import Answer, Reasoner, Request
from segzero_ros.server.chat_request import Refusal

RETRY_S = 1
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

        return Ticket(client, work, end, peer, request.deadline_ns)

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
