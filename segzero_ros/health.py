"""The node's health as plain values: what came in, what went out, what is wrong and what to do about it.

Pure: callers count events and ask for a report; the clock is handed in. The ROS side turns the report into
``diagnostic_msgs``. Levels tell of the last WINDOW_S seconds, so that what is over does not hide what comes next;
counts are since the start, ``counted_s`` says for how long that is.
"""

import collections
import enum
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from segzero_ros.errors import Code
from segzero_ros.pipeline import Segmentation

TOO_MANY_COMMANDS = "more came at once than its queue holds; wait for the answers"
RATE_WINDOW = 30  # frames over which the rate is averaged: a second of a usual camera
WINDOW_S = 5.0  # long enough for a person, and for what the aggregator keeps, to see it
_SERVER = {Code.SERVER_UNREACHABLE, Code.SERVER_STALLED, Code.SERVER_REFUSED}
_FAULTS = frozenset({Code.REASONER_FAILED, Code.SEGMENTER_FAILED, Code.INTERNAL, *_SERVER})  # not the command's


class Level(enum.IntEnum):
    """The levels of ``diagnostic_msgs/DiagnosticStatus``."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One line of diagnostics: ``values`` are for machines and plots, ``message`` tells people what to do."""

    level: Level
    name: str
    message: str
    values: Mapping[str, str]


class Health:
    """Counts frames, commands and faults; thread-safe."""

    def __init__(self, stale_s: float, now: Callable[[], int] = time.monotonic_ns) -> None:
        """``stale_s``: a camera is late after that many seconds without a frame."""
        self._stale_ns = int(stale_s * 1e9)
        self._now = now
        self._since_ns = now()
        self._moments: dict[str, int] = {}  # when something was wrong the last time, by the part that tells of it
        self._lock = threading.Lock()
        self._arrivals: collections.deque[int] = collections.deque(maxlen=RATE_WINDOW)
        self._frames = 0
        self._steps_back = 0
        self._newest_stamp_ns: int | None = None
        self._late_ns, self._by_stamp = 0, False
        self._ignored: collections.Counter[str] = collections.Counter()
        self._repeated_ns: int | None = None  # when a frame came once more
        self._rejected: collections.Counter[Code] = collections.Counter()
        self._lost_commands = 0
        self._last_rejection = ""
        self._ended: collections.Counter[Code] = collections.Counter()
        self._last_end: tuple[Code, str] = (Code.OK, "")
        self._last_total_ms = 0.0
        self._qos_notes: dict[str, str] = {}

    def expect_frames_within(self, stale_s: float) -> None:
        """Change after how many seconds without a frame the camera is late."""
        with self._lock:
            self._stale_ns = int(stale_s * 1e9)

    def count_frame(self, stamp_ns: int, *, late_ns: int = 0, by_stamp: bool = False) -> bool:
        """Count a good frame; False if its stamp is older than the one before (a bag loop, a clock jump).

        ``late_ns``: how old it was when it came; ``by_stamp``: whether its stamp tells.
        """
        with self._lock:
            self._frames += 1
            self._late_ns, self._by_stamp = late_ns, by_stamp
            self._arrivals.append(self._now())
            in_order = self._newest_stamp_ns is None or stamp_ns >= self._newest_stamp_ns
            self._steps_back += not in_order
            if not in_order:
                self._moments["camera"] = self._now()
            self._newest_stamp_ns = stamp_ns
            return in_order

    def count_ignored(self, kind: Literal["repeated", "older"]) -> None:
        """Count a frame that was not taken: the same once more, or an older one than has come already."""
        with self._lock:
            self._ignored[kind] += 1
            if kind == "repeated":
                self._repeated_ns = self._now()
            else:
                self._moments["camera"] = self._now()

    def camera_level(self) -> Level:
        """Return how the camera is at this moment."""
        with self._lock:
            return self._camera(self._now()).level

    def count_rejection(self, code: Code, detail: str) -> None:
        """Count an input that was refused before it became a frame or a command."""
        with self._lock:
            self._rejected[code] += 1
            self._moments["inputs"] = self._now()
            self._last_rejection = f"{code.name}: {detail}"

    def count_lost_commands(self, count: int) -> None:
        """Count commands that a full queue has dropped, so that they get no answer."""
        with self._lock:
            self._lost_commands += count
            self._moments["inputs"] = self._now()
            self._last_rejection = f"{self._lost_commands} commands lost, {TOO_MANY_COMMANDS}"

    def count_end(self, result: Segmentation) -> None:
        """Count the end of a command."""
        with self._lock:
            self._ended[result.code] += 1
            self._moments["commands"] = self._now()
            self._last_end = (result.code, result.detail)
            self._last_total_ms = result.timing.total_ms

    def note_qos(self, topic: str, note: str) -> None:
        """Remember what is wrong with the QoS of ``topic``'s publishers; an empty note clears it."""
        with self._lock:
            if note:
                self._qos_notes[topic] = note
            else:
                self._qos_notes.pop(topic, None)

    def rate_hz(self) -> float:
        """Return the frames per second of the last RATE_WINDOW frames, 0 when they have stopped coming."""
        with self._lock:
            return self._rate_hz(self._now())

    @property
    def counted_s(self) -> float:
        """For how many seconds events have been counted."""
        return (self._now() - self._since_ns) / 1e9

    def report(self) -> list[Diagnostic]:
        """Return the state of camera, commands and inputs at this moment."""
        with self._lock:
            return [self._camera(self._now()), self._commands(), self._inputs()]

    def _rate_hz(self, now: int) -> float:
        if len(self._arrivals) < 2 or now - self._arrivals[-1] > self._stale_ns:
            return 0.0
        span_ns = now - self._arrivals[0]  # to now, so that a camera that slows down is seen to
        return (len(self._arrivals) - 1) / (span_ns / 1e9) if span_ns > 0 else 0.0

    def _camera(self, now: int) -> Diagnostic:
        age_s = (now - self._arrivals[-1] + self._late_ns) / 1e9 if self._arrivals else None
        values = {
            "rate_hz": f"{self._rate_hz(now):.1f}",
            "frames": str(self._frames),
            "age_s": "none yet" if age_s is None else f"{age_s:.2f}",
            "age_by": "stamp" if self._by_stamp else "arrival",
            "stamps_stepping_back": str(self._steps_back),
            "frames_repeated": str(self._ignored["repeated"]),
            "frames_out_of_order": str(self._ignored["older"]),
        }
        level, message = self._camera_state(age_s, now)
        return Diagnostic(level, "camera", message, values)

    def _camera_state(self, age_s: float | None, now: int) -> tuple[Level, str]:
        if self._qos_notes and (age_s is None or age_s * 1e9 > self._stale_ns):
            return Level.ERROR, "; ".join(f"{topic}: {note}" for topic, note in sorted(self._qos_notes.items()))
        if age_s is None:
            return Level.STALE, "no frame yet; check that the camera publishes and the topic is remapped to image"
        if age_s * 1e9 > self._stale_ns:
            return Level.STALE, self._why_stale(age_s, now)
        if self._qos_notes:
            return Level.WARN, "; ".join(f"{topic}: {note}" for topic, note in sorted(self._qos_notes.items()))
        if self._is_recent("camera"):
            return Level.WARN, (
                f"stamps stepped back {self._steps_back} times, {self._ignored['older']} older frames were ignored; "
                "a bag that loops, a clock that jumps, or two cameras on one topic"
            )
        return Level.OK, "frames arrive"

    def _why_stale(self, age_s: float, now: int) -> str:
        if self._repeated_ns is not None and now - self._repeated_ns <= self._stale_ns:
            return f"no new frame for {age_s:.1f} s, the same one comes again and again; restart the camera"
        if self._late_ns > self._stale_ns and now - self._arrivals[-1] <= self._stale_ns:
            return (
                f"frames come {self._late_ns / 1e9:.1f} s late by their stamps; check the network, and "
                "that the camera's clock is set like this one"
            )
        return f"no frame for {age_s:.1f} s; check the camera"

    def _commands(self) -> Diagnostic:
        code, detail = self._last_end
        values = {code.name: str(count) for code, count in sorted(self._ended.items())}
        values["last_total_ms"] = f"{self._last_total_ms:.0f}"
        message = f"{sum(self._ended.values())} answered"
        if code in _FAULTS and self._is_recent("commands"):
            return Diagnostic(Level.ERROR, "commands", f"{code.name}: {detail}", values)
        if code in _FAULTS:
            message += f", the last with {code.name}: {detail}"
        return Diagnostic(Level.OK, "commands", message, values)

    def _inputs(self) -> Diagnostic:
        values = {code.name: str(count) for code, count in sorted(self._rejected.items())}
        if self._lost_commands:
            values["commands_lost"] = str(self._lost_commands)
        if self._is_recent("inputs"):
            return Diagnostic(Level.WARN, "inputs", f"{self._last_rejection} (the latest refusal)", values)
        return Diagnostic(Level.OK, "inputs", f"nothing refused in the last {WINDOW_S:.0f} s", values)

    def _is_recent(self, part: str) -> bool:
        """Whether something was wrong with this part within the window."""
        moment = self._moments.get(part)
        return moment is not None and self._now() - moment <= WINDOW_S * 1e9
