"""From the engine's thread to the event loop: many pieces of text, few wake-ups."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from segzero_ros.reasoner import Answer
from segzero_ros.server.chat_request import Refusal


class StreamBuffer:
    """Texts in order and then one end; made and filled in any thread, emptied in the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._texts: list[str] = []
        self._end: Answer | Refusal | None = None
        self._woken = False
        self._changed, self._over = asyncio.Event(), asyncio.Event()
        self.gone = False  # nobody will read any more

    def put_text(self, text: str) -> None:
        """Add a piece."""
        with self._lock:
            self._texts.append(text)
            woken, self._woken = self._woken, True
        if not woken:
            self._loop.call_soon_threadsafe(self._changed.set)

    def put_end(self, end: Answer | Refusal) -> None:
        """Add the end."""
        with self._lock:
            self._end = end
        self._loop.call_soon_threadsafe(self._wake)

    def put_gone(self) -> None:
        """Note that the client is gone; called in the loop."""
        self.gone = True
        self._wake()

    async def take(self, wait_s: float) -> tuple[str, Answer | Refusal | None]:
        """Return the text that has come, and the end if it has; ("", None) after ``wait_s`` without either."""
        until = self._loop.time() + wait_s
        while True:
            with self._lock:
                texts, self._texts, self._woken = self._texts, [], False
                self._changed.clear()
            left = until - self._loop.time()
            if texts or self._end or self.gone or left <= 0:
                return "".join(texts), self._end
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)

    async def pause(self, wait_s: float) -> None:
        """Wait so long, so that pieces gather, but not past the end."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._over.wait(), wait_s)

    def _wake(self) -> None:
        self._changed.set()
        self._over.set()
