"""The structure of a PNG file, chunk by chunk: W3C PNG, sections 5 and 11."""

from segzero_ros.compressed.file import PictureFile, unreadable
from segzero_ros.errors import Code, RejectedInput

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 20_000  # writers make chunks of 8 kB and more
MAX_INFLATED_BYTES = 100_000_000  # 7680 x 4320 of RGB, 25 MP of RGBA

_PICTURE = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")  # all that the pixels depend on
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_INTERLACED_PASSES = 7


def read_png(content: memoryview) -> PictureFile:
    """Walk all chunks; texts, profiles and animations are left away: they may inflate to gigabytes."""
    kept, at = [content[: len(SIGNATURE)]], len(SIGNATURE)
    kinds: list[bytes] = []
    while not kinds or kinds[-1] != b"IEND":
        if len(kinds) == MAX_CHUNKS:
            raise RejectedInput(Code.IMAGE_SIZE, f"got a PNG of more than {MAX_CHUNKS} chunks; save it anew")
        kind, end = bytes(content[at + 4 : at + 8]), at + 12 + int.from_bytes(content[at : at + 4], "big")
        if end > len(content) or len(kind) < 4:
            raise unreadable("the PNG is cut short")
        if kind in _PICTURE:
            kept.append(content[at:end])
        elif kind[0] & 0x20 == 0:  # a capital letter: not to be read without understanding it
            raise unreadable(f"the PNG has a chunk {kind!r}")
        kinds.append(kind)
        at = end
    if kinds[0] != b"IHDR" or len(kept[1]) != 25 or b"IDAT" not in kinds:
        raise unreadable("the PNG has no picture in it")
    whole = len(kept) == len(kinds) + 1
    content = content[:at] if whole else memoryview(b"".join(kept))
    return _with_header(kept[1][8:21], content, b"eXIf" in kinds)


def _with_header(header: memoryview, content: memoryview, has_exif: bool) -> PictureFile:
    """``header``: what IHDR holds, 13 bytes."""
    depth, colour_type, interlaced = header[8], header[9], header[12]
    if colour_type not in _CHANNELS or depth not in (1, 2, 4, 8, 16):
        raise unreadable("the PNG's header is broken")
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    inflated = height * ((width * _CHANNELS[colour_type] * depth + 7) // 8)
    if inflated > MAX_INFLATED_BYTES:
        raise RejectedInput(
            Code.IMAGE_SIZE,
            f"got a PNG of {width} x {height} that inflates to {inflated} bytes, want at most {MAX_INFLATED_BYTES}; "
            "save it with 8 bits, or smaller",
        )
    passes = _INTERLACED_PASSES if interlaced else 1
    return PictureFile(width, height, passes, 3 * width * height, content, has_exif)
