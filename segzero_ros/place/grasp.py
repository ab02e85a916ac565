"""How a gripper of two parallel fingers may take a thing: from above first, then from the side where faces oppose.

A pose here is the point between the fingers: z the approach, x the way the fingers close, both unit vectors.
"""

from dataclasses import dataclass

import numpy as np

from segzero_ros.place.box import Box
from segzero_ros.place.cloud import Cloud, Floats, cross
from segzero_ros.place.plane import Plane

CLEARANCE_M = 0.005  # each finger stays so far from the surface
DIP_M = 0.02  # how far below the top the fingers close, where the thing is as high
OPPOSED = 0.80  # cosine of 37 degrees: friction cone of rubber on most things (coefficient 0.75)
OUTER_POINTS = 16  # that face most to either side: of these opposed pairs are made
BAND_M = 0.015  # half the height of a finger: so much of the thing is between the fingers
MAX_SIDE_GRASPS = 3
ROUND_TURNS = 4  # a round thing is taken across so many directions


@dataclass(frozen=True, slots=True, eq=False)
class Grasp:
    """``position`` (3,) metres, ``axes`` (3, 3) with columns closing, sideways, approach; ``width``: metres to open.

    ``score`` 0..1; ``kind``: top or side.
    """

    position: Floats
    axes: Floats
    width: float
    score: float
    kind: str


def grasps(box: Box, cloud: Cloud, plane: Plane, opening: float, quality: float) -> tuple[Grasp, ...]:
    """Return the grasps of a gripper that opens by ``opening`` metres: top first, each kind by falling score."""
    top = _from_above(box, opening, quality)
    side = _from_the_side(box, cloud, plane, opening, quality)
    return (*sorted(top, key=lambda one: -one.score), *sorted(side, key=lambda one: -one.score)[:MAX_SIDE_GRASPS])


def _from_above(box: Box, opening: float, quality: float) -> list[Grasp]:
    """Across the sides of the box, the shorter one with the better score."""
    up = box.axes[:, 2]
    if box.round:
        turns = np.arange(ROUND_TURNS) * np.pi / ROUND_TURNS
        ways = [(np.cos(t) * box.axes[:, 0] + np.sin(t) * box.axes[:, 1], float(box.size[0])) for t in turns]
    else:
        ways = [(box.axes[:, 1], float(box.size[1])), (box.axes[:, 0], float(box.size[0]))]
    dip = min(DIP_M, float(box.size[2]) / 2)
    position = box.centre + up * (box.size[2] / 2 - dip)
    found = []
    for closing, thickness in ways:
        width = thickness + 2 * CLEARANCE_M
        if width <= opening:
            score = quality * (1 - 0.5 * width / opening)
            found.append(Grasp(position, _axes(closing, -up), width, score, "top"))
    return found


def _from_the_side(box: Box, cloud: Cloud, plane: Plane, opening: float, quality: float) -> list[Grasp]:
    """Between two points of the surface whose normals oppose each other, within the friction cone, along the plane."""
    known = np.flatnonzero(np.isfinite(cloud.normals).all(axis=1) & (plane.heights(cloud.points) > DIP_M / 2))
    if known.size < 2:
        return []
    up = box.axes[:, 2]
    sideways = cross(up, box.centre)  # one camera sees faces that oppose each other only to its left and right
    order = known[np.argsort(cloud.normals[known] @ sideways)]
    known = np.concatenate([order[:OUTER_POINTS], order[-OUTER_POINTS:]])
    points, normals = cloud.points[known], cloud.normals[known]
    way = points[None, :, :] - points[:, None, :]
    distance = np.linalg.norm(way, axis=2)
    unit = way / np.maximum(distance, 1e-9)[:, :, None]
    from_first = -np.einsum("ik,ijk->ij", normals, unit)  # 1 where the first normal looks away from the second point
    from_second = np.einsum("jk,ijk->ij", normals, unit)
    held = np.minimum(from_first, from_second)
    fits = (held > OPPOSED) & (distance > 2 * CLEARANCE_M) & (distance + 2 * CLEARANCE_M <= opening)
    fits &= abs(unit @ up) < 0.25
    found: list[Grasp] = []
    for i, j in np.argwhere(fits)[np.argsort(-held[fits])][: 4 * MAX_SIDE_GRASPS]:
        closing, middle = unit[i, j], (points[i] + points[j]) / 2
        approach = middle - (middle @ closing) * closing  # as the camera looks, which saw that nothing is in the way
        level = middle @ up
        beside = cloud.points[abs(cloud.points @ up - level) < BAND_M] @ closing  # the fingers pass all of it
        width = float(np.ptp(beside)) + 2 * CLEARANCE_M
        if width > opening:
            continue
        if box.round:
            middle = box.centre + (level - box.centre @ up) * up
        score = quality * float(held[i, j]) * (1 - 0.5 * width / opening)
        if all(np.linalg.norm(middle - one.position) > CLEARANCE_M for one in found):
            found.append(Grasp(middle, _axes(closing, approach), width, score, "side"))
    return found


def _axes(closing: Floats, approach: Floats) -> Floats:
    z = approach / np.linalg.norm(approach)
    x = closing - (closing @ z) * z
    x /= np.linalg.norm(x)
    return np.stack([x, cross(z, x), z], axis=1)
