"""What one peer address may have of `segzero serve`: connections, time without a request, bytes of bodies.

Covered: connections that say nothing, headers and bodies sent by the byte, many large bodies at once; an address that
does any of this keeps no other from being answered, and what it left unsaid makes way for its own next request. Not
covered: many addresses at once, and TLS handshakes left half done (asyncio ends them after a minute).
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from segzero_ros.server.chat_request import Refusal

MOST_CONNECTIONS = 256  # in all; a process may usually open 1024 files
MOST_OF_ONE = 64  # of one address: robots behind a tunnel share theirs
HEADER_S = 10.0  # from the connection, or the answer before, to the whole header of a request
MAX_BODIES_BYTES = 48 << 20  # of all bodies that are being received and read; each costs about four times its bytes
MAX_BODIES_BYTES_OF_ONE = 24 << 20  # of one address: two of the largest
ROOM_S = 10.0  # for a body to wait until there is room
RETRY_S = 1

NOTHING, BODY, ANSWER = range(3)  # what a connection is at: no request yet, sending its body, waiting for the answer


class PeerProtocol(H11Protocol):
    """uvicorn's connection; a new one beyond the limits takes the place of the oldest that has not asked anything."""

    def connection_made(self, transport: Any) -> None:
        """Begin; see asyncio."""
        super().connection_made(transport)
        self.peer = str(self.client[0]) if self.client else ""
        self._timer: asyncio.TimerHandle | None = None
        self._expect_request()
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """End; see asyncio."""
        self._expect_nothing()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next request; called by uvicorn."""
        self._expect_request()
        super().on_response_complete()

    @property
    def state(self) -> int:
        """NOTHING, BODY or ANSWER."""
        if self.cycle is None or self.cycle.response_complete:
            return NOTHING
        return BODY if self.cycle.more_body else ANSWER

    def _expect_request(self) -> None:
        self._expect_nothing()
        self.since = self.loop.time()
        self._timer = self.loop.call_later(HEADER_S, self._end_if_late)

    def _expect_nothing(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _end_if_late(self) -> None:
        if self.state == NOTHING:
            self.transport.abort()

    def _make_room(self) -> None:
        others = [other for other in self.connections if isinstance(other, PeerProtocol) and other is not self]
        counts = collections.Counter(other.peer for other in others)
        if counts[self.peer] >= MOST_OF_ONE:
            peer = self.peer
        elif len(others) >= MOST_CONNECTIONS:
            peer = counts.most_common(1)[0][0]
        else:
            return
        unasked = [other for other in others if other.peer == peer and other.state != ANSWER]
        victim = min(unasked, key=lambda other: (other.state, other.since), default=self)
        victim.connections.discard(victim)
        victim.transport.abort()


class BodyRoom:
    """Room for the bodies of requests, in all and for each peer; a body waits for it. Used in the event loop only."""

    def __init__(self, most: int = MAX_BODIES_BYTES, of_one: int = MAX_BODIES_BYTES_OF_ONE) -> None:
        self._most, self._of_one = most, of_one
        self._held: collections.Counter[str] = collections.Counter()
        self._waiters: list[asyncio.Future[None]] = []

    @contextlib.asynccontextmanager
    async def hold(self, peer: str, size: int, patience_s: float = ROOM_S) -> AsyncIterator[None]:
        """Hold ``size`` bytes for ``peer`` in this context; raises ``Refusal`` 503 where there is no room in time."""
        await self._wait(peer, size, patience_s)
        self._held[peer] += size
        try:
            yield
        finally:
            self._held[peer] -= size
            self._held += collections.Counter()  # forgets peers that hold nothing
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def _wait(self, peer: str, size: int, patience_s: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + patience_s
        while self._held[peer] + size > self._of_one or self._held.total() + size > self._most:
            if loop.time() >= until:
                raise Refusal(503, "too many large requests at once; ask later", wait_s=RETRY_S)
            waiter = loop.create_future()
            self._waiters.append(waiter)
            await asyncio.wait([waiter], timeout=until - loop.time())
