"""Slow work that may be given up: engines take seconds to minutes to open, and Ctrl-C must not wait for them."""

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.05  # how often ``stopping`` is polled; the work's own end is noticed at once


class Cancelled(Exception):
    """The work was given up; its thread goes on alone until its call returns."""


def run_cancellable(work: Callable[[], T], stopping: threading.Event) -> T:
    """Return what ``work()`` returns or raise what it raises; ``Cancelled`` as soon as ``stopping`` is set."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            errors.append(error)

    thread = threading.Thread(target=run, name="segzero-loader", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_POLL_S)
        if stopping.is_set():
            raise Cancelled
    if errors:
        raise errors[0]
    return results[0]
