"""The server first, the local bundle when it fails: a robot goes on answering, and a dead server costs its time once.

After a failure the server is left alone for COOL_S, then COOL_S twice as long, up to MAX_COOL_S; before it gets a
command again it is asked whether it is back, and judged anew where somebody judges it (`judge_by`). What the server had
sent before it failed stays in the text, and the local answer follows: the pieces a listener got still add up to
``Answer.text``; ``lost_chars`` says where the answer begins.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from segzero_ros.backends.remote.http import ServerFault
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.reasoner import Answer, Reasoner, Request

COOL_S = 5.0
MAX_COOL_S = 60.0
LOST = "\n(The server was lost. The local model answers.)\n"
_UNSEEN = RejectedInput(Code.SERVER_STALLED, "the server has not yet been seen to answer rightly; ask again")
_log = logging.getLogger(__name__)


class Probed(Reasoner, Protocol):
    """A reasoner that can be asked whether it is there; ``ServerFault`` when it is not."""

    def prefill_image(self, frame: Frame) -> object:
        """Prepare a picture before anybody asks."""
        ...

    def probe(self, *, patience_s: float | None = None) -> object:
        """Look whether the server is there and has the model."""
        ...


class Breaker:
    """Whether a server is worth asking: closed = yes, open = not before a moment that moves away with each failure."""

    def __init__(self, now: Callable[[], int] = time.monotonic_ns) -> None:
        self._now = now
        self._failures = 0
        self._open_until_ns = 0

    @property
    def closed(self) -> bool:
        """Whether the last request went well."""
        return self._failures == 0

    @property
    def left_s(self) -> float:
        """Seconds for which the server is left alone; 0 = it may be tried."""
        return max(0.0, (self._open_until_ns - self._now()) / 1e9) if self._failures else 0.0

    def failed(self) -> None:
        """Open, for longer than the last time."""
        cool_s = min(MAX_COOL_S, COOL_S * 2 ** min(self._failures, 10))
        self._failures += 1
        self._open_until_ns = self._now() + int(cool_s * 1e9)

    def succeeded(self) -> None:
        """Close."""
        self._failures = 0


class FallbackReasoner:
    """``Reasoner``: a server's, or the local one; opened at the first need, which costs its opening once."""

    is_remote = True

    def __init__(
        self,
        remote: Probed,
        local: Callable[[], Reasoner],
        *,
        probe_s: float = 1.0,
        now: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """``local``: opens the local reasoner. ``probe_s``: for a server that was down to show that it is back."""
        self._remote, self._open_local, self._probe_s = remote, local, probe_s
        self._local: Reasoner | None = None
        self._last: RejectedInput | None = None
        self._breaker = Breaker(now)
        self._judge: Callable[[Reasoner, Request | None], bool] = lambda _server, _request: True
        self._judged = True

    def reason(self, request: Request) -> Answer:
        """Answer; see ``Reasoner``. ``timings_ms["server"]``: lost on a server that failed."""
        pieces: list[str] = []

        def on_text(piece: str) -> None:
            pieces.append(piece)
            request.on_text(piece)

        begun = time.perf_counter()
        fault = self._fault(request)
        if fault is None:
            try:
                answer = self._remote.reason(replace(request, on_text=on_text))
            except ServerFault as error:
                fault = error
                self._failed(error)
            else:
                self._breaker.succeeded()
                return answer
        local = self._opened(fault)
        if pieces:
            on_text(LOST)
        lost_ms = (time.perf_counter() - begun) * 1e3
        answer = local.reason(request)
        lost = "".join(pieces)
        timings = {**answer.timings_ms, "server": lost_ms}
        return replace(answer, text=lost + answer.text, timings_ms=timings, lost_chars=len(lost))

    @property
    def degraded_reason(self) -> str:
        """Why the local bundle answers, "" while the server does."""
        return "" if self._breaker.closed and self._judged else f"the local bundle answers: {self._last}"

    def prefill_image(self, frame: Frame) -> None:
        """Prepare the picture for the server."""
        self._remote.prefill_image(frame)

    def judge_by(self, judge: Callable[[Reasoner, Request | None], bool]) -> RejectedInput | None:
        """Have the server judged now, and again whenever it was away; a wrong one is as one that does not answer.

        ``judge`` gets the command that waits for it, None now; it raises ``RejectedInput`` for a wrong server, and
        returns False where the command ended first. Returns why the server is not asked, None when it is.
        """
        self._judge, self._judged = judge, False
        return self._fault(None)

    def begin_without(self, fault: ServerFault) -> None:
        """Note that the server was down from the start."""
        self._failed(fault)

    def _fault(self, request: Request | None) -> RejectedInput | None:
        """Return why the server is not asked this time, None when it is."""
        if self._breaker.left_s > 0:
            return self._last
        if self._breaker.closed and self._judged:
            return None
        try:
            if not self._breaker.closed:
                self._remote.probe(patience_s=self._probe_s)
            self._judged = self._judged or self._judge(self._remote, request)
        except RejectedInput as error:
            self._failed(error)
            return error
        return None if self._judged else self._last or _UNSEEN

    def _failed(self, fault: RejectedInput) -> None:
        self._last, self._judged = fault, False
        self._breaker.failed()
        _log.warning("%s; the local bundle answers, for %.0f s at least", fault, self._breaker.left_s)

    def _opened(self, fault: RejectedInput) -> Reasoner:
        if self._local is None:
            try:
                self._local = self._open_local()
            except RejectedInput as error:
                raise RejectedInput(fault.code, f"{fault.detail}; nor can the local bundle answer: {error}") from error
        return self._local
