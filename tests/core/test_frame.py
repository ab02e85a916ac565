"""Any image fields give a frame or one refusal; the pixels are the ones a slow reading gives."""

import array
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import (
    ENCODINGS,
    MAX_COMPRESSED_BYTES,
    MAX_PIXELS,
    MAX_SIDE,
    Frame,
    decode_compressed,
    decode_depth,
    image_decoder,
    no_frame,
)

CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "mono16": 2}
UYVY, YUYV = (1, 0, 3, 2), (0, 1, 2, 3)  # where y0, u, y1, v stand in a group of four bytes
YUV422 = {"yuv422": UYVY, "uyvy": UYVY, "yuv422_yuy2": YUYV, "yuyv": YUYV}
BAYER = {"bayer_rggb8": "RGGB", "bayer_bggr8": "BGGR", "bayer_gbrg8": "GBRG", "bayer_grbg8": "GRBG"}
IMAGE_CODES = {Code.IMAGE_ENCODING, Code.IMAGE_SIZE, Code.IMAGE_LAYOUT}
Pixels = NDArray[np.uint8]


def padded(rows: Pixels, padding: int, seed: int = 0) -> bytes:
    """Append ``padding`` random bytes to each row."""
    noise = np.random.default_rng(seed).integers(0, 256, (len(rows), padding), dtype=np.uint8)
    return np.hstack([rows.reshape(len(rows), -1), noise]).tobytes()


def decode_image(**fields: Any) -> Frame:
    return image_decoder(**fields)()


def decode(rows: Pixels, width: int, height: int, encoding: str, *, padding: int = 0, big: bool = False) -> Pixels:
    data = padded(rows, padding)
    step = len(data) // len(rows)
    return decode_image(
        height=height, width=width, encoding=encoding, is_bigendian=big, step=step, data=data, stamp_ns=1
    ).rgb


def code_of(**fields: object) -> Code:
    good = {
        "height": 4,
        "width": 4,
        "encoding": "rgb8",
        "is_bigendian": 0,
        "step": 12,
        "data": bytes(48),
        "stamp_ns": 0,
    }
    with pytest.raises(RejectedInput) as refused:
        image_decoder(**(good | fields))  # type: ignore[arg-type]
    assert refused.value.detail
    return refused.value.code


def frame_or_code(decoder: Callable[..., Frame], *args: object, **fields: object) -> Frame | Code:
    try:
        return decoder(*args, **fields)
    except RejectedInput as error:
        return error.code


def yuv_to_rgb(y: int, u: int, v: int) -> tuple[int, int, int]:
    """BT.601, limited range, in the 20-bit fixed point that video hardware and OpenCV use."""
    luma = max(0, y - 16) * 1220542
    u, v, half = u - 128, v - 128, 1 << 19
    red, green, blue = luma + 1673527 * v, luma - 852492 * v - 409993 * u, luma + 2116026 * u
    return tuple(min(255, max(0, (part + half) >> 20)) for part in (red, green, blue))  # type: ignore[return-value]


# ---- the pixels ----


@pytest.mark.parametrize("padding", [0, 1, 7])
@pytest.mark.parametrize("encoding", CHANNELS)
def test_packed_encodings_equal_a_slow_reading(encoding: str, padding: int) -> None:
    height, width = 5, 7
    rows = np.random.default_rng(3).integers(0, 256, (height, width, CHANNELS[encoding]), dtype=np.uint8)
    order = {"bgr8": [2, 1, 0], "bgra8": [2, 1, 0], "mono8": [0, 0, 0], "mono16": [1, 1, 1]}.get(encoding, [0, 1, 2])
    assert np.array_equal(decode(rows, width, height, encoding, padding=padding), rows[..., order])


def test_mono16_keeps_the_high_byte_in_either_byte_order() -> None:
    values = np.array([[0x0102, 0xFF00, 0x00FF]])
    for big, dtype in ((False, "<u2"), (True, ">u2")):
        rows = values.astype(dtype).view(np.uint8)
        assert decode(rows, 3, 1, "mono16", big=big)[0, :, 0].tolist() == [1, 255, 0]


@pytest.mark.parametrize("encoding", YUV422)
def test_yuv422_equals_the_formula(encoding: str) -> None:
    height, width = 6, 8
    rows = np.random.default_rng(4).integers(0, 256, (height, width // 2, 4), dtype=np.uint8)
    rgb = decode(rows.reshape(height, -1), width, height, encoding, padding=4)
    for row in range(height):
        for pair in range(width // 2):
            y0, u, y1, v = (int(rows[row, pair, at]) for at in YUV422[encoding])
            assert tuple(rgb[row, 2 * pair]) == yuv_to_rgb(y0, u, v)
            assert tuple(rgb[row, 2 * pair + 1]) == yuv_to_rgb(y1, u, v)


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_two_plane_encodings_equal_the_formula(encoding: str) -> None:
    height, width = 4, 6
    rows = np.random.default_rng(5).integers(0, 256, (height * 3 // 2, width), dtype=np.uint8)
    rgb = decode(rows, width, height, encoding, padding=2)
    chroma = rows[height:].reshape(height // 2, width // 2, 2)[..., :: 1 if encoding == "nv12" else -1]
    for row in range(height):
        for column in range(width):
            u, v = (int(part) for part in chroma[row // 2, column // 2])
            assert tuple(rgb[row, column]) == yuv_to_rgb(int(rows[row, column]), u, v)


@pytest.mark.parametrize("encoding", BAYER)
def test_bayer_keeps_each_measured_value_and_averages_the_neighbours(encoding: str) -> None:
    height, width = 8, 10
    raw = np.random.default_rng(6).integers(0, 256, (height, width), dtype=np.uint8)
    rgb = decode(raw, width, height, encoding, padding=3).astype(int)
    pattern = np.array([["RGB".index(c) for c in BAYER[encoding][:2]], ["RGB".index(c) for c in BAYER[encoding][2:]]])
    colour = np.tile(pattern, (height // 2, width // 2))
    for row in range(1, height - 1):
        for column in range(1, width - 1):
            for channel in range(3):
                near = [
                    (dy, dx)
                    for dy in (-1, 0, 1)
                    for dx in (-1, 0, 1)
                    if colour[row + dy, column + dx] == channel
                    and (colour[row, column] != channel or (dy, dx) == (0, 0))
                    and (channel != 1 or colour[row, column] == 1 or abs(dy) + abs(dx) == 1)
                ]
                mean = sum(int(raw[row + dy, column + dx]) for dy, dx in near) / len(near)
                assert abs(rgb[row, column, channel] - mean) <= 0.5


def test_a_frame_owns_its_pixels() -> None:
    data = bytearray(48)
    frame = decode_image(
        height=4, width=4, encoding="rgb8", is_bigendian=0, step=12, data=data, stamp_ns=5, frame_id="c"
    )
    data[0] = 255
    assert frame.rgb[0, 0, 0] == 0
    assert not frame.rgb.flags.writeable
    assert frame.rgb.flags.c_contiguous
    assert (frame.stamp_ns, frame.frame_id, frame.size) == (5, "c", (4, 4))


@pytest.mark.parametrize(
    "kind",
    [bytes, bytearray, memoryview, lambda data: array.array("B", data), lambda data: np.frombuffer(data, np.uint8)],
)
def test_any_buffer_of_bytes_will_do(kind: type) -> None:
    data = kind(bytes(range(48)))
    frame = decode_image(height=4, width=4, encoding="rgb8", is_bigendian=0, step=12, data=data, stamp_ns=0)
    assert frame.rgb.ravel().tolist() == list(range(48))


def test_the_last_row_may_come_without_its_padding() -> None:
    rows = np.arange(48, dtype=np.uint8).reshape(4, 12)
    data = padded(rows, 5)[:-5]
    frame = decode_image(height=4, width=4, encoding="rgb8", is_bigendian=0, step=17, data=data, stamp_ns=0)
    assert np.array_equal(frame.rgb.reshape(4, 12), rows)


# ---- the refusals ----


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"encoding": "rgb16"}, Code.IMAGE_ENCODING),
        ({"encoding": ""}, Code.IMAGE_ENCODING),
        ({"encoding": "x" * 100_000}, Code.IMAGE_ENCODING),
        ({"width": 0}, Code.IMAGE_SIZE),
        ({"height": 0}, Code.IMAGE_SIZE),
        ({"width": MAX_SIDE + 1}, Code.IMAGE_SIZE),
        ({"height": MAX_SIDE, "width": MAX_PIXELS // MAX_SIDE + 1}, Code.IMAGE_SIZE),
        ({"encoding": "nv12", "height": 3, "step": 4, "data": bytes(18)}, Code.IMAGE_SIZE),
        ({"encoding": "yuv422", "width": 3}, Code.IMAGE_SIZE),
        ({"step": 11}, Code.IMAGE_LAYOUT),
        ({"data": bytes(47)}, Code.IMAGE_LAYOUT),
        ({"data": bytes(49)}, Code.IMAGE_LAYOUT),
        ({"data": b""}, Code.IMAGE_LAYOUT),
        ({"data": None}, Code.IMAGE_LAYOUT),
        ({"data": "text"}, Code.IMAGE_LAYOUT),
        ({"data": np.zeros((4, 24), np.uint8)[:, ::2]}, Code.IMAGE_LAYOUT),
    ],
)
def test_fields_that_cannot_be_true_have_a_code(fields: dict[str, object], code: Code) -> None:
    assert code_of(**fields) is code


def test_a_lying_step_allocates_nothing() -> None:
    frame = decode_image(height=1, width=4, encoding="rgb8", is_bigendian=0, step=2**32 - 1, data=bytes(12), stamp_ns=0)
    assert frame.size == (4, 1)


def random_fields(rng: random.Random) -> dict[str, object]:
    """Fields of which about a third are true, the others off by a little or by a lot."""
    encoding = rng.choice([*sorted(ENCODINGS), "16UC1", "8UC3", ""]) if rng.random() < 0.9 else str(rng.getrandbits(64))
    width, height = (
        2 * rng.randrange(1, 12) if rng.random() < 0.85 else rng.getrandbits(rng.randrange(1, 33)) for _ in "wh"
    )
    per_pixel = CHANNELS.get(encoding, 2 if encoding in YUV422 else 1)
    rows = height * 3 // 2 if encoding.startswith("nv") else height
    step = width * per_pixel + rng.randrange(3) if rng.random() < 0.85 else rng.getrandbits(rng.randrange(1, 33))
    length = rows * step if rng.random() < 0.85 else rng.getrandbits(rng.randrange(1, 33))
    data = rng.randbytes(min(length, 4096))
    return {
        "height": height,
        "width": width,
        "encoding": encoding,
        "is_bigendian": rng.randrange(256),
        "step": step,
        "data": data,
    }


def test_random_fields_give_a_frame_or_a_refusal_and_nothing_else() -> None:
    rng, seen = random.Random(1), Counter[str]()
    for _ in range(20_000):
        fields = random_fields(rng)
        result = frame_or_code(decode_image, **fields, stamp_ns=0)
        if isinstance(result, Frame):
            assert result.size == (fields["width"], fields["height"])
            seen["OK " + str(fields["encoding"])] += 1
        else:
            assert result in IMAGE_CODES
            seen[result.name] += 1
    assert all(seen[code.name] >= 100 for code in IMAGE_CODES), seen
    assert all(seen["OK " + encoding] >= 100 for encoding in ENCODINGS), seen


def test_a_frame_of_the_wrong_kind_is_a_defect_and_not_an_input() -> None:
    with pytest.raises(ValueError, match="want uint8"):
        Frame(np.zeros((4, 4), np.uint8), 0)
    assert no_frame().size == (0, 0)


# ---- files ----


def picture() -> Pixels:
    return cv2.GaussianBlur(np.random.default_rng(8).integers(0, 256, (30, 40, 3), dtype=np.uint8), (0, 0), 3)


def encoded(kind: str, pixels: Pixels | None = None) -> bytes:
    return cv2.imencode(kind, picture() if pixels is None else pixels)[1].tobytes()


def compressed_code(data: object) -> Code:
    with pytest.raises(RejectedInput) as refused:
        decode_compressed(data, 0)
    return refused.value.code


def test_a_png_comes_back_exactly_and_in_rgb_order() -> None:
    frame = decode_compressed(encoded(".png"), 9, "cam")
    assert np.array_equal(frame.rgb[..., ::-1], picture())
    assert (frame.stamp_ns, frame.frame_id) == (9, "cam")


def test_a_jpeg_comes_back_nearly() -> None:
    difference = decode_compressed(encoded(".jpg"), 0).rgb[..., ::-1].astype(int) - picture()
    assert np.abs(difference).mean() < 3


def test_a_grey_and_a_transparent_png_become_rgb() -> None:
    assert decode_compressed(encoded(".png", np.zeros((4, 6), np.uint8)), 0).size == (6, 4)
    assert decode_compressed(encoded(".png", np.zeros((4, 6, 4), np.uint8)), 0).size == (6, 4)


@pytest.mark.parametrize(
    ("data", "code"), [(b"", Code.IMAGE_ENCODING), (b"GIF89a", Code.IMAGE_ENCODING), (None, Code.IMAGE_LAYOUT)]
)
def test_what_is_no_picture_file_has_a_code(data: object, code: Code) -> None:
    assert compressed_code(data) is code


def test_a_file_larger_than_any_picture_is_refused_unread() -> None:
    assert compressed_code(np.zeros(MAX_COMPRESSED_BYTES + 1, np.uint8)) is Code.IMAGE_SIZE


def test_a_picture_that_claims_to_be_huge_is_refused_by_its_header() -> None:
    png = bytearray(encoded(".png"))
    png[16:24] = (100_000).to_bytes(4, "big") * 2
    assert compressed_code(bytes(png)) is Code.IMAGE_SIZE
    jpeg = bytearray(encoded(".jpg"))
    frame_header = jpeg.index(b"\xff\xc0")
    jpeg[frame_header + 5 : frame_header + 9] = b"\xff\xff\xff\xff"
    assert compressed_code(bytes(jpeg)) is Code.IMAGE_SIZE


@pytest.mark.parametrize("kind", [".png", ".jpg"])
def test_a_file_cut_anywhere_is_refused(kind: str) -> None:
    whole = encoded(kind)
    for length in range(2, len(whole) - 4, 7):
        assert compressed_code(whole[:length]) in {Code.IMAGE_UNREADABLE, Code.IMAGE_ENCODING}


@pytest.mark.parametrize("kind", [".png", ".jpg"])
def test_flipped_bytes_give_a_frame_or_a_refusal(kind: str) -> None:
    rng, whole = random.Random(2), encoded(kind)
    for _ in range(1_000):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 5)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        result = frame_or_code(decode_compressed, bytes(data), 0)
        assert isinstance(result, Frame) or result in {Code.IMAGE_UNREADABLE, Code.IMAGE_SIZE, Code.IMAGE_ENCODING}


# ---- depth ----


def depth(values: NDArray[np.generic], encoding: str, **fields: object) -> NDArray[np.float32]:
    height, width = values.shape
    good = {"height": height, "width": width, "is_bigendian": 0, "step": values.strides[0], "data": values.tobytes()}
    return decode_depth(encoding=encoding, **(good | fields))  # type: ignore[arg-type]


def test_depth_comes_in_metres_and_nan_where_nothing_was_measured() -> None:
    metres = depth(np.array([[0, 1500, 65535]], "<u2"), "16UC1")
    assert metres.dtype == np.float32
    np.testing.assert_allclose(metres, [[np.nan, 1.5, 65.535]], rtol=1e-6)
    given = np.array([[np.nan, np.inf, -np.inf, -1, 0, 3e38, 10_001, 2.5]], "<f4")
    np.testing.assert_array_equal(depth(given, "32FC1"), np.array([[np.nan] * 7 + [2.5]], np.float32))


@pytest.mark.parametrize(("encoding", "dtype"), [("16UC1", ">u2"), ("32FC1", ">f4")])
def test_depth_is_read_in_either_byte_order(encoding: str, dtype: str) -> None:
    scale = 0.001 if encoding == "16UC1" else 1
    np.testing.assert_allclose(
        depth(np.array([[1000, 2]], dtype), encoding, is_bigendian=1), [[1000 * scale, 2 * scale]]
    )


@pytest.mark.parametrize(
    "fields",
    [{"encoding": "rgb8"}, {"data": bytes(7)}, {"step": 3}, {"width": 0}, {"height": 2**32 - 1}, {"data": None}],
)
def test_depth_that_cannot_be_true_has_one_code(fields: dict[str, object]) -> None:
    good = {"height": 2, "width": 2, "encoding": "16UC1", "is_bigendian": 0, "step": 4, "data": bytes(8)}
    with pytest.raises(RejectedInput) as refused:
        decode_depth(**(good | fields))  # type: ignore[arg-type]
    assert refused.value.code is Code.DEPTH_UNUSABLE
