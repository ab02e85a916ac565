"""The oriented box: upright on the support plane, turned as the smallest rectangle around the footprint is.

A camera sees the side that faces it. Where the front of the footprint is an arc, the thing is taken for round and its
hidden back is completed from the circle; else the top is believed to show how deep it is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segzero_ros.place.cloud import Floats, cross
from segzero_ros.place.plane import Plane

TAIL = 0.4  # percent of the points cut at either end of a length: flying pixels that were missed
ON_PLANE_M = 0.003  # lower than this above the plane is the plane: seen through the edge of a mask
ARC_POINTS = 24
ARC_FIT = 0.045  # of the radius: what an arc's points may deviate; the two sides of a square deviate by 0.1
FRONT = 0.1  # cosine between the outline's normal and the way to the camera, from where on it is the front
SURPLUS = 1.3  # of the visible width: a circle wider than this is a straight front


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """``centre`` (3,) metres, ``axes`` (3, 3): its columns are x (the longer side), y and z (up, away from the plane).

    ``size`` (3,): along these axes, metres. ``round``: its footprint is a circle, so that x is any direction.
    ``top``: the highest visible point (3,). ``completed``: metres added behind what is visible.
    """

    centre: Floats
    axes: Floats
    size: Floats
    round: bool
    top: Floats
    completed: float


def fit_box(points: Floats, plane: Plane) -> Box | None:
    """Return the box of the points (N, 3) above ``plane``; None where fewer than four are."""
    import cv2

    heights = plane.heights(points)
    above = heights > ON_PLANE_M + plane.spread
    if above.sum() < 4:
        return None
    points, heights = points[above], heights[above]
    basis = _basis(plane, points.mean(axis=0))
    flat = points @ basis[:, :2]
    kept = _trimmed(flat)
    flat = flat[kept]
    hull = cv2.convexHull(np.ascontiguousarray(flat, np.float32))[:, 0, :].astype(np.float64)
    height = float(np.sort(heights)[-1 - int(len(heights) * TAIL / 100)])
    top = points[int(np.argmin(abs(heights - height)))]
    circle = _circle(hull, flat) if len(hull) >= 5 else None
    if circle is not None:
        centre, radius, completed = circle
        turn, size = 0.0, np.array([2 * radius, 2 * radius])
    else:
        turn, centre, size = _rectangle(hull)
        completed = 0.0
    across = np.array([np.cos(turn), np.sin(turn)])
    x = basis[:, :2] @ across
    y = cross(plane.normal, x)
    middle = basis[:, :2] @ centre + plane.normal * (plane.offset + height / 2)
    return Box(
        middle,
        np.stack([x, y, plane.normal], axis=1),
        np.array([size[0], size[1], height]),
        circle is not None,
        top,
        completed,
    )


def _basis(plane: Plane, middle: Floats) -> Floats:
    """Columns: across the view, towards the camera along the plane, up."""
    up = plane.normal
    towards = -(middle - (middle @ up) * up)
    length = float(np.linalg.norm(towards))
    towards = towards / length if length > 1e-6 else cross(up, np.array([1.0, 0.0, 0.0]))
    return np.stack([cross(towards, up), towards, up], axis=1)


def _trimmed(flat: Floats) -> NDArray[np.bool_]:
    """Which points lie within the tails of both directions; all where they are few."""
    if len(flat) < 50:
        return np.ones(len(flat), bool)
    cut = int(len(flat) * TAIL / 100)
    ordered = np.sort(flat, axis=0)
    low, high = ordered[cut], ordered[-1 - cut]
    slack = 0.03 * (high - low)
    return np.asarray(((flat >= low - slack) & (flat <= high + slack)).all(axis=1))


def _rectangle(hull: Floats) -> tuple[float, Floats, Floats]:
    """Turn, centre (2,) and size (2,), the longer side first, of the smallest rectangle around a convex outline."""
    edges = np.roll(hull, -1, axis=0) - hull
    turns = np.arctan2(edges[:, 1], edges[:, 0]) % (np.pi / 2)
    across = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    along = np.stack([-across[:, 1], across[:, 0]], axis=1)
    x, y = hull @ across.T, hull @ along.T
    widths, depths = np.ptp(x, axis=0), np.ptp(y, axis=0)
    best = int(np.argmin(widths * depths))
    centre = across[best] * (x[:, best].max() + x[:, best].min()) / 2
    centre = centre + along[best] * (y[:, best].max() + y[:, best].min()) / 2
    size = np.array([widths[best], depths[best]])
    turn = float(turns[best])
    return (turn, centre, size) if size[0] >= size[1] else (turn + np.pi / 2, centre, size[::-1])


def _circle(hull: Floats, flat: Floats) -> tuple[Floats, float, float] | None:
    """Centre (2,), radius and what is completed, where the front of the outline is an arc (Kasa's fit); else None.

    The camera is in the direction +y.
    """
    following = np.roll(hull, -1, axis=0)
    edges = following - hull
    lengths = np.linalg.norm(edges, axis=1)
    middle = hull.mean(axis=0)
    outward = np.stack([edges[:, 1], -edges[:, 0]], axis=1)
    outward *= np.sign((outward * ((hull + following) / 2 - middle)).sum(axis=1))[:, None]
    front = (outward[:, 1] > FRONT * lengths) & (lengths > 0)
    total = float(lengths[front].sum())
    if front.sum() < 3 or total <= 0:
        return None
    ends = np.cumsum(lengths[front])
    at = np.linspace(0, total, ARC_POINTS, endpoint=False) + total / ARC_POINTS / 2
    which = np.searchsorted(ends, at)
    share = 1 - (ends[which] - at) / lengths[front][which]
    arc = hull[front][which] + share[:, None] * edges[front][which]
    design = np.column_stack([2 * arc, np.ones(ARC_POINTS)])
    cx, cy, rest = np.linalg.lstsq(design, (arc**2).sum(axis=1), rcond=None)[0]
    radius = float(np.sqrt(max(0.0, rest + cx**2 + cy**2)))
    centre = np.array([cx, cy])
    width = float(np.ptp(flat[:, 0]))
    if not (0.4 * width < radius < SURPLUS / 2 * width):
        return None
    off = np.linalg.norm(arc - centre, axis=1) - radius
    if np.sqrt((off**2).mean()) > ARC_FIT * radius:
        return None
    if (np.linalg.norm(flat - centre, axis=1) > 1.12 * radius).mean() > 0.02:  # a handle, a corner behind
        return None
    completed = float(max(0.0, flat[:, 1].min() - (cy - radius)))
    return centre, radius, completed
