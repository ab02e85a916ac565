"""Where the objects are in metres: the depth image of the same instant, looked at through the masks.

Covered: depth that is missing, late, of another size, full of NaN, zero or infinity; a camera matrix of zeros.
Not covered: depth that is not registered to the colour image (the driver's business), and intrinsics distortion.
"""

import math
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import decode_depth
from segzero_ros.pipeline import Labels
from segzero_ros.ros.convert import NAN_POINT, Position, stamp_ns

MAX_SKEW_NS = 50_000_000  # half the period of a 10 Hz camera: a depth image further away shows another moment
KEPT_IMAGES = 30  # one second at 30 Hz: depth that arrives up to a second before its colour image is still found


class DepthBuffer:
    """The depth images of the last moments and the newest camera matrix; single-threaded, decodes nothing unasked."""

    def __init__(self) -> None:
        self._images: deque[Image] = deque(maxlen=KEPT_IMAGES)
        self._info: CameraInfo | None = None

    def add_image(self, message: Image) -> None:
        """Keep a depth image; the oldest goes."""
        self._images.append(message)

    def set_info(self, message: CameraInfo) -> None:
        """Keep the newest camera matrix."""
        self._info = message

    def clear(self) -> None:
        """Forget all images and the camera matrix."""
        self._images.clear()
        self._info = None

    def nearest(self, stamp: int) -> Image | None:
        """Return the depth image next to ``stamp`` (ns), None when there is none within ``MAX_SKEW_NS``."""
        best = min(self._images, key=lambda image: _skew(image, stamp), default=None)
        return best if best is not None and _skew(best, stamp) <= MAX_SKEW_NS else None

    def locate(self, labels: Labels, count: int, depth: Image | None) -> tuple[Position, ...]:
        """Return the positions of instances 1..``count`` of ``labels``; ``RejectedInput`` DEPTH_UNUSABLE otherwise."""
        if depth is None:
            raise _unusable("no depth image within 50 ms of the picture", "check the topic `depth` and its stamps")
        if self._info is None:
            raise _unusable("no camera_info", "check the topic `camera_info`")
        if (depth.height, depth.width) != labels.shape:
            sizes = f"{depth.width} x {depth.height} for a picture of {labels.shape[1]} x {labels.shape[0]}"
            raise _unusable(f"a depth image of {sizes}", "register the depth to the colour image")
        metres = decode_depth(
            height=depth.height,
            width=depth.width,
            encoding=depth.encoding,
            is_bigendian=depth.is_bigendian,
            step=depth.step,
            data=depth.data,
        )
        intrinsics = _intrinsics(self._info)
        return tuple(_position(labels == k, metres, intrinsics) for k in range(1, count + 1))


def _skew(image: Image, stamp: int) -> int:
    return abs(stamp_ns(image.header.stamp) - stamp)


def _unusable(got: str, todo: str) -> RejectedInput:
    return RejectedInput(Code.DEPTH_UNUSABLE, f"got {got}; {todo}")


def _intrinsics(info: CameraInfo) -> tuple[float, float, float, float]:
    """(fx, fy, cx, cy) of the camera matrix K, row-major 3 x 3, in pixels."""
    fx, cx, fy, cy = (float(info.k[i]) for i in (0, 2, 4, 5))
    if not (all(math.isfinite(v) for v in (fx, fy, cx, cy)) and fx > 0 and fy > 0):
        raise _unusable(f"a camera matrix with fx={fx}, fy={fy}", "calibrate the camera")
    return fx, fy, cx, cy


def _position(mask: NDArray[np.bool_], metres: NDArray[Any], intrinsics: tuple[float, float, float, float]) -> Position:
    """Median of the visible surface in metres, x right, y down, z forward; NaN where no pixel has a depth."""
    fx, fy, cx, cy = intrinsics
    v, u = np.nonzero(mask & np.isfinite(metres))
    if not u.size:
        return NAN_POINT
    z = metres[v, u].astype(np.float64)
    x, y = (u - cx) * z / fx, (v - cy) * z / fy
    return float(np.median(x)), float(np.median(y)), float(np.median(z))
