"""What the node says on its way to the pages: made into JPEG, PNG and JSON once, then told to all.

``on_...`` are called in the ROS client's thread and hand over to the server's, which runs everything else.
"""

import asyncio
import itertools
import json
import struct
from collections.abc import Callable, Mapping
from typing import Any

from segzero_ros.console.frames import RecentShots, Shot
from segzero_ros.console.history import History, KeptAnswer, Values, objects_of
from segzero_ros.console.pictures import as_text, kept_jpeg, labels_png, live_jpeg
from segzero_ros.console.viewer import Viewer
from segzero_ros.errors import RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Segmentation

PICTURE = struct.Struct("<BxHHxxQ")  # kind 1, width and height of the camera's picture, its stamp (ns); JPEG behind
LIVE = 1
_WORST = ("OK", "WARN", "ERROR", "STALE")


class Hub:
    """Between the node and the pages."""

    def __init__(self) -> None:
        self.viewers: set[Viewer] = set()
        self.history = History()
        self._shots = RecentShots()
        self._numbers = itertools.count(1)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thinking = ""
        self._health: Values = {"type": "health", "level": "WARN", "message": "nothing is heard of the node yet"}
        self.parts: Mapping[str, Mapping[str, Any]] = {}  # the node's last diagnostics

    def attach(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Say which loop the pages are served in; None: no longer any."""
        self._loop = loop

    # ---- in the ROS client's thread ----

    def on_image(self, stamp: int, decode: Callable[[], Frame], message: Any) -> None:
        """See ``ros/console/client.py:Hearer``; encoded only while a page takes it."""
        self._shots.add(Shot(stamp, decode, message))
        if any(viewer.wants_picture for viewer in tuple(self.viewers)):
            try:
                frame = decode()
            except RejectedInput:  # the node says so itself, in its diagnostics
                return
            width, height = frame.size
            self._hand_over(self._show, PICTURE.pack(LIVE, width, height, stamp) + live_jpeg(frame.rgb))

    def on_thinking(self, text: str) -> None:
        """See there."""
        if not self._thinking:
            self._shots.hold()
        self._thinking = text
        self._hand_over(self._tell, {"type": "thinking", "text": text})

    def on_answer(self, answer: Segmentation, masked: int, message: Any) -> None:
        """See there."""
        self._thinking = ""
        shot = self._shots.find(masked)
        self._shots.release()
        picture = b""
        if shot is not None:
            try:
                picture = kept_jpeg(shot.decode().rgb)
            except RejectedInput:
                shot = None
        kept = KeptAnswer(next(self._numbers), answer, picture, labels_png(answer.labels), shot, message, masked)
        self._hand_over(self._keep, kept)

    def on_track(self, answer: Segmentation, masked: int) -> None:
        """See there; painted while a page is there."""
        if not self.viewers:
            return
        values = {
            "type": "track",
            "command_id": answer.command.id,
            "code": answer.code.name,
            "detail": answer.detail,
            "objects": objects_of(answer),
            "mask": as_text(labels_png(answer.labels)),
            "stamp": str(masked),
        }
        self._hand_over(self._tell, values)

    def on_health(self, parts: Mapping[str, Mapping[str, Any]]) -> None:
        """See there."""
        self.parts, values = parts, health(parts)
        if values != self._health:
            self._health = values
            self._hand_over(self._tell, values)

    def _hand_over(self, call: Callable[..., None], *arguments: Any) -> None:
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(call, *arguments)
            except RuntimeError:  # the loop has ended meanwhile
                self._loop = None

    # ---- in the server's thread ----

    def join(self, viewer: Viewer, about: Values) -> None:
        """Tell a new page all that the others know; ``about``: what else it is told."""
        viewer.tell_values({"type": "hello", **about, "answers": self.history.values(), "thinking": self._thinking})
        viewer.tell_values(self._health)
        self.viewers.add(viewer)

    def leave(self, viewer: Viewer) -> None:
        """Forget a page."""
        self.viewers.discard(viewer)

    def tell_all(self, values: Values) -> None:
        """Send an event to every page; from any thread."""
        self._hand_over(self._tell, values)

    def _tell(self, values: Values) -> None:
        text = json.dumps(values)
        for viewer in self.viewers:
            viewer.tell(str(values["type"]), text)

    def _show(self, picture: bytes) -> None:
        for viewer in self.viewers:
            viewer.show(picture)

    def _keep(self, answer: KeptAnswer) -> None:
        self.history.add(answer)
        self._tell(answer.values())


def health(parts: Mapping[str, Mapping[str, Any]]) -> Values:
    """Return the health line of the node's diagnostics: the worst level, and what the parts at it say."""
    if not parts:
        detail = "the node says nothing; is it running, in this ROS_DOMAIN_ID and namespace?"
        return {"type": "health", "level": "ERROR", "message": detail, "parts": {}}
    worst = max((part["level"] for part in parts.values()), key=_WORST.index)
    said = [f"{name}: {part['message']}" for name, part in parts.items() if part["level"] == worst]
    message = "all is well" if worst == "OK" else "; ".join(said)
    shown = {name: {"level": part["level"], "message": part["message"]} for name, part in parts.items()}
    return {"type": "health", "level": worst, "message": message, "parts": shown}
