"""OpenCV's decoder, and what it says about damage: libjpeg goes on with grey and tells nobody but stderr.

OpenCV is imported by the first picture: a node whose camera sends raw images works without it.
"""

import functools
import os
import re
import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from segzero_ros.compressed.file import unreadable

_SAID = re.compile(
    rb"^(Corrupt JPEG data|Premature end of JPEG|Invalid SOS|Inconsistent prog|libpng (error|warning)).*\n",
    re.MULTILINE,
)
_DAMAGE = re.compile(
    rb"premature end|Premature end|bad Huffman|found marker|Inconsistent prog|libpng error|\d{3,} extraneous bytes"
)  # fewer extraneous bytes than 100 are what many cameras pad their pictures with
_ROWS = 128  # of the picture at a time from BGR to RGB: 3 MB at 8K, where a third copy of the picture would be 106
_listening = threading.Lock()


def decode(content: memoryview, *, follow_exif: bool) -> NDArray[np.uint8]:
    """Return the picture as RGB (H, W, 3); ``RejectedInput`` IMAGE_UNREADABLE where it is damaged."""
    import cv2

    flags = cv2.IMREAD_COLOR if follow_exif else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    picture = _decode_as(content, flags)
    for top in range(0, len(picture), _ROWS):  # in place, and OpenCV copies what it turns in place
        rows = picture[top : top + _ROWS]
        cv2.cvtColor(rows, cv2.COLOR_BGR2RGB, dst=rows)
    return picture


def decode_unchanged(content: memoryview) -> NDArray[Any]:
    """Return the file's own values, in its own order of channels: uint8, or uint16 where it has 16 bits."""
    import cv2

    return _decode_as(content, cv2.IMREAD_UNCHANGED)


def _decode_as(content: memoryview, flags: int) -> NDArray[Any]:
    import cv2

    try:
        picture, said = _decode_and_listen(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise unreadable(f"the decoder says {error.err or error}") from None
    if damage := _DAMAGE.search(said):
        line = said[said.rfind(b"\n", 0, damage.start()) + 1 :].split(b"\n")[0]
        raise unreadable(f"the decoder says {line.decode('utf-8', 'replace')[:100]!r}")
    if picture is None:
        raise unreadable("the decoder found no picture in it")
    return cast(NDArray[Any], picture)


@functools.cache
def _reads_without_copy() -> bool:
    """Whether it is OpenCV 4.10, on Linux."""
    import cv2

    return "[, dst[" in (cv2.imread.__doc__ or "") and hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir()


def _open_and_decode(content: NDArray[np.uint8], flags: int) -> Any:
    """Decode, where OpenCV can, into an array that Python sees: ``imdecode`` makes a copy, 106 MB of an 8K picture."""
    import cv2

    if not _reads_without_copy():
        return cv2.imdecode(content, flags)
    file = os.memfd_create("picture")
    try:
        with open(file, "wb", closefd=False) as writer:
            writer.write(content.data)
        return cv2.imread(f"/proc/self/fd/{file}", None, flags)
    finally:
        os.close(file)


def _decode_and_listen(content: NDArray[np.uint8], flags: int) -> tuple[Any, bytes]:
    """Decode, and return what went to stderr meanwhile; what others wrote there is passed on.

    libjpeg's warnings go nowhere else. One thread at a time; the others' lines come some milliseconds late.
    """
    with _listening:
        try:
            stderr, heard = os.dup(2), os.memfd_create("decoder")
        except (OSError, AttributeError):  # no stderr, or no Linux: damage is seen where OpenCV itself refuses it
            return _open_and_decode(content, flags), b""
        try:
            os.dup2(heard, 2)
            try:
                picture = _open_and_decode(content, flags)
            finally:
                os.dup2(stderr, 2)
            said = os.pread(heard, os.fstat(heard).st_size, 0)
            if others := _SAID.sub(b"", said):
                os.write(2, others)
        finally:
            os.close(heard)
            os.close(stderr)
    return picture, said
