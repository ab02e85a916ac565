"""JPEG and PNG files: what one costs is known from its headers, before anything is decoded.

A few hundred kB can claim thousands of passes over 35 megapixels, or hide gigabytes of text. So the whole structure is
walked first, which costs milliseconds, and only what belongs to the picture goes on to the decoder.
Covered: sizes, scans, interlacing, texts, profiles and animations; files cut short, glued together or padded.
Not covered: what else than JPEG and PNG OpenCV can read; it is refused.
"""

from segzero_ros.compressed.file import PictureFile, unreadable
from segzero_ros.compressed.jpeg import SOI, read_jpeg
from segzero_ros.compressed.png import SIGNATURE, read_png
from segzero_ros.errors import Code, RejectedInput

__all__ = ["PictureFile", "read_picture_file", "unreadable"]


def read_picture_file(content: memoryview) -> PictureFile:
    """Return what the headers of a JPEG or PNG file say; ``RejectedInput`` IMAGE_ENCODING or IMAGE_UNREADABLE."""
    if content[: len(SIGNATURE)] == SIGNATURE:
        return read_png(content)
    if content[: len(SOI)] == SOI:
        return read_jpeg(content)
    raise RejectedInput(
        Code.IMAGE_ENCODING, f"got a file starting with {bytes(content[:8])!r}, want JPEG or PNG; convert it first"
    )
