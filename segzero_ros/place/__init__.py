"""Where and how large a thing is, and how to take hold of it: masks and depth in, boxes and grasps out.

    results = place(labels, count, depth, (fx, fy, cx, cy))
    for result in results:
        print(result.box.centre if isinstance(result, Placed) else result)

Everything is in metres in the camera's optical frame (x right, y down, z forward). What no robot should reach for, a
picture on the table or a thing without depth, is a ``Refusal`` with its reason; it never raises for a bad object.

Covered: upright things on one plane, partly hidden ones with a smaller box. Not covered: things that lie on others,
and the hidden back of what is neither round nor shows its top.
"""

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.place.box import Box, fit_box
from segzero_ros.place.cloud import Cloud, Floats, Intrinsics, as_metres, clouds
from segzero_ros.place.grasp import Grasp, grasps
from segzero_ros.place.plane import Plane, support_plane

PIXEL_SIGMA = 1.0  # pixels: how well a mask's edge is known
COMPLETED_SIGMA = 0.25  # of what was completed behind the visible side
DEPTH_SIGMA = 0.002  # of z^2, metres: structured light and stereo of short range


class Reason(str, enum.Enum):
    """Why an object is refused."""

    NO_DEPTH = "NO_DEPTH"
    FEW_POINTS = "FEW_POINTS"
    NO_PLANE = "NO_PLANE"
    FLAT = "FLAT"
    TOO_SMALL = "TOO_SMALL"
    TOO_LARGE = "TOO_LARGE"
    TOO_FAR = "TOO_FAR"


@dataclass(frozen=True, slots=True)
class Limits:
    """The gates: an object outside of them is refused. Metres; ``min_valid``: a share of its mask's pixels."""

    min_points: int = 40
    min_valid: float = 0.3
    min_size: float = 0.01
    max_size: float = 0.6
    min_height: float = 0.008
    max_distance: float = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """An object in space. ``covariance`` (3, 3) of the box's centre, square metres; ``quality`` 0..1.

    ``quality`` is the share of the mask with depth times the share of the surroundings on the plane.
    """

    box: Box
    cloud: Cloud
    plane: Plane
    grasps: tuple[Grasp, ...]
    covariance: Floats
    quality: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """An object that is in the picture but not in space. ``detail``: what was measured, and what the limit is."""

    reason: Reason
    detail: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.reason.value}: {self.detail}"


def place(
    labels: NDArray[np.uint8] | NDArray[np.uint16],
    count: int,
    depth: NDArray[np.float32] | NDArray[np.uint16],
    intrinsics: Intrinsics,
    limits: Limits = Limits(),
    opening: float = 0.085,
) -> tuple[Placed | Refusal, ...]:
    """Place the objects 1..``count`` of a label image (H, W) by a depth image of its size.

    ``depth``: float32 in metres or uint16 in millimetres; 0, NaN and infinity are not measured. ``opening``: the
    gripper's, metres. Raises ``RejectedInput`` DEPTH_UNUSABLE where the two images do not fit together.
    """
    if depth.shape != labels.shape:
        got = f"depth of {depth.shape} for masks of {labels.shape} (height, width)"
        raise RejectedInput(Code.DEPTH_UNUSABLE, f"got {got}; register the depth to the colour image")
    metres = as_metres(depth)
    return tuple(
        _place_one(cloud, labels, metres, intrinsics, limits, opening)
        for cloud in clouds(labels, count, metres, intrinsics)
    )


def _place_one(
    cloud: Cloud,
    labels: NDArray[np.uint8] | NDArray[np.uint16],
    metres: NDArray[np.float32],
    intrinsics: Intrinsics,
    limits: Limits,
    opening: float,
) -> Placed | Refusal:
    refusal = _refuse_cloud(cloud, limits)
    if refusal is not None:
        return refusal
    plane = support_plane(cloud, labels, metres, intrinsics)
    if plane is None:
        return Refusal(Reason.NO_PLANE, "nothing flat around it; show what it stands on")
    height = float(np.sort(plane.heights(cloud.points))[-1 - len(cloud.points) // 50])
    lowest = max(limits.min_height, 2 * plane.spread)
    if height < lowest:
        return Refusal(Reason.FLAT, f"{height * 1000:.0f} mm above what is around it, want {lowest * 1000:.0f}")
    box = fit_box(cloud.points, plane)
    if box is None:
        return Refusal(Reason.FLAT, "hardly a point above what is around it")
    refusal = _refuse_size(box, limits)
    if refusal is not None:
        return refusal
    quality = cloud.valid * plane.share
    found = grasps(box, cloud, plane, opening, quality)
    return Placed(box, cloud, plane, found, _covariance(box, intrinsics), quality)


def _refuse_cloud(cloud: Cloud, limits: Limits) -> Refusal | None:
    if cloud.valid < limits.min_valid:
        share = f"{cloud.valid:.0%} of its pixels have depth, want {limits.min_valid:.0%}"
        return Refusal(Reason.NO_DEPTH, share)
    if len(cloud.points) < limits.min_points:
        return Refusal(Reason.FEW_POINTS, f"{len(cloud.points)} points, want {limits.min_points}")
    distance = float(np.sort(cloud.points[:, 2])[len(cloud.points) // 2])
    if distance > limits.max_distance:
        return Refusal(Reason.TOO_FAR, f"{distance:.2f} m away, want at most {limits.max_distance:.2f}")
    return None


def _refuse_size(box: Box, limits: Limits) -> Refusal | None:
    longest = float(box.size.max())
    if longest > limits.max_size:
        return Refusal(Reason.TOO_LARGE, f"{longest:.2f} m long, want at most {limits.max_size:.2f}")
    if longest < limits.min_size:
        return Refusal(Reason.TOO_SMALL, f"{longest * 1000:.0f} mm long, want {limits.min_size * 1000:.0f}")
    return None


def _covariance(box: Box, intrinsics: Intrinsics) -> Floats:
    """Of the centre: the mask's edge across the view, depth along it, and what was completed behind."""
    z = float(box.centre[2])
    ray = box.centre / np.linalg.norm(box.centre)
    across, along = PIXEL_SIGMA * z / min(intrinsics[:2]), DEPTH_SIGMA * z * z
    hidden = COMPLETED_SIGMA * box.completed
    return np.asarray(across**2 * np.eye(3) + (along**2 + hidden**2) * np.outer(ray, ray))
