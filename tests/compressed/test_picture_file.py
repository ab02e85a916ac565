"""What a JPEG or PNG costs is known before it is decoded, and damage is seen: a wrong picture is never an answer."""

import io
import os
import struct
import sys
import time
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segzero_ros.compressed import decoder
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import compressed_size, decode_compressed, decode_mosaic

MOST_CPU_S = 0.5
Pixels = NDArray[np.uint8]


def picture(width: int = 96, height: int = 64) -> Pixels:
    """Colours that change slowly, RGB."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.dstack([x, y, 255 - x]).astype(np.uint8)


def jpeg(rgb: Pixels | None = None, *options: int) -> bytes:
    pixels = picture() if rgb is None else rgb
    return cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95, *options])[1].tobytes()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *, extra: bytes = b"", depth: int = 8, interlace: int = 0) -> bytes:
    """A black RGB picture."""
    rows = zlib.compress(bytes(height * (1 + width * 3 * depth // 8)), 9)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, interlace))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def code_of(content: bytes) -> Code | None:
    try:
        decode_compressed(content, 0)
    except RejectedInput as error:
        return error.code
    return None


# ---- cost ----


def many_scans(scans: int, width: int, height: int) -> bytes:
    """A progressive JPEG that repeats its last scan, and claims a size."""
    content = bytearray(jpeg(None, cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    frame_header, last = content.index(b"\xff\xc2"), content.rindex(b"\xff\xda")
    content[frame_header + 5 : frame_header + 9] = struct.pack(">HH", height, width)
    return bytes(content[:-2] + content[last:-2] * scans + content[-2:])


COSTLY: dict[str, Callable[[], bytes]] = {
    "200 scans of 8 megapixels": lambda: many_scans(200, 3840, 2160),
    "1,900 scans": lambda: many_scans(1900, 1000, 1000),
    "coefficients of 35 megapixels": lambda: many_scans(0, 8192, 4320),
    "three million segments": lambda: b"\xff\xd8" + b"\xff\xfe\0\2" * 3_000_000,
    "a million chunks": lambda: png(8, 8, extra=chunk(b"IDAT", b"") * 900_000),
    "16 bits of 24 megapixels": lambda: png(6000, 4000, depth=16),
    "an interlaced PNG of 20 megapixels": lambda: png(5000, 4000, interlace=1),
}


@pytest.mark.parametrize("what", COSTLY)
def test_a_file_that_costs_more_than_a_picture_is_refused_before_it_is_decoded(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = COSTLY[what]()
    monkeypatch.setattr(decoder, "_decode_as", lambda *_: pytest.fail("decoded"))
    begin = time.process_time()
    assert code_of(content) is Code.IMAGE_SIZE
    assert time.process_time() - begin < MOST_CPU_S


def inflating(kind: bytes, begin: bytes) -> bytes:
    """A chunk of 8 MB of nothing."""
    return chunk(kind, begin + zlib.compress(bytes(7_900_000), 9))


@pytest.mark.parametrize(
    "extra",
    [
        inflating(b"zTXt", b"k\0\0") * 1000,
        inflating(b"iTXt", b"k\0\1\0\0\0") * 300,
        inflating(b"iCCP", b"k\0\0") * 100,
        chunk(b"acTL", struct.pack(">II", 1000, 0)) + chunk(b"fcTL", bytes(26)) * 1000,
    ],
    ids=["zTXt", "iTXt", "iCCP", "animation"],
)
def test_what_does_not_belong_to_the_picture_costs_nothing(extra: bytes) -> None:
    content, begin = png(40, 30, extra=extra), time.process_time()
    assert decode_compressed(content, 0).size == (40, 30)
    assert time.process_time() - begin < MOST_CPU_S


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\x00", b"\xff\xd0", b"\x00", b"\xff\xff\x00"])
def test_walking_a_file_takes_linear_time(filling: bytes) -> None:
    whole = jpeg()
    content, begin = whole[:-2] + filling * (12_000_000 // len(filling)) + whole[-2:], time.process_time()
    assert compressed_size(content) == (96, 64)
    assert code_of(b"\xff\xd8" + filling * (12_000_000 // len(filling))) is Code.IMAGE_UNREADABLE
    assert time.process_time() - begin < 2 * MOST_CPU_S


@pytest.mark.parametrize(("width", "height"), [(7680, 4320), (6000, 4000), (3840, 2160)])
def test_8k_photos_and_progressive_4k_are_read(width: int, height: int) -> None:
    progressive = int(width == 3840)
    content = jpeg(np.zeros((height, width, 3), np.uint8), cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    begin = time.process_time()
    assert decode_compressed(content, 0).size == (width, height)
    assert time.process_time() - begin < MOST_CPU_S


# ---- damage ----


def with_restarts() -> bytes:
    return jpeg(None, cv2.IMWRITE_JPEG_RST_INTERVAL, 2)


def lost(content: bytes, begin: float, end: float) -> bytes:
    return content[: int(len(content) * begin)] + content[int(len(content) * end) :]


DAMAGED = {
    "a twelfth lost": lambda: lost(jpeg(picture(320, 240)), 0.5, 0.58),
    "two thirds lost": lambda: lost(jpeg(picture(320, 240)), 0.3, 0.96),
    "a progressive one with a quarter lost": lambda: lost(
        jpeg(picture(320, 240), cv2.IMWRITE_JPEG_PROGRESSIVE, 1), 0.2, 0.45
    ),
    "restart markers lost": lambda: lost(with_restarts(), 0.6, 0.7),
    "zeros to the end": lambda: jpeg()[:900] + bytes(600) + b"\xff\xd9",
    "cut, and another behind": lambda: jpeg()[:1000] + jpeg(),
    "no scan": lambda: jpeg()[: jpeg().index(b"\xff\xda")] + b"\xff\xd9",
    "no data in the scan": lambda: jpeg()[: jpeg().index(b"\xff\xda") + 14] + b"\xff\xd9",
    "a PNG with too few rows": lambda: png(40, 10).replace(struct.pack(">II", 40, 10), struct.pack(">II", 40, 90)),
    "a PNG without its end": lambda: png(40, 30)[:-12],
    "a PNG without data": lambda: png(40, 30).replace(b"IDAT", b"aDAT"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_file_is_refused(what: str) -> None:
    assert code_of(DAMAGED[what]()) is Code.IMAGE_UNREADABLE


def test_what_cameras_do_to_good_pictures_is_not_damage() -> None:
    good, pixels = jpeg(), decode_compressed(jpeg(), 0).rgb
    padded = good[:-2] + bytes(14) + good[-2:]
    for content in (good + bytes(1000), good + good, padded, b"\xff\xd8\xff\xff\xff" + good[3:]):
        assert np.array_equal(decode_compressed(content, 0).rgb, pixels)


def test_an_arithmetic_or_lossless_jpeg_is_of_a_kind_not_read() -> None:
    for kind in (b"\xff\xc9", b"\xff\xc3"):
        assert code_of(jpeg().replace(b"\xff\xc0", kind)) is Code.IMAGE_ENCODING


def test_what_others_write_to_stderr_meanwhile_arrives_and_the_decoders_words_do_not(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = decoder._open_and_decode
    monkeypatch.setattr(
        decoder, "_open_and_decode", lambda *given: (os.write(2, b"a line of a log\n"), decode(*given))[1]
    )
    assert code_of(DAMAGED["a twelfth lost"]()) is Code.IMAGE_UNREADABLE
    print("afterwards", file=sys.stderr)
    assert capfd.readouterr().err == "a line of a log\nafterwards\n"


@pytest.mark.parametrize("copies", [False, True])
def test_an_older_opencv_that_copies_reads_and_refuses_the_same(copies: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "_reads_without_copy", lambda: not copies)
    assert np.abs(decode_compressed(jpeg(), 0).rgb.astype(int) - picture()).max() < 30
    assert {code_of(make()) for make in DAMAGED.values()} == {Code.IMAGE_UNREADABLE}


def test_a_turned_picture_counts_twice_where_it_is_turned() -> None:
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.new("RGB", (6000, 4200)).save(out, "JPEG", exif=exif)
    assert code_of(out.getvalue()) is Code.IMAGE_SIZE
    assert decode_compressed(out.getvalue(), 0, follow_exif=False).size == (6000, 4200)


def test_without_a_stderr_pictures_are_still_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder.os, "dup", lambda _: (_ for _ in ()).throw(OSError()))
    assert decode_compressed(jpeg(), 0).size == (96, 64)


# ---- orientation and colours ----


def turned(orientation: int, kind: str) -> bytes:
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(picture()).save(out, kind, exif=exif)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [2, 3, 5, 6, 8])
def test_exif_turns_a_file_and_never_a_cameras_frame(orientation: int, kind: str) -> None:
    content = turned(orientation, kind)
    as_seen, as_measured = (decode_compressed(content, 0, follow_exif=follow).rgb for follow in (True, False))
    assert np.abs(as_measured.astype(int) - picture()).max() < 30
    assert as_seen.shape != as_measured.shape or np.abs(as_seen.astype(int) - picture()).max() > 100


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_a_mosaic_becomes_the_colours_that_it_is_of(pattern: str) -> None:
    colour = (200, 90, 30)
    mosaic = np.zeros((20, 30), np.uint8)
    for at, letter in enumerate(pattern):
        mosaic[at // 2 :: 2, at % 2 :: 2] = colour["rgb".index(letter)]
    content = cv2.imencode(".png", mosaic)[1].tobytes()
    frame = decode_mosaic(content, f"bayer_{pattern}8", 3, "cam")
    assert (frame.rgb == colour).all()
    assert (frame.stamp_ns, frame.frame_id) == (3, "cam")


@pytest.mark.parametrize("content", [jpeg(), png(40, 30), cv2.imencode(".png", np.zeros((4, 4), np.uint16))[1]])
def test_a_mosaic_of_more_than_grey_bytes_is_refused(content: bytes) -> None:
    with pytest.raises(RejectedInput, match="IMAGE_ENCODING"):
        decode_mosaic(content, "bayer_rggb8", 0)
