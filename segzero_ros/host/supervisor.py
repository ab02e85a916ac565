"""Keeps a host's process alive: starts it, listens to it, watches it, and starts it again, with growing pauses.

Whoever asks the engines asks through ``Supervisor.link``. A process that crashes is started again at once, then with
growing pauses where its lives answer nothing; one that says nothing for SILENCE_S is ended first. What cannot be opened
the first time is not tried again, but for somebody else's host that is not there yet.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.host import messages
from segzero_ros.host.link import HELLO_S, Link
from segzero_ros.host.messages import Opened
from segzero_ros.host.process import LEAVE_S, Started
from segzero_ros.reasoner import ignore

CLOSE_S = 1.5  # for our own process to be gone
PING_S = 1.0
SILENCE_S = 20.0  # without a word from open engines: nothing in that process moves
PAUSES_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # before the n-th restart after a life that answered nothing
_log = logging.getLogger(__name__)

Phase = Literal["loading", "ready", "restarting", "failed", "closed"]


@dataclass(frozen=True, slots=True)
class HostState:
    """Where the engines are. ``detail``: what is loading, why they failed or had to be started again.

    ``seconds``: for how long it has been so. ``restarts``: since the node was configured. ``pid``: of our own process.
    """

    phase: Phase
    detail: str
    seconds: float
    restarts: int
    opened: Opened | None
    fault: RejectedInput | None
    pid: int


class Supervisor:
    """One host after the other; everything but ``start`` may be called from any thread.

    ``changed``: guards what is here, and is notified at each new phase.
    """

    def __init__(
        self,
        start: Callable[[], Started],
        wanted: messages.Open | None,
        *,
        name: str,
        on_change: Callable[[HostState], None] = ignore,
        slots: int | None = None,
    ) -> None:
        """``start``: starts or finds a host. ``wanted``: the engines to open; None: it opens what it likes.

        ``name``: for the host's log. ``on_change`` gets each new state, in the supervisor's thread. ``slots``: see
        ``Link``.
        """
        self._start, self._wanted, self._name, self._slots = start, wanted, name, slots
        self._on_change = on_change
        self.changed = threading.Condition()
        self._link: Link | None = None  # whose engines are open
        self._current: Link | None = None
        self._phase: Phase = "loading"
        self._detail, self._since_s = "starting", time.monotonic()
        self._restarts = 0
        self._fault: RejectedInput | None = None
        self._opened: Opened | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="segzero-host", daemon=True)

    def start(self) -> None:
        """Start the first host, in a thread of its own."""
        self._thread.start()

    @property
    def phase(self) -> Phase:
        """Where the engines are, in a word."""
        return self._phase

    @property
    def link(self) -> Link | None:
        """The connection to open engines, None while there are none."""
        link = self._link
        return link if link is not None and not link.ended else None

    @property
    def is_closing(self) -> bool:
        """Whether ``close`` was called."""
        return self._closing.is_set()

    def state(self) -> HostState:
        """Return where the engines are."""
        with self.changed:
            process = self._current.started.process if self._current is not None else None
            pid = process.pid if process is not None else 0
            seconds = time.monotonic() - self._since_s
            return HostState(self._phase, self._detail, seconds, self._restarts, self._opened, self._fault, pid)

    def close(self) -> None:
        """End the host where it is ours, and every question with it."""
        self._closing.set()
        self._set("closed", "the node has closed it")
        current = self._current
        if current is not None:
            current.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_S)

    # ---- the thread ----

    def _keep(self) -> None:
        """Start the host, listen until it ends, and again."""
        in_a_row = 0
        while not self._closing.is_set():
            fault = self._live()
            if self._closing.is_set():
                return
            was_useful = self._current is not None and self._current.results > 0
            in_a_row = 0 if was_useful else in_a_row + 1
            pause_s = PAUSES_S[min(in_a_row, len(PAUSES_S) - 1)]
            if fault is not None and self._opened is None:
                if not self._is_awaited():
                    self._set("failed", fault.detail, fault)
                    return
                self._set("loading", fault.detail)
            elif fault is not None:
                self._set("restarting", str(fault))
            self._closing.wait(pause_s)

    def _is_awaited(self) -> bool:
        """Whether the host is somebody else's and not there yet: it may start after its nodes."""
        return self._wanted is None and self._current is None

    def _live(self) -> RejectedInput | None:
        """One life of a host; returns why it could not be used, None where it was and has ended."""
        self._current = None
        try:
            started = self._start()
        except RejectedInput as error:
            return error
        link = self._current = Link(started) if self._slots is None else Link(started, slots=self._slots)
        listening = threading.Thread(target=link.listen, name="segzero-host-link", daemon=True)
        listening.start()
        link.hello(self._name)
        if self._wanted is not None:
            link.send(self._wanted)
        self._watch(link)
        with self.changed:
            was_open, self._link = self._link is link, None
        listening.join()
        how = started.how_it_ended() if not link.fault else str(link.fault)
        started.end(LEAVE_S if self._closing.is_set() else 0.0)
        if self._closing.is_set() or was_open:
            if not self._closing.is_set():
                _log.error("the engines' process %s; it is started again", how)
                self._restarts += 1
                self._set("restarting", f"the process {how}")
            return None
        return link.fault or RejectedInput(Code.HOST_UNUSABLE, f"the engines' process {how} before they were open")

    def _watch(self, link: Link) -> None:
        """Ping the host until its connection ends or it must be ended."""
        pings = 0
        born_s = time.monotonic()
        while not (link.ended or link.fault or self._closing.is_set()):
            link.changed.wait(PING_S)
            link.changed.clear()
            if link.opened is not None and self._link is not link:
                self._note_open(link, link.opened)
            silent_s = time.monotonic() - link.heard_s
            if (link.opened is not None and silent_s > SILENCE_S) or (
                link.greeting is None and time.monotonic() - born_s > HELLO_S
            ):
                _log.error("the engines' process has said nothing for %.0f s; it is ended", silent_s)
                link.give_up()
                return
            with self.changed:
                if link.opened is None and link.loading and self._phase == "loading":
                    self._detail = link.loading
            pings += 1
            link.send(messages.Ping(pings))
        link.close()

    def _note_open(self, link: Link, opened: Opened) -> None:
        with self.changed:
            self._link, self._opened = link, opened
        self._set("ready", opened.engines)

    def _set(self, phase: Phase, detail: str, fault: RejectedInput | None = None) -> None:
        with self.changed:
            if self._phase == "closed":
                return
            self._phase, self._detail, self._fault, self._since_s = phase, detail, fault, time.monotonic()
            self.changed.notify_all()
        self._on_change(self.state())
