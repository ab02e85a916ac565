"""Where the objects are in metres: the depth image of the same instant, looked at through the masks.

Covered: depth that is missing, late, of another size or frame, full of NaN, zero or infinity; a camera matrix of zeros,
of another size or frame, of a binned sensor or a part of it.
Not covered: depth that says it is registered to the colour image and is not, and the lens's distortion.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import decode_depth
from segzero_ros.pipeline import Labels
from segzero_ros.ros.convert import NAN_POINT, Position, stamp_ns

MAX_SKEW_NS = 50_000_000  # half the period of a 10 Hz camera: a depth image further away shows another moment
KEPT_IMAGES = 30  # one second at 30 Hz: depth that arrives up to a second before its colour image is still found
KEPT_BYTES = 150_000_000  # one 8K image of floats, or 30 of 720p
FOCAL_RANGE = (0.01, 1000.0)  # of the picture's longer side: views of 179 down to 0.06 degrees
SAMPLED_PIXELS = 20_000  # of a larger surface: moves the median of one 10 cm wide by a third of a millimetre
MAX_OFF_CENTRE = 100.0  # of the picture's longer side: a small part of a large sensor, far from the axis

Positions = tuple[Position, ...]
Measured = tuple[NDArray[np.float32], tuple[float, float, float, float]]
_NO_HEADER = Header()


class DepthBuffer:
    """The depth images of the last moments and the newest camera matrix; decodes nothing unasked.

    One thread at a time, but for ``locate`` and ``measured``, which take long: they may run beside all others.
    """

    def __init__(self) -> None:
        self._images: deque[Image] = deque(maxlen=KEPT_IMAGES)
        self._info: CameraInfo | None = None

    def add_image(self, message: Image) -> None:
        """Keep a depth image; the oldest go. One without a stamp, or of more than KEPT_BYTES, is not kept."""
        if stamp_ns(message.header.stamp) == 0 or len(message.data) > KEPT_BYTES:
            return
        self._images.append(message)
        while sum(len(image.data) for image in self._images) > KEPT_BYTES:
            self._images.popleft()

    def set_info(self, message: CameraInfo) -> None:
        """Keep the newest camera matrix."""
        self._info = message

    def clear(self) -> None:
        """Forget all images; the camera matrix stays, which may have been published once and for all."""
        self._images.clear()

    def nearest(self, stamp: int) -> Image | None:
        """Return the depth image next to ``stamp`` (ns), None when there is none within ``MAX_SKEW_NS``.

        Of several with the same stamp it is the one that came last.
        """
        best = min(reversed(self._images), key=lambda image: skew_ns(image, stamp), default=None)
        return best if best is not None and skew_ns(best, stamp) <= MAX_SKEW_NS else None

    def may_still_come(self, stamp: int) -> bool:
        """Whether depth images come, and the newest one is of a moment before ``stamp`` (ns)."""
        return bool(self._images) and stamp_ns(self._images[-1].header.stamp) < stamp

    def locate(self, labels: Labels, count: int, depth: Image | None, header: Header = _NO_HEADER) -> Positions:
        """Return the positions of instances 1..``count`` of ``labels``; ``RejectedInput`` as ``measured``."""
        return positions(labels, count, *self.measured(labels, depth, header))

    def measured(self, labels: Labels, depth: Image | None, header: Header = _NO_HEADER) -> Measured:
        """Return depth in metres and fx, fy, cx, cy of the picture under ``labels``; else DEPTH_UNUSABLE.

        ``header``: the colour image's, in whose frame depth and camera matrix have to be.
        """
        if header is not _NO_HEADER and stamp_ns(header.stamp) == 0:
            raise _unusable("a picture without a stamp, which no depth can be of", "have its driver set header.stamp")
        if depth is None:
            raise _unusable("no depth image within 50 ms of the picture", "check the topic `depth` and its stamps")
        info = self._info
        if info is None:
            raise _unusable("no camera_info", "check the topic `camera_info`")
        if (depth.height, depth.width) != labels.shape:
            sizes = f"{depth.width} x {depth.height} for a picture of {labels.shape[1]} x {labels.shape[0]}"
            raise _unusable(f"a depth image of {sizes}", "register the depth to the colour image")
        _check_frame("the depth image", depth.header, header, "register the depth to the colour image")
        _check_frame("camera_info", info.header, header, "remap `camera_info` to that of the colour image")
        metres = decode_depth(
            height=depth.height,
            width=depth.width,
            encoding=depth.encoding,
            is_bigendian=depth.is_bigendian,
            step=depth.step,
            data=depth.data,
        )
        return metres, _intrinsics(info, (depth.width, depth.height))


def skew_ns(image: Image, stamp: int) -> int:
    """Return how far the moment of ``image`` is from ``stamp`` (ns)."""
    return abs(stamp_ns(image.header.stamp) - stamp)


def _check_frame(what: str, theirs: Header, picture: Header, todo: str) -> None:
    """Raise where both say in which frame they are, and it is not the same one."""
    names = [header.frame_id.lstrip("/")[:80] for header in (theirs, picture)]  # ROS 1 had a slash before
    if all(names) and names[0] != names[1]:
        raise _unusable(f"{what} in the frame {names[0]!r} for a picture in {names[1]!r}", todo)


def _unusable(got: str, todo: str) -> RejectedInput:
    return RejectedInput(Code.DEPTH_UNUSABLE, f"got {got}; {todo}")


def _intrinsics(info: CameraInfo, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """(fx, fy, cx, cy) in pixels of a picture of ``size`` (width, height).

    K is that of the whole sensor, ``info.width`` x ``info.height``; the picture is the part ``roi`` of it (all of it
    where the ROI is empty), with ``binning`` sensor pixels to one of its own (sensor_msgs/CameraInfo).
    """
    fx, cx, fy, cy = (float(info.k[i]) for i in (0, 2, 4, 5))
    binning = max(1, info.binning_x), max(1, info.binning_y)
    if any(info.k[i] for i in (3, 6, 7)):  # NaN, too
        raise _unusable(
            f"a camera matrix of {[float(number) for number in info.k]}", "give K row by row: fx 0 cx 0 fy cy 0 0 1"
        )
    x0, y0, *part = info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height
    if not all(part):
        x0, y0, *part = 0, 0, info.width, info.height
    if x0 + part[0] > info.width or y0 + part[1] > info.height:
        raise _unusable(
            f"a camera_info whose ROI, {part[0]} x {part[1]} from {x0}, {y0} on, leaves {info.width} x {info.height}",
            "give width and height of the whole sensor, and the ROI in its pixels",
        )
    wanted = (part[0] // binning[0], part[1] // binning[1])
    if wanted != size:
        raise _unusable(
            f"a camera_info for pictures of {wanted[0]} x {wanted[1]} with one of {size[0]} x {size[1]}",
            "resize or crop camera_info together with the picture, as image_proc does",
        )
    fx, cx, fy, cy = fx / binning[0], (cx - x0) / binning[0], fy / binning[1], (cy - y0) / binning[1]
    side, (low, high) = max(size), FOCAL_RANGE
    if not all(low * side <= f <= high * side for f in (fx, fy)):  # NaN, too
        raise _unusable(f"a camera matrix with fx={fx}, fy={fy} for a picture of {size}", "calibrate the camera")
    if not all(abs(c) <= MAX_OFF_CENTRE * side for c in (cx, cy)):
        raise _unusable(f"a camera matrix with cx={cx}, cy={cy} for a picture of {size}", "calibrate the camera")
    return fx, fy, cx, cy


def positions(
    labels: Labels, count: int, metres: NDArray[np.float32], intrinsics: tuple[float, float, float, float]
) -> Positions:
    """Medians of the visible surfaces of instances 1..``count``, see ``_median_point``.

    All pixels are looked at once, and sorted by instance, whatever the number of instances.
    """
    pixels = np.flatnonzero((labels > 0) & np.isfinite(metres))
    owners = labels.ravel()[pixels]
    pixels = pixels[np.argsort(owners, kind="stable")]  # a radix sort, of one or two bytes
    ends = np.cumsum(np.bincount(owners, minlength=count + 1))
    return tuple(_median_point(pixels[ends[k - 1] : ends[k]], metres, intrinsics) for k in range(1, count + 1))


def _median_point(
    pixels: NDArray[np.intp], metres: NDArray[np.float32], intrinsics: tuple[float, float, float, float]
) -> Position:
    """Median of the surface in ``pixels`` (flat indices), metres, x right, y down, z forward; NaN without any.

    Of more than SAMPLED_PIXELS so many are drawn, the same each time.
    """
    fx, fy, cx, cy = intrinsics
    if not pixels.size:
        return NAN_POINT
    if pixels.size > SAMPLED_PIXELS:
        pixels = pixels[np.random.default_rng(0).integers(0, pixels.size, SAMPLED_PIXELS)]
    v, u = np.divmod(pixels, metres.shape[1])
    z = metres.ravel()[pixels].astype(np.float64)
    x, y = (u - cx) * z / fx, (v - cy) * z / fy
    return float(np.median(x)), float(np.median(y)), float(np.median(z))
