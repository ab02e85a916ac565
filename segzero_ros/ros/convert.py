"""ROS messages in, values of the core out, and back: the only place where pixels cross between the two.

Arrays are handed over in one ``memoryview`` copy (0.2 ms for a 720p label image; assigning ``bytes`` or a list takes
rclpy 100 ms and more) and a header goes back out exactly as it came in. Command and reasoning were cleaned where they
came in; other strings may quote anything and are made safe here (a lone surrogate or a NUL would raise on publish).
"""

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from segzero_ros import pipeline
from segzero_ros.frame import Frame, message_decoder
from segzero_ros.msg import Instance, Segmentation, Timing

MAX_TEXT_CHARS = 65_536  # of any string published: a runaway model must not flood the graph

NAN_POINT = (math.nan, math.nan, math.nan)

Position = tuple[float, float, float]


def safe_text(text: str) -> str:
    """Return ``text`` as valid UTF-8 without NUL and at most MAX_TEXT_CHARS characters."""
    return text[:MAX_TEXT_CHARS].replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def time_message(stamp_ns: int) -> Time:
    """Convert a stamp back; the inverse of ``stamp_ns``."""
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def stamp_ns(stamp: Time) -> int:
    """Nanoseconds of a message stamp."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def frame_decoder(message: Image | CompressedImage) -> Callable[[], Frame]:
    """Return what decodes a camera message, see ``frame.message_decoder``."""
    return message_decoder(message, is_compressed=isinstance(message, CompressedImage))


def image_message(header: Header, pixels: NDArray[Any], encoding: str) -> Image:
    """Wrap (H, W) or (H, W, C) pixels in an Image under ``header``; an empty array makes an Image of 0 x 0."""
    height, width = pixels.shape[:2]
    message = Image(header=header, encoding=encoding, is_bigendian=int(sys.byteorder == "big"))
    if pixels.size:
        rows = np.ascontiguousarray(pixels)
        message.height, message.width, message.step = height, width, rows.strides[0]
        message.data.frombytes(rows.data.cast("B"))
    return message


def compressed_message(header: Header, content: bytes | NDArray[np.uint8], kind: str = "jpeg") -> CompressedImage:
    """Wrap an encoded picture."""
    message = CompressedImage(header=header, format=kind)
    message.data.frombytes(content)
    return message


def mask_message(header: Header, labels: pipeline.Labels) -> Image:
    """Wrap a label image: mono8, or mono16 where there are more than 254 instances.

    ``header``: the source image's own, passed on untouched (empty when there was no image).
    """
    return image_message(header, labels, "mono8" if labels.dtype == np.uint8 else "mono16")


def instance_message(instance: pipeline.Instance, position: Position = NAN_POINT) -> Instance:
    """Convert one found object; ``position`` in metres in the camera's optical frame, NaN when unknown."""
    x0, y0, x1, y1 = instance.box
    return Instance(
        label=safe_text(instance.label),
        track_id=int(instance.track_id),
        score=float(instance.score),
        x0=float(x0),
        y0=float(y0),
        x1=float(x1),
        y1=float(y1),
        point_x=float(instance.point[0]),
        point_y=float(instance.point[1]),
        position=Point(x=position[0], y=position[1], z=position[2]),
    )


def timing_message(timing: pipeline.Timing) -> Timing:
    """Convert the times of one command."""
    return Timing(
        queue_ms=float(timing.queue_ms),
        first_token_ms=float(timing.first_token_ms),
        reasoning_ms=float(timing.reasoning_ms),
        segmentation_ms=float(timing.segmentation_ms),
        tracking_ms=float(timing.tracking_ms),
        total_ms=float(timing.total_ms),
        tokens=int(timing.tokens),
        dropped_frames=int(timing.dropped_frames),
    )


def segmentation_message(
    result: pipeline.Segmentation,
    *,
    mask: Image,
    completed: Time,
    bundle: str,
    positions: tuple[Position, ...] = (),
    note: str = "",
) -> Segmentation:
    """Convert an answer. ``mask``: that of ``result.labels``; its header is the answer's, too.

    ``positions``: one per instance or none at all. ``note``: added to ``detail``: what went wrong beside the answer.
    """
    places = positions or (NAN_POINT,) * len(result.instances)
    return Segmentation(
        header=mask.header,
        command_id=result.command.id,
        command=result.command.text,
        code=int(result.code),
        detail=safe_text("; ".join(part for part in (result.detail, note) if part)),
        reasoning=result.reasoning[:MAX_TEXT_CHARS],
        instances=[instance_message(i, place) for i, place in zip(result.instances, places, strict=True)],
        mask=mask,
        tracked=result.tracked,
        grounded_stamp=mask.header.stamp if result.grounded_ns is None else time_message(result.grounded_ns),
        completed=completed,
        timing=timing_message(result.timing),
        bundle=safe_text(bundle),
    )
