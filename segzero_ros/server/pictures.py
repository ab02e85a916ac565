"""Pictures by their content: the same bytes give the same ``Frame`` object, which an engine has encoded already."""

from __future__ import annotations

import collections
import hashlib
import threading

from segzero_ros.errors import RejectedInput
from segzero_ros.frame import Frame, compressed_size, decode_compressed
from segzero_ros.server.chat_request import Refusal

KEPT = 4  # decoded pictures: one each for a few robots that ask again
MAX_PIXELS = 2048 * 2048  # clients send the model's own size, 840 x 840; bounds what one request may cost


class Pictures:
    """The last few pictures; may be used from several threads, decodes one at a time."""

    def __init__(self) -> None:
        self._frames: collections.OrderedDict[bytes, Frame] = collections.OrderedDict()
        self._lock = threading.Lock()

    def frame(self, data: bytes) -> Frame:
        """Return the frame of a JPEG or PNG; raises ``Refusal`` 400."""
        name = hashlib.sha256(data).digest()
        with self._lock:
            frame = self._frames.get(name) or self._decoded(data)
            self._frames[name] = frame
            self._frames.move_to_end(name)
            if len(self._frames) > KEPT:
                self._frames.popitem(last=False)
            return frame

    def _decoded(self, data: bytes) -> Frame:
        try:
            width, height = compressed_size(data)
            if width * height > MAX_PIXELS:
                raise Refusal(
                    413, f"got a picture of {width} x {height}, want at most {MAX_PIXELS} pixels; resize it first"
                )
            return decode_compressed(data, 0)
        except RejectedInput as error:
            raise Refusal(400, f"{error.code.name}: {error.detail}") from None
