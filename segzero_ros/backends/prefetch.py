"""A segmenter that encodes while the reasoner still generates: which picture it will be is known before the answer is.

Covered: the engine is touched by one thread at a time; what goes wrong while encoding is raised by ``set_image``; a
picture begun for nothing (no such object, cancelled) costs its encoding and nothing else.
Not covered: an engine that hangs; ``set_image`` then waits for it, as it would have hung itself.
"""

from __future__ import annotations

import atexit
import threading
import weakref

from segzero_ros.answer import Target
from segzero_ros.frame import Frame
from segzero_ros.segmenter import Masks, Segmenter

LAST_S = 2.0  # that a process waits at its end for a picture under way: native code cut off there would abort it


class PrefetchingSegmenter:
    """``EarlySegmenter`` around any ``Segmenter``."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._running: _Encoding | None = None

    @property
    def inner(self) -> Segmenter:
        """The segmenter within."""
        return self._segmenter

    def begin(self, frame: Frame) -> None:
        """Encode ``frame`` in a thread of its own, unless that is under way or done."""
        if self._running is None or self._running.frame is not frame:
            self._settle()
            self._running = _Encoding(self._segmenter, frame)

    def set_image(self, frame: Frame) -> None:
        """Wait for ``frame``, encoding it here if it was not begun; the same frame object again costs nothing."""
        begun = self._settle()
        if begun is not None and begun.frame is frame and begun.error is not None:
            raise begun.error
        self._segmenter.set_image(frame)

    def predict(self, targets: tuple[Target, ...]) -> Masks:
        """Masks on the frame of the last ``set_image``; see ``Segmenter``."""
        self._settle()
        return self._segmenter.predict(targets)

    def _settle(self) -> _Encoding | None:
        """Wait until no other thread is at the engine; return what was under way."""
        running, self._running = self._running, None
        if running is not None:
            running.join()
        return running


class _Encoding(threading.Thread):
    """One picture being encoded; a daemon, so that an engine that hangs does not keep the process."""

    def __init__(self, segmenter: Segmenter, frame: Frame) -> None:
        super().__init__(name="segzero-encoder", daemon=True)
        self.frame = frame
        self.error: BaseException | None = None
        self._segmenter = segmenter
        _UNDER_WAY.add(self)
        self.start()

    def run(self) -> None:
        try:
            self._segmenter.set_image(self.frame)
        except BaseException as error:  # noqa: BLE001 - handed to the caller of set_image
            self.error = error


_UNDER_WAY: weakref.WeakSet[_Encoding] = weakref.WeakSet()


@atexit.register
def _finish() -> None:
    for encoding in list(_UNDER_WAY):
        encoding.join(LAST_S)
