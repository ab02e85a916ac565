"""Slow work beside the executor of which only the newest is wanted: pictures for people."""

import threading
from collections.abc import Callable


class NewestCall:
    """Runs calls one at a time in a thread of its own; one may wait, and a newer one takes its place.

    The thread starts with the first call. What a call raises goes to ``on_error``, in that thread.
    """

    def __init__(self, name: str, on_error: Callable[[Exception], None]) -> None:
        self._name = name
        self._on_error = on_error
        self._changed = threading.Condition()
        self._waiting: Callable[[], None] | None = None
        self._thread: threading.Thread | None = None
        self._open = True

    def submit(self, call: Callable[[], None]) -> None:
        """Have ``call`` run as soon as the one at work is done, unless a newer one comes; never waits."""
        with self._changed:
            if not self._open:
                return
            self._waiting = call
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def close(self, timeout_s: float) -> None:
        """Drop what waits, and give what is at work ``timeout_s`` to end."""
        with self._changed:
            self._open, self._waiting = False, None
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _work(self) -> None:
        while (call := self._next()) is not None:
            try:
                call()
            except Exception as error:  # noqa: BLE001 - one bad picture must not end the thread
                self._on_error(error)

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while self._waiting is None and self._open:
                self._changed.wait()
            call, self._waiting = self._waiting, None
            return call
