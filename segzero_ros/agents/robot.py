"""What an agent may ask of the node, as plain JSON values; every call ends with one, whatever happens.

What the model wrote is text about a picture, and the picture may show writing that gives orders. So it has a key of
its own, ``untrusted_reasoning``, and nothing here acts on it.
"""

import math
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from segzero_ros.errors import Code

if TYPE_CHECKING:
    from segzero_ros.msg import Segmentation

LONGEST_S = 600.0  # of one command
STATUS_S = 3.0  # for diagnostics, which come once a second
Values = dict[str, Any]


class RobotClient(Protocol):
    """What is needed of ``ros/client.py:Client``."""

    def wait_for_action(self, timeout_s: float) -> None:
        """See there."""
        ...

    def send_goal(self, text: str, *, timeout_s: float, stop: Any, track: bool) -> "Segmentation":
        """See there."""
        ...

    def stop_following(self, command_id: str) -> None:
        """See there."""
        ...

    def diagnostics(self, timeout_s: float) -> Mapping[str, Values]:
        """See there."""
        ...


class Robot:
    """One node; thread-safe: one question at a time, and ``stop`` at any time."""

    def __init__(self, client: RobotClient, failures: type[Exception], *, wait_s: float = 5.0) -> None:
        """``failures``: what ``client`` raises where the node does not do its part. ``wait_s``: for it to appear."""
        self._client, self._failures, self._wait_s = client, failures, wait_s
        self._turn = threading.Lock()
        self._stopping = threading.Event()
        self._at_work = ""

    def ask(self, command: str, timeout_sec: float, *, track: bool = False) -> Values:
        """Have a command grounded; the answer, or code NOT_ACTIVE or BUSY with what to do."""
        if not self._turn.acquire(blocking=False):
            return refusal(Code.BUSY, f"the command {self._at_work!r} is at work; wait for its answer, or stop it")
        try:
            self._stopping.clear()
            self._at_work = command[:80]
            timeout_s = min(max(float(timeout_sec), 1.0), LONGEST_S) if math.isfinite(timeout_sec) else LONGEST_S
            self._client.wait_for_action(self._wait_s)
            stop = self._stopping.is_set
            return answer(self._client.send_goal(command, timeout_s=timeout_s, stop=stop, track=track))
        except self._failures as error:
            return refusal(Code.NOT_ACTIVE, str(error))
        finally:
            self._turn.release()

    def stop(self, command_id: str = "") -> Values:
        """End the command at work, and follow no longer: what that command found, "" = all."""
        self.cancel()
        self._client.stop_following(command_id)
        return {"stopped": True}

    def cancel(self) -> None:
        """End the command at work."""
        self._stopping.set()

    def status(self) -> Values:
        """Return the node's diagnostics by part: level, message, values."""
        if not self._turn.acquire(blocking=False):
            return {"at_work": self._at_work}
        try:
            return {"at_work": "", "parts": dict(self._client.diagnostics(STATUS_S))}
        except self._failures as error:
            return refusal(Code.NOT_ACTIVE, str(error))
        finally:
            self._turn.release()


def refusal(code: Code, detail: str) -> Values:
    """Return an answer without one."""
    return {"code": code.name, "detail": detail, "objects": []}


def answer(message: "Segmentation") -> Values:
    """Return the answer as JSON values; boxes and points in pixels, positions in metres, null where not known."""
    stamp = message.header.stamp
    return {
        "code": Code(message.code).name,
        "detail": message.detail,
        "command_id": message.command_id,
        "objects": [_object(one) for one in message.instances],
        "image": {"width": message.mask.width, "height": message.mask.height},
        "frame_id": message.header.frame_id,
        "stamp_ns": stamp.sec * 1_000_000_000 + stamp.nanosec,
        "untrusted_reasoning": message.reasoning,
    }


def _object(one: Any) -> Values:
    position = [one.position.x, one.position.y, one.position.z]
    return {
        "label": one.label,
        "track_id": one.track_id,
        "score": round(float(one.score), 3),
        "box": [round(float(side), 1) for side in (one.x0, one.y0, one.x1, one.y1)],
        "point": [round(float(one.point_x), 1), round(float(one.point_y), 1)],
        "position_m": [round(metres, 4) for metres in position] if all(map(math.isfinite, position)) else None,
    }
