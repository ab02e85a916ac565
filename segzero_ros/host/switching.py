"""Engines that are changed for others while the node works.

The others are opened beside those in use, and taken once they have passed; else those in use stay.

Covered: a command at work ends on the engines it began on; new engines that never open or fail their self-test; two
changes at once (the later one counts). Not covered: a machine without memory for both; there the new ones fail.
"""

import threading
from collections.abc import Callable
from typing import Any

from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.host.pipeline import HostPipeline, OnChange
from segzero_ros.host.supervisor import HostState
from segzero_ros.host.tracking import HostTracker
from segzero_ros.pipeline import Segmentation
from segzero_ros.reasoner import ignore

Start = Callable[[OnChange], HostPipeline]
"""Starts a host; raises ``RejectedInput`` for what is known to be wrong without opening its engines."""


class SwitchingPipeline:
    """What ``HostPipeline`` is, with ``switch``; ``ground`` and ``prefill_image`` by one thread at a time."""

    def __init__(
        self,
        start: Start,
        *,
        on_change: Callable[[HostState], None] = ignore,
        on_refused: Callable[[RejectedInput], None] = ignore,
    ) -> None:
        """Start the first engines. ``on_change`` gets each new phase of the engines in use, also after a switch.

        ``on_refused`` gets why others were not taken. Both are called in a thread of a host.
        """
        self._on_change, self._on_refused = on_change, on_refused
        self._lock = threading.Lock()
        self._next: HostPipeline | None = None
        self._asked: HostPipeline | None = None  # that a question is at right now
        self._closed = False
        with self._lock:  # a host that is quick waits until it is known here
            self._current = start(self._note)

    @property
    def not_ready(self) -> tuple[Code, str] | None:
        """See ``HostPipeline``."""
        return self._current.not_ready

    @property
    def degraded_reason(self) -> str:
        """See ``HostPipeline``."""
        return self._current.degraded_reason

    def state(self) -> HostState:
        """Where the engines in use are."""
        return self._current.state()

    def next_state(self) -> HostState | None:
        """Where the engines are that are being opened beside them, None = there are none."""
        following = self._next
        return following.state() if following is not None else None

    def ground(self, frame: Frame, command: Command, **options: Any) -> Segmentation:
        """See ``Pipeline.ground``."""
        result: Segmentation = self._ask(lambda pipeline: pipeline.ground(frame, command, **options))
        return result

    def prefill_image(self, frame: Frame) -> None:
        """See ``Pipeline.prefill_image``."""
        self._ask(lambda pipeline: pipeline.prefill_image(frame))

    def new_tracker(self) -> HostTracker:
        """See ``Pipeline.new_tracker``; of the engines in use. It ends with them."""
        return self._current.new_tracker()

    def switch(self, start: Start) -> None:
        """Open other engines, and take them once they are open; returns at once. Raises what ``start`` raises."""
        with self._lock:
            following = start(self._note)
            former, self._next = self._next, following
            closed = self._closed
        if former is not None:
            former.close()
        if closed:
            following.close()

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            self._closed = True
            pipelines = [self._current, self._next]
        for pipeline in pipelines:
            if pipeline is not None:
                pipeline.close()

    def _ask(self, question: Callable[[HostPipeline], Any]) -> Any:
        with self._lock:
            pipeline = self._asked = self._current
        try:
            return question(pipeline)
        finally:
            with self._lock:
                self._asked, is_former = None, pipeline is not self._current
            if is_former:
                pipeline.close()

    def _note(self, host: HostPipeline, state: HostState) -> None:
        """Take the next engines if they are open, give them up if they failed; tell what became of those in use."""
        former: HostPipeline | None = None
        with self._lock:
            if self._closed or host not in (self._current, self._next):
                return
            is_next = host is self._next
            if is_next and state.phase == "ready":
                former, self._current, self._next = self._current, host, None
            elif is_next and state.phase == "failed":
                self._next = None
            is_current, is_idle = host is self._current, former is not self._asked
        if is_current:
            self._on_change(state)
        elif state.phase == "failed":
            self._on_refused(state.fault or RejectedInput(Code.HOST_UNUSABLE, state.detail))
        if former is not None and is_idle:
            former.close()
