"""The structure of a JPEG file, marker by marker: ITU T.81, annex B."""

import re
from dataclasses import dataclass

from segzero_ros.compressed.file import PictureFile, unreadable
from segzero_ros.errors import Code, RejectedInput

SOI = b"\xff\xd8"
MAX_SEGMENTS = 2_000  # a colour profile takes up to 255, ten scans with their tables less than 50

_MARKER = re.compile(rb"\xff+([^\xff])", re.DOTALL)  # any number of fill bytes may come before one
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)  # a marker, but no stuffed byte and no restart
_EOI, _SOS, _APP1, _TEM = 0xD9, 0xDA, 0xE1, 0x01
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # but DHT, JPG, DAC
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2


@dataclass(frozen=True, slots=True)
class _FrameHeader:
    """SOF: ``samples_per_pixel`` of all components together, 1.5 with 4:2:0."""

    width: int
    height: int
    progressive: bool
    components: int
    samples_per_pixel: float


def read_jpeg(content: memoryview) -> PictureFile:
    """Walk all segments and scans to the end marker; what comes after it is left away."""
    at, scans, header = len(SOI), 0, None
    whole = True  # each scan holds all components: the decoder need not keep coefficients
    has_exif = False
    for _ in range(MAX_SEGMENTS):
        marker, body, at = _segment(content, at)
        if marker == _EOI:
            break
        if marker in _FRAME_HEADERS:
            if header is not None:
                raise unreadable("the JPEG has two frame headers")
            header = _frame_header(marker, body)
        elif marker == _APP1:
            has_exif = has_exif or bytes(body[:4]) == b"Exif"
        elif marker == _SOS:
            if header is None:
                raise unreadable("the JPEG has no frame header before its data")
            scans += 1
            whole = whole and scans == 1 and bytes(body[:1]) == bytes([header.components])
            at = _end_of_scan(content, at)
    else:
        raise RejectedInput(Code.IMAGE_SIZE, f"got a JPEG of more than {MAX_SEGMENTS} segments; save it anew")
    if header is None or not scans:
        raise unreadable("the JPEG has no picture in it")
    pixels = header.width * header.height
    coefficients = 0 if whole and not header.progressive else int(2 * header.samples_per_pixel * pixels)
    return PictureFile(header.width, header.height, scans, 3 * pixels + coefficients, content[:at], has_exif)


def _segment(content: memoryview, at: int) -> tuple[int, memoryview, int]:
    """Return (marker, what the segment holds, where the next one begins)."""
    found = _MARKER.match(content, at)
    if found is None:
        raise unreadable("the JPEG has no end marker")
    marker, at = found[1][0], found.end()
    if marker in (_EOI, _TEM):
        return marker, content[at:at], at
    if marker == SOI[1]:
        raise unreadable("another picture begins before this one has ended")
    length = int.from_bytes(content[at : at + 2], "big")
    if marker < 0xC0 or length < 2 or at + length > len(content):
        raise unreadable(f"the JPEG's segment {marker:02x} is cut short or none")
    return marker, content[at + 2 : at + length], at + length


def _end_of_scan(content: memoryview, at: int) -> int:
    found = _END_OF_SCAN.search(content, at)
    if found is None:
        raise unreadable("the JPEG has no end marker")
    return found.start()


def _frame_header(marker: int, body: memoryview) -> _FrameHeader:
    if len(body) < 6 or len(body) != 6 + 3 * body[5] or not 1 <= body[5] <= 4:
        raise unreadable("the JPEG's frame header is broken")
    if marker not in (_BASELINE, _EXTENDED, _PROGRESSIVE) or body[0] != 8:
        kind = f"SOF{marker - _BASELINE} with {body[0]} bits"
        raise RejectedInput(
            Code.IMAGE_ENCODING, f"got a JPEG of the kind {kind}, want baseline or progressive with 8; save it anew"
        )
    factors = [(packed >> 4, packed & 15) for packed in body[7::3]]
    if not all(1 <= h <= 4 and 1 <= v <= 4 for h, v in factors):
        raise unreadable("the JPEG's sampling factors are none")
    full = max(h for h, _ in factors) * max(v for _, v in factors)
    return _FrameHeader(
        width=int.from_bytes(body[3:5], "big"),
        height=int.from_bytes(body[1:3], "big"),
        progressive=marker == _PROGRESSIVE,
        components=len(factors),
        samples_per_pixel=sum(h * v for h, v in factors) / full,
    )
