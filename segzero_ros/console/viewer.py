"""One open page: what waits to be sent to it. A slow one gets fewer pictures, and none waits for another."""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from segzero_ros.console.correct import Correction

MOST_WAITING = 500  # events; a page that takes none of them is closed and has to come again
ON_THEIR_WAY = 2  # pictures that a page has not said to have shown
REPLACED = frozenset({"thinking", "health", "track"})  # of these only the newest counts
SEND_S = 15.0  # for one message: a page that takes nothing for so long is gone


class Viewer:
    """In the server's thread alone."""

    def __init__(self) -> None:
        self._events: deque[tuple[str, str]] = deque()
        self._picture: bytes | None = None
        self._unseen = 0
        self._wake = asyncio.Event()
        self.correction: Correction | None = None
        self.is_lost = False
        self.watches = True

    @property
    def wants_picture(self) -> bool:
        """Whether a picture would be sent now."""
        return self.watches and self._unseen < ON_THEIR_WAY and not self.is_lost

    def tell(self, kind: str, text: str) -> None:
        """Send an event, JSON of type ``kind``; of some kinds it takes the place of one that waits still."""
        key = kind if kind in REPLACED else ""
        if key:
            for index, (waiting, _) in enumerate(self._events):
                if waiting == key:
                    self._events[index] = (key, text)
                    return
        if len(self._events) >= MOST_WAITING:
            self.is_lost = True
        else:
            self._events.append((key, text))
        self._wake.set()

    def tell_values(self, values: dict[str, Any]) -> None:
        """Send an event to this page alone."""
        self.tell(str(values["type"]), json.dumps(values))

    def show(self, picture: bytes) -> None:
        """Send a picture in place of one that waits still."""
        if self.watches:
            self._picture = picture
            self._wake.set()

    def seen(self) -> None:
        """Take note that the page has shown a picture."""
        self._unseen = max(0, self._unseen - 1)
        self._wake.set()

    async def run(
        self, send_text: Callable[[str], Awaitable[None]], send_bytes: Callable[[bytes], Awaitable[None]]
    ) -> None:
        """Send what comes, until the page is lost; TimeoutError where it takes nothing."""
        while not self.is_lost:
            await self._wake.wait()
            self._wake.clear()
            while self._events:
                await asyncio.wait_for(send_text(self._events.popleft()[1]), SEND_S)
            if self._picture is not None and self._unseen < ON_THEIR_WAY:
                picture, self._picture = self._picture, None
                self._unseen += 1
                await asyncio.wait_for(send_bytes(picture), SEND_S)
