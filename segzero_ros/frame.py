"""A camera frame: raw image fields in, an RGB array or ``RejectedInput`` out.

One invariant: for every width, height, step and endianness from 0 to 2^32-1, every encoding name and every bytes, the
decoders return a value or raise ``RejectedInput``, never another exception.
Covered: fields that contradict each other, padding, byte order, sizes beyond the limits; JPEG and PNG that are broken
or cost too much (``compressed/``).
Not covered: whether the picture shows what its encoding claims (a BGR picture sent as rgb8 looks fine to a decoder).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from segzero_ros.compressed import PictureFile, decoder, read_picture_file, unreadable
from segzero_ros.compressed.jpeg import SOI
from segzero_ros.errors import Code, RejectedInput, nearest

MAX_SIDE = 8192  # an 8K camera is 7680 x 4320
MAX_PIXELS = 8192 * 4320  # 8K again: 106 MB as RGB, the most one frame may cost
MAX_LATE_NS = 60_000_000_000  # no network holds a picture back for longer
_FRESH_NS = 1_000_000_000  # a stamp so near to this clock, before or behind, is of this clock
_JUMP_AFTER_NS = 500_000_000  # without anything newer: a few frames of a camera
MAX_DEPTH_M = 10_000.0  # further than any sensor of a robot; some write 1e38 where they saw nothing
MAX_COMPRESSED_BYTES = 64 << 20  # an 8K PNG of noise is larger, a picture is not

Bytes = NDArray[np.uint8]  # (rows, bytes in use per row), the padding already gone


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of the camera.

    ``rgb``: uint8 (H, W, 3), contiguous, never written to after construction. ``stamp_ns``: the camera's own stamp,
    ns of whatever clock the camera uses. ``frame_id``: the optical frame's name. Two frames are equal only when they
    are the same object, so ``is`` and ``==`` agree and hashing is cheap.
    """

    rgb: NDArray[np.uint8]
    stamp_ns: int
    frame_id: str = ""

    def __post_init__(self) -> None:
        """Hold the promise of the class docstring; breaking it is a defect of the caller (ValueError)."""
        if self.rgb.dtype != np.uint8 or self.rgb.ndim != 3 or self.rgb.shape[2] != 3:
            raise ValueError(f"got {self.rgb.dtype} {self.rgb.shape}, want uint8 (H, W, 3); image_decoder makes one")

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.rgb.shape[1], self.rgb.shape[0]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a frame's stamp says.

    ``late_ns``: how old it was when it came, 0 where ``by_stamp`` is false: not known.
    ``kind``: "new", "repeated" (the same frame once more) or "older" (than one that has come already). ``jumped``:
    stamps went back for good: a bag that loops, a clock that was set.
    """

    kind: Literal["new", "repeated", "older"]
    late_ns: int = 0
    by_stamp: bool = False
    jumped: bool = False


class StampOrder:
    """Judges a camera's frames by their stamps, each against those before it and against this clock; single-threaded.

    A stamp up to MAX_LATE_NS behind this clock is of this clock, and its frame late. One further behind is a bag's or a
    camera's own, as is one of the future, and so are those after a jump, until one is fresh: then only arrivals tell.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._newest_ns: int | None = None
        self._newest_came_ns = 0
        self._older_ns: int | None = None
        self._now_ns: int | None = None
        self._doubted = False

    def judge(self, stamp_ns: int, now_ns: int, came_ns: int, is_same: Callable[[], bool]) -> Judgement:
        """Judge a frame. ``now_ns``: this clock, of the kind the stamps should be. ``came_ns``: monotonic.

        ``is_same``: whether its pixels are those of the frame before; asked where the stamps are equal.
        """
        clock_set_back = self._now_ns is not None and now_ns < self._now_ns - _FRESH_NS
        self._now_ns = now_ns
        if stamp_ns == 0:
            return Judgement("new")  # not set
        if stamp_ns == self._newest_ns:
            return Judgement("repeated") if is_same() else Judgement("new")
        jumped = self._newest_ns is not None and stamp_ns < self._newest_ns
        if jumped and not (clock_set_back or self._is_jump(stamp_ns, came_ns)):
            self._older_ns = stamp_ns
            return Judgement("older")
        self._newest_ns, self._newest_came_ns, self._older_ns = stamp_ns, came_ns, None
        late_ns = now_ns - stamp_ns
        is_fresh = abs(late_ns) <= _FRESH_NS
        self._doubted = (self._doubted or jumped) and not is_fresh
        by_stamp = is_fresh or (0 <= late_ns <= MAX_LATE_NS and not self._doubted)
        return Judgement("new", max(0, late_ns) if by_stamp else 0, by_stamp, jumped)

    def _is_jump(self, stamp_ns: int, came_ns: int) -> bool:
        """Whether a step back is for good: too large for a frame held up on its way, or nothing newer comes."""
        if self._newest_ns is None or self._newest_ns - stamp_ns > MAX_LATE_NS:
            return True
        goes_on = self._older_ns is not None and stamp_ns > self._older_ns
        return goes_on and came_ns - self._newest_came_ns >= _JUMP_AFTER_NS


def no_frame() -> Frame:
    """Return the frame of a command that ended before any picture was there: 0 x 0 pixels, stamp 0."""
    return Frame(np.zeros((0, 0, 3), np.uint8), 0)


@dataclass(frozen=True, slots=True)
class Layout:
    """How an encoding lies in memory and becomes RGB: ``to_rgb((rows, row bytes), (h, w), big-endian)``."""

    bytes_per_pixel: int
    to_rgb: Callable[[Bytes, tuple[int, int], bool], NDArray[Any]]
    even_width: bool = False
    even_height: bool = False
    rows_per_2: int = 2  # rows of data per two rows of the picture; 3 with a half-height chroma plane below

    def rows(self, height: int) -> int:
        """Rows of data for a picture of that height."""
        return height * self.rows_per_2 // 2


def _rgb_to_rgb(rows: Bytes, size: tuple[int, int], _big: bool) -> NDArray[Any]:
    return rows.reshape(*size, 3).copy()


def _picked(channels: int, red: int, green: int, blue: int) -> Layout:
    """Pixels of ``channels`` bytes of which these are their red, green and blue."""

    def to_rgb(rows: Bytes, size: tuple[int, int], _big: bool) -> NDArray[Any]:
        return _take(rows.reshape(*size, channels), red, green, blue)

    return Layout(channels, to_rgb)


def _mono16_to_rgb(rows: Bytes, size: tuple[int, int], big: bool) -> NDArray[Any]:
    high = 0 if big else 1
    return _take(rows.reshape(*size, 2), high, high, high)


def _take(pixels: Bytes, *channels: int) -> NDArray[Any]:
    """Return these channels of ``pixels`` (H, W, N), one by one: NumPy takes ten times as long for all at once."""
    rgb = np.empty((*pixels.shape[:2], 3), np.uint8)
    for at, channel in enumerate(channels):
        rgb[..., at] = pixels[..., channel]
    return rgb


def _converted(name: str, channels: int = 1, **shape: Any) -> Layout:
    """What OpenCV's conversion ``name`` makes RGB; imported by the first such picture, for it is large (Debian's)."""

    def to_rgb(rows: Bytes, _size: tuple[int, int], _big: bool) -> NDArray[Any]:
        import cv2

        return cv2.cvtColor(rows.reshape(len(rows), -1, channels), getattr(cv2, name))

    return Layout(channels, to_rgb, even_width=True, **shape)


# Names as in sensor_msgs/image_encodings. mono16 keeps its high byte. YUV is BT.601, limited range. OpenCV names Bayer
# patterns by the second row's second and third pixel, ROS by the first two rows.
_LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "rgb8": Layout(3, _rgb_to_rgb),
        "bgr8": _picked(3, 2, 1, 0),
        "rgba8": _picked(4, 0, 1, 2),
        "bgra8": _picked(4, 2, 1, 0),
        "mono8": _picked(1, 0, 0, 0),
        "mono16": Layout(2, _mono16_to_rgb),
        "yuv422": _converted("COLOR_YUV2RGB_UYVY", 2),
        "uyvy": _converted("COLOR_YUV2RGB_UYVY", 2),
        "yuv422_yuy2": _converted("COLOR_YUV2RGB_YUY2", 2),
        "yuyv": _converted("COLOR_YUV2RGB_YUY2", 2),
        "nv12": _converted("COLOR_YUV2RGB_NV12", even_height=True, rows_per_2=3),
        "nv21": _converted("COLOR_YUV2RGB_NV21", even_height=True, rows_per_2=3),
        "bayer_rggb8": _converted("COLOR_BayerBG2RGB", even_height=True),
        "bayer_bggr8": _converted("COLOR_BayerRG2RGB", even_height=True),
        "bayer_gbrg8": _converted("COLOR_BayerGR2RGB", even_height=True),
        "bayer_grbg8": _converted("COLOR_BayerGB2RGB", even_height=True),
    }
)
ENCODINGS = frozenset(_LAYOUTS)
# Names, in small letters, of pixels without a meaning as colours.
_NO_PICTURE = re.compile(r"(?:type_)?\d+[usf]c\d*$|bayer_|compresseddepth$|disparity$")


def image_decoder(
    *,
    height: int,
    width: int,
    encoding: str,
    is_bigendian: bool | int,
    step: int,
    data: object,
    stamp_ns: int,
    frame_id: str = "",
) -> Callable[[], Frame]:
    """Return what decodes a ``sensor_msgs/Image`` with these fields into a frame of its own memory.

    ``data``: any contiguous buffer of bytes (bytes, memoryview, array, ndarray), not read before the call. ``step``:
    bytes per row, padding included. Raises ``RejectedInput`` at once: IMAGE_ENCODING for an unknown name, IMAGE_SIZE
    outside 1..MAX_SIDE and MAX_PIXELS, IMAGE_LAYOUT when step, size and length contradict each other. The call itself
    cannot fail.
    """
    content = _buffer(data)
    layout = _layout(width, height, encoding)
    row_bytes = width * layout.bytes_per_pixel
    _check_length(layout.rows(height), step, row_bytes, content.size)

    def decode() -> Frame:
        rows = _rows(content, layout.rows(height), step, row_bytes)
        return _frame(layout.to_rgb(rows, (height, width), bool(is_bigendian)), stamp_ns, frame_id)

    return decode


def _layout(width: int, height: int, encoding: str) -> Layout:
    layout = _LAYOUTS.get(encoding)
    if layout is None:
        raise RejectedInput(Code.IMAGE_ENCODING, f"got the encoding {encoding[:40]!r}{nearest(encoding, ENCODINGS)}")
    _check_size(width, height)
    if (layout.even_width and width % 2) or (layout.even_height and height % 2):
        raise RejectedInput(
            Code.IMAGE_SIZE, f"got {width} x {height} {encoding}, want even sides; crop the last row or column"
        )
    return layout


def compressed_size(data: object) -> tuple[int, int]:
    """Return (width, height) of a JPEG or PNG file in memory, decoding nothing.

    Raises ``RejectedInput``: IMAGE_ENCODING for another kind of file, IMAGE_SIZE for one that is larger, or costs more
    to decode, than any picture may, IMAGE_UNREADABLE for a broken or truncated one.
    """
    file = _picture_file(data, follow_exif=True)
    return file.width, file.height


def decode_compressed(data: object, stamp_ns: int, frame_id: str = "", *, follow_exif: bool = True) -> Frame:
    """Read a JPEG or PNG file in memory; what it costs is checked in its headers, before anything is decoded.

    ``follow_exif``: turn it as its EXIF orientation says. That is right for files, which people look at; a camera's
    frame belongs to a calibration and to depth of the sensor's own orientation. Raises as ``compressed_size`` does,
    and IMAGE_UNREADABLE where the decoder finds damage.
    """
    file = _picture_file(data, follow_exif=follow_exif)
    rgb = decoder.decode(file.content, follow_exif=follow_exif)
    if rgb.shape[0] * rgb.shape[1] != file.width * file.height:
        raise unreadable("the decoder found another size than its header")
    return _frame(rgb, stamp_ns, frame_id)


def decode_mosaic(data: object, encoding: str, stamp_ns: int, frame_id: str = "") -> Frame:
    """Read a PNG file whose grey values are the Bayer mosaic ``encoding``, as image_transport writes it.

    Raises as ``decode_compressed``, and IMAGE_ENCODING for a JPEG, which has mixed the colours of neighbours.
    """
    file = _picture_file(data, follow_exif=False)
    if file.content[:2] == SOI:
        raise RejectedInput(
            Code.IMAGE_ENCODING,
            f"got a JPEG of {encoding[:40]!r}, whose colours are lost; publish PNG, or the picture debayered",
        )
    grey = decoder.decode_unchanged(file.content)
    if grey.ndim != 2 or grey.dtype != np.uint8:
        raise RejectedInput(
            Code.IMAGE_ENCODING, f"got a PNG of {grey.dtype} {grey.shape} as {encoding[:40]!r}, want 8-bit grey"
        )
    height, width = grey.shape
    return image_decoder(
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=False,
        step=width,
        data=grey,
        stamp_ns=stamp_ns,
        frame_id=frame_id,
    )()


def _picture_file(data: object, *, follow_exif: bool) -> PictureFile:
    """Return a file whose size and cost are within the limits."""
    content = _buffer(data)
    if content.size > MAX_COMPRESSED_BYTES:
        raise RejectedInput(
            Code.IMAGE_SIZE, f"got {content.size} bytes, want at most {MAX_COMPRESSED_BYTES}; send a smaller picture"
        )
    file = read_picture_file(content.data)
    _check_size(file.width, file.height)
    file.check_cost(follow_exif=follow_exif)
    return file


def compressed_decoder(kind: str, data: object, stamp_ns: int, frame_id: str = "") -> Callable[[], Frame]:
    """Return what decodes a ``sensor_msgs/CompressedImage`` with these fields; ``kind``: its ``format``.

    Raises ``RejectedInput`` IMAGE_ENCODING for a format that is no picture; the call as ``decode_compressed`` does.
    """
    mosaic = bayer_pattern(kind)
    if mosaic:
        return partial(decode_mosaic, data, mosaic, stamp_ns, frame_id)
    return partial(decode_compressed, data, stamp_ns, frame_id, follow_exif=False)


def message_decoder(message: Any, *, is_compressed: bool) -> Callable[[], Frame]:
    """Return what decodes a camera's message, sensor_msgs/CompressedImage or Image, whichever library made it.

    ``RejectedInput`` with an IMAGE_ code when its fields make no picture. No pixel is touched yet: every frame can be
    checked, in microseconds, and only the one a command needs be decoded.
    """
    header = message.header
    stamp_ns = int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)
    if is_compressed:
        if not message.data:
            raise RejectedInput(Code.IMAGE_UNREADABLE, "got an empty compressed image, want JPEG or PNG")
        return compressed_decoder(message.format, message.data, stamp_ns, header.frame_id)
    return image_decoder(
        height=message.height,
        width=message.width,
        encoding=message.encoding,
        is_bigendian=message.is_bigendian,
        step=message.step,
        data=message.data,
        stamp_ns=stamp_ns,
        frame_id=header.frame_id,
    )


def bayer_pattern(compressed_format: str) -> str:
    """Return the Bayer encoding of a file's grey values by ``CompressedImage.format``, "" where it is a picture.

    image_transport writes "ENCODING; CODEC compressed PIXELS": what the camera sent, and what the file holds, which is
    ENCODING where PIXELS is missing. Many drivers write "jpeg" only, or nothing; then it is a picture. Capitals do not
    count. Raises ``RejectedInput`` IMAGE_ENCODING for pixels that are no colours, such as depth, or in an order that
    nobody knows.
    """
    camera, *rest = (part.strip() for part in compressed_format.casefold().split(";"))
    words = rest[0].split() if rest else []
    held = words[2] if len(words) > 2 and words[1] == "compressed" else camera
    names = [*camera.split(), held, *words]
    if held.startswith("bayer_") and held in ENCODINGS and "compresseddepth" not in names:
        return held
    for name in names:
        if _NO_PICTURE.match(name) and not (name == camera != held and name.startswith("bayer_")):
            raise RejectedInput(
                Code.IMAGE_ENCODING,
                f"got a compressed image of the format {compressed_format[:80]!r}, want a picture in colours or grey; "
                "subscribe to the camera's rectified or debayered topic",
            )
    return ""


def decode_depth(
    *, height: int, width: int, encoding: str, is_bigendian: bool | int, step: int, data: object
) -> NDArray[np.float32]:
    """Read a depth image, 16UC1 in mm or 32FC1 in m, as float32 (H, W) metres, NaN where nothing was measured.

    Zero, negative and infinite values, and those beyond MAX_DEPTH_M, count as not measured. Raises ``RejectedInput``
    DEPTH_UNUSABLE for fields that cannot be true.
    """
    kind = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}.get(encoding)
    if kind is None:
        raise RejectedInput(Code.DEPTH_UNUSABLE, f"got the encoding {encoding[:40]!r}, want 16UC1 (mm) or 32FC1 (m)")
    dtype = np.dtype(kind).newbyteorder(">" if is_bigendian else "<")
    try:
        _check_size(width, height)
        content, row_bytes = _buffer(data), width * dtype.itemsize
        _check_length(height, step, row_bytes, content.size)
    except RejectedInput as error:
        raise RejectedInput(Code.DEPTH_UNUSABLE, error.detail) from None
    values = _rows(content, height, step, row_bytes).view(dtype).astype(np.float32)
    metres = values * np.float32(0.001) if kind == "u2" else values
    metres[~((metres > 0) & (metres <= MAX_DEPTH_M))] = np.nan  # NaN compares false
    return metres


def _check_size(width: int, height: int) -> None:
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise RejectedInput(
            Code.IMAGE_SIZE,
            f"got {width} x {height}, want sides of 1..{MAX_SIDE} and at most {MAX_PIXELS} pixels; resize it upstream",
        )


def _buffer(data: object) -> Bytes:
    """View ``data`` as bytes without a copy."""
    try:
        view = memoryview(cast(bytes, data))  # anything else is refused by memoryview itself
        return np.frombuffer(view.cast("B"), np.uint8) if view.nbytes else np.zeros(0, np.uint8)
    except (TypeError, ValueError, BufferError):
        raise RejectedInput(
            Code.IMAGE_LAYOUT, f"got {type(data).__name__} as data, want a contiguous buffer of bytes"
        ) from None


def _rows(content: Bytes, rows: int, step: int, row_bytes: int) -> Bytes:
    """Return (rows, row_bytes) of checked ``content`` without its padding; the last row may come without padding."""
    # Strided, not reshaped: completing the last row would allocate what a lying step claims.
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(content, (rows, row_bytes), (step, 1)))


def _check_length(rows: int, step: int, row_bytes: int, length: int) -> None:
    if step < row_bytes:
        raise RejectedInput(Code.IMAGE_LAYOUT, f"got step {step}, want at least {row_bytes} bytes per row")
    if not (rows - 1) * step + row_bytes <= length <= rows * step:
        raise RejectedInput(
            Code.IMAGE_LAYOUT, f"got {length} bytes, want {rows * step} ({rows} rows of step {step}); check the driver"
        )


def _frame(rgb: NDArray[Any], stamp_ns: int, frame_id: str) -> Frame:
    rgb.flags.writeable = False
    return Frame(rgb, stamp_ns, frame_id)
