"""Triangle meshes of simple solids, and what is measured on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Role = Literal["colour", "shade", "metal", "paper", "soil", "leaf", "glow", "dark", "wood", "screen", "accent"]
"""Which colour a mesh has: the thing's own, a shade of it, or one that it always has."""
_SIDES = 24


@dataclass(frozen=True, slots=True)
class Mesh:
    """Triangles of one role.

    Vertices and unit normals float64 (V, 3) in metres, faces int (F, 3), counter-clockwise from outside.
    """

    role: Role
    vertices: NDArray[np.float64]
    normals: NDArray[np.float64]
    faces: NDArray[np.int64]


def join(role: Role, parts: Sequence[Mesh]) -> Mesh:
    """The parts as one mesh."""
    offsets = np.cumsum([0, *(len(part.vertices) for part in parts)])
    faces = [part.faces + offset for part, offset in zip(parts, offsets, strict=False)]
    return Mesh(
        role,
        np.concatenate([p.vertices for p in parts]),
        np.concatenate([p.normals for p in parts]),
        np.concatenate(faces),
    )


def revolve(role: Role, *profiles: Sequence[tuple[float, float]], sides: int = _SIDES) -> Mesh:
    """Turn each profile, (radius, height) points with the outside on its right hand, about the z axis.

    Edges are smooth within a profile, sharp between.
    """
    return join(role, [_revolve_one(role, np.asarray(profile, dtype=np.float64), sides) for profile in profiles])


def _revolve_one(role: Role, profile: NDArray[np.float64], sides: int) -> Mesh:
    step = np.diff(profile, axis=0)
    normal = np.stack([step[:, 1], -step[:, 0]], axis=1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    smooth = np.concatenate([normal[:1], normal[:-1] + normal[1:], normal[-1:]])
    smooth /= np.linalg.norm(smooth, axis=1, keepdims=True)
    angle = np.arange(sides) * (2 * np.pi / sides)
    turn = np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def turned(points: NDArray[np.float64]) -> NDArray[np.float64]:
        flat = points[None, :, :1] * turn[:, None, :]
        return np.concatenate([flat, np.broadcast_to(points[None, :, 1:], (*flat.shape[:2], 1))], axis=2).reshape(-1, 3)

    rows = len(profile)
    i, j = np.meshgrid(np.arange(sides), np.arange(rows - 1), indexing="ij")
    here, there = i * rows + j, ((i + 1) % sides) * rows + j
    quads = np.stack([here, there, there + 1, here + 1], axis=-1).reshape(-1, 4)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    vertices = turned(profile)
    return Mesh(role, vertices, turned(smooth), _without_slivers(vertices, triangles))


def _without_slivers(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.int64]:
    a, b, c = vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]
    return np.asarray(faces[np.linalg.norm(np.cross(b - a, c - a), axis=1) > 1e-12])


def slab(role: Role, low: Sequence[float], high: Sequence[float]) -> Mesh:
    """An axis-aligned block with sharp edges."""
    lo, hi = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    parts = []
    for axis in range(3):
        u, v = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
        for sign in (-1.0, 1.0):
            normal = np.eye(3)[axis] * sign
            corners = np.array([normal + a * u + b * v for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
            corners = corners[:: int(sign)]
            vertices = (lo + hi) / 2 + corners * (hi - lo) / 2
            parts.append(Mesh(role, vertices, np.tile(normal, (4, 1)), np.array([[0, 1, 2], [0, 2, 3]])))
    return join(role, parts)


def tube(role: Role, path: NDArray[np.float64], radius: float | NDArray[np.float64], sides: int = 8) -> Mesh:
    """A round tube along a path of points (P, 3) in the x-z plane, ends open (they are inside something else).

    `radius`: of all of it, or of each point.
    """
    ahead = np.gradient(path, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    side = np.array([0.0, 1.0, 0.0])
    up = np.cross(ahead, side)
    angle = np.arange(sides) * (2 * np.pi / sides)
    normals = np.cos(angle)[None, :, None] * side + np.sin(angle)[None, :, None] * up[:, None, :]
    vertices = path[:, None, :] + np.reshape(radius, (-1, 1, 1)) * normals
    i, j = np.meshgrid(np.arange(len(path) - 1), np.arange(sides), indexing="ij")
    here, beside = i * sides + j, i * sides + (j + 1) % sides
    quads = np.stack([here, beside, beside + sides, here + sides], axis=-1).reshape(-1, 4)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return Mesh(role, vertices.reshape(-1, 3), normals.reshape(-1, 3), triangles)


def leaf(role: Role, angle: float, tilt: float, length: float, base: float) -> Mesh:
    """A long flat ellipsoid that leans outwards by `tilt` from the vertical, towards `angle`."""
    ball = revolve(role, [(np.sin(t), -np.cos(t)) for t in np.linspace(0, np.pi, 8)], sides=8)
    scale = np.array([0.020, 0.008, length / 2])
    lean = np.array([[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]])
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    # The flat side faces outwards: swap the thin axis to the radial one before leaning.
    swap = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    pose = turn @ lean @ swap
    vertices = (ball.vertices * scale + [0, 0, length / 2]) @ pose.T + [0, 0, base]
    normals = (ball.normals / scale) @ pose.T
    return Mesh(role, vertices, normals / np.linalg.norm(normals, axis=1, keepdims=True), ball.faces)


def bounds(meshes: Sequence[Mesh]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and highest corner (3,), metres."""
    points = np.concatenate([mesh.vertices for mesh in meshes])
    return points.min(axis=0), points.max(axis=0)


@dataclass(frozen=True, slots=True)
class Patches:
    """A surface as small patches of equal area.

    Centres (P, 3) metres, outward normals times that area (P, 3) square metres.
    """

    centres: NDArray[np.float64]
    normals: NDArray[np.float64]


_PATCHES = 250  # enough for a visible share within a few hundredths


def scatter(meshes: Sequence[Mesh], seed: int) -> Patches:
    """Points drawn evenly over the faces of all meshes, the same for the same seed."""
    corners = np.concatenate([mesh.vertices[mesh.faces] for mesh in meshes])
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) / 2
    size = np.linalg.norm(area, axis=1)
    rng = np.random.default_rng(seed)
    edges = np.cumsum(size) / size.sum()
    face = np.minimum(np.searchsorted(edges, (np.arange(_PATCHES) + 0.5) / _PATCHES), len(edges) - 1)
    u, v = np.sqrt(rng.random(_PATCHES))[:, None], rng.random(_PATCHES)[:, None]
    a, b, c = corners[face].transpose(1, 0, 2)
    centres = (1 - u) * a + u * (1 - v) * b + u * v * c
    return Patches(centres, area[face] / size[face][:, None] * (size.sum() / _PATCHES))
