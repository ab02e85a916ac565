"""The support plane: what an object stands on, found around it by RANSAC, the same each time.

RANSAC: Fischler and Bolles, 1981.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segzero_ros.place.cloud import Cloud, Floats, Intrinsics, back_project, cross

SIDE = 18  # the surroundings are looked at on a grid of so many pixels squared
MARGIN = 0.45  # how far around a mask's box, as a share of its longer side
MIN_MARGIN_PX = 10
TRIALS = 40  # with half of the points on the plane, (1 - 1/8)^40 = 0.5 % of all searches fail
INLIER_M, INLIER_SHARE = 0.004, 0.004  # thickness of the plane: metres + share of z
MIN_POINTS = 24
MIN_SHARE = 0.25  # of the surroundings on the plane: less is no plane
BURIED_SHARE = 0.1  # of an object's points that may lie below what it stands on


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """The points p with ``normal`` . p = ``offset``, metres; the normal (3,) points to the camera's side.

    ``share``: of the surroundings that lie on it, 0..1; ``spread``: their standard deviation about it, metres.
    """

    normal: Floats
    offset: float
    share: float
    spread: float

    def heights(self, points: Floats) -> Floats:
        """How far above the plane ``points`` (N, 3) are, metres."""
        return np.asarray(points @ self.normal - self.offset)


def support_plane(
    cloud: Cloud, labels: NDArray[np.uint8] | NDArray[np.uint16], metres: NDArray[np.float32], intrinsics: Intrinsics
) -> Plane | None:
    """Return the plane most of the surroundings lie on, the object not below it; None where there is none."""
    around = _surroundings(cloud.box, labels, metres, intrinsics)
    if len(around) < MIN_POINTS:
        return None
    rng = np.random.default_rng(0)
    corners = around[rng.integers(0, len(around), (TRIALS, 3))]
    normals = cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1)
    sane = length > 1e-9
    normals, corners = normals[sane] / length[sane, None], corners[sane, 0]
    offsets = (normals * corners).sum(axis=1)
    flip = np.where(offsets > 0, -1.0, 1.0)  # the camera, at 0, is above: 0 - offset > 0
    normals, offsets = normals * flip[:, None], offsets * flip
    thick = INLIER_M + INLIER_SHARE * around[:, 2]
    votes = (abs(around @ normals.T - offsets) < thick[:, None]).sum(axis=0)
    few = cloud.points[:: max(1, len(cloud.points) // 50)]
    if len(few):
        below = (few @ normals.T - offsets < -2 * thick.mean()).mean(axis=0)
        votes = np.where(below > BURIED_SHARE, 0, votes)
    if not votes.size or votes.max() < MIN_SHARE * len(around):
        return None
    best = int(votes.argmax())
    return _refined(around, thick, normals[best], float(offsets[best]))


def _refined(around: Floats, thick: Floats, normal: Floats, offset: float) -> Plane:
    """Least squares over the inliers."""
    on = around[abs(around @ normal - offset) < thick]
    middle = on.sum(axis=0) / len(on)
    values, vectors = np.linalg.eigh((on - middle).T @ (on - middle))
    normal = vectors[:, 0] * (1.0 if vectors[:, 0] @ middle < 0 else -1.0)
    offset = float(normal @ middle)
    inside = abs(around @ normal - offset) < thick
    deviation = float(np.sqrt(max(0.0, values[0]) / max(1, len(on))))
    return Plane(normal, offset, float(inside.mean()), deviation)


def _surroundings(
    box: tuple[int, int, int, int],
    labels: NDArray[np.uint8] | NDArray[np.uint16],
    metres: NDArray[np.float32],
    intrinsics: Intrinsics,
) -> Floats:
    """Points (N, 3) of a grid around a box that belong to no object."""
    height, width = labels.shape
    x0, y0, x1, y1 = box
    margin = max(MIN_MARGIN_PX, round(MARGIN * max(x1 - x0, y1 - y0)))
    columns = np.linspace(max(0, x0 - margin), min(width, x1 + margin) - 1, SIDE).astype(np.intp)
    rows = np.linspace(max(0, y0 - margin), min(height, y1 + margin) - 1, SIDE).astype(np.intp)
    pixels = (rows[:, None] * width + columns[None, :]).ravel()
    pixels = pixels[(labels.ravel()[pixels] == 0) & np.isfinite(metres.ravel()[pixels])]
    return back_project(pixels, metres, intrinsics)
