"""What can lie on the table.

Ten kinds of things as triangle meshes, eight colours, and which compositions are held out for testing.

Every kind is one to three meshes, each of one `Role` (the thing's own colour, metal, paper, ...), standing upright with
its base at z = 0, in metres at size 1. The meshes serve three purposes: MuJoCo draws them, their faces tell how much of
a thing is visible, and their extent gives the footprint and the collision shape.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["mug", "bottle", "can", "bowl", "plate", "ball", "book", "box", "plant", "lamp"]
Colour = Literal["red", "green", "blue", "yellow", "orange", "purple", "white", "black"]
Role = Literal["colour", "shade", "metal", "paper", "soil", "leaf", "glow"]

KINDS: tuple[Kind, ...] = ("mug", "bottle", "can", "bowl", "plate", "ball", "book", "box", "plant", "lamp")
COLOURS: dict[Colour, tuple[float, float, float]] = {
    "red": (0.80, 0.05, 0.06),
    "green": (0.07, 0.52, 0.14),
    "blue": (0.06, 0.20, 0.80),
    "yellow": (0.98, 0.86, 0.08),
    "orange": (1.00, 0.36, 0.00),
    "purple": (0.48, 0.12, 0.66),
    "white": (0.94, 0.94, 0.94),
    "black": (0.05, 0.05, 0.06),
}
ROLE_COLOURS: dict[Role, tuple[float, float, float]] = {
    "metal": (0.66, 0.68, 0.70),
    "paper": (0.93, 0.90, 0.82),
    "soil": (0.22, 0.14, 0.09),
    "leaf": (0.13, 0.42, 0.10),
    "glow": (1.0, 0.95, 0.75),
}
HELD_OUT: frozenset[tuple[Colour, Kind]] = frozenset(
    {
        ("yellow", "mug"),
        ("purple", "bottle"),
        ("white", "can"),
        ("green", "bowl"),
        ("orange", "plate"),
        ("black", "ball"),
        ("red", "book"),
        ("blue", "box"),
    }
)
"""Colour and kind that never occur together outside the test split, neither as a thing nor as a name."""

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


def _join(role: Role, parts: Sequence[Mesh]) -> Mesh:
    offsets = np.cumsum([0, *(len(part.vertices) for part in parts)])
    faces = [part.faces + offset for part, offset in zip(parts, offsets, strict=False)]
    return Mesh(
        role,
        np.concatenate([p.vertices for p in parts]),
        np.concatenate([p.normals for p in parts]),
        np.concatenate(faces),
    )


def _revolve(role: Role, *profiles: Sequence[tuple[float, float]], sides: int = _SIDES) -> Mesh:
    """Turn each profile, (radius, height) points with the outside on its right hand, about the z axis.

    Edges are smooth within a profile, sharp between.
    """
    return _join(role, [_revolve_one(role, np.asarray(profile, dtype=np.float64), sides) for profile in profiles])


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


def _slab(role: Role, low: Sequence[float], high: Sequence[float]) -> Mesh:
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
    return _join(role, parts)


def _tube(role: Role, path: NDArray[np.float64], radius: float, sides: int = 8) -> Mesh:
    """A round tube along a path of points (P, 3) in the x-z plane, ends open (they are inside something else)."""
    ahead = np.gradient(path, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    side = np.array([0.0, 1.0, 0.0])
    up = np.cross(ahead, side)
    angle = np.arange(sides) * (2 * np.pi / sides)
    normals = np.cos(angle)[None, :, None] * side + np.sin(angle)[None, :, None] * up[:, None, :]
    vertices = path[:, None, :] + radius * normals
    i, j = np.meshgrid(np.arange(len(path) - 1), np.arange(sides), indexing="ij")
    here, beside = i * sides + j, i * sides + (j + 1) % sides
    quads = np.stack([here, beside, beside + sides, here + sides], axis=-1).reshape(-1, 4)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return Mesh(role, vertices.reshape(-1, 3), normals.reshape(-1, 3), triangles)


def _leaf(role: Role, angle: float, tilt: float, length: float, base: float) -> Mesh:
    """A long flat ellipsoid that leans outwards by `tilt` from the vertical, towards `angle`."""
    ball = _revolve(role, [(np.sin(t), -np.cos(t)) for t in np.linspace(0, np.pi, 8)], sides=8)
    scale = np.array([0.020, 0.008, length / 2])
    lean = np.array([[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]])
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    # The flat side faces outwards: swap the thin axis to the radial one before leaning.
    swap = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    pose = turn @ lean @ swap
    vertices = (ball.vertices * scale + [0, 0, length / 2]) @ pose.T + [0, 0, base]
    normals = (ball.normals / scale) @ pose.T
    return Mesh(role, vertices, normals / np.linalg.norm(normals, axis=1, keepdims=True), ball.faces)


def _mug() -> list[Mesh]:
    cup = _revolve(
        "colour",
        [(0, 0), (0.050, 0)],
        [(0.052, 0), (0.056, 0.11)],
        [(0.056, 0.11), (0.050, 0.11)],
        [(0.050, 0.11), (0.046, 0.01)],
        [(0.046, 0.01), (0, 0.01)],
    )
    bend = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 10)
    path = np.stack([0.052 + 0.038 * np.cos(bend), np.zeros(10), 0.057 + 0.034 * np.sin(bend)], axis=1)
    return [_join("colour", [cup, _tube("colour", path, 0.009)])]


def _bottle() -> list[Mesh]:
    body = _revolve(
        "colour",
        [(0, 0), (0.044, 0)],
        [
            (0.044, 0),
            (0.045, 0.01),
            (0.045, 0.14),
            (0.043, 0.16),
            (0.036, 0.18),
            (0.024, 0.198),
            (0.018, 0.212),
            (0.017, 0.25),
        ],
    )
    cap = _revolve("metal", [(0.021, 0.242), (0.021, 0.270)], [(0.021, 0.270), (0, 0.270)], sides=16)
    return [body, cap]


def _can() -> list[Mesh]:
    body = _revolve("colour", [(0.043, 0.008), (0.043, 0.117)])
    ends = _revolve(
        "metal",
        [(0, 0), (0.037, 0)],
        [(0.037, 0), (0.043, 0.008)],
        [(0.043, 0.117), (0.038, 0.126)],
        [(0.038, 0.126), (0.035, 0.126), (0.034, 0.121)],
        [(0.034, 0.121), (0, 0.121)],
    )
    return [body, ends]


def _bowl() -> list[Mesh]:
    outside = [(0.1 * np.sin(t), 0.083 - 0.075 * np.cos(t)) for t in np.linspace(0.35, 0.5 * np.pi, 8)]
    inside = [(0.093 * np.sin(t), 0.083 - 0.068 * np.cos(t)) for t in np.linspace(0.5 * np.pi, 0.0, 9)]
    foot = outside[0]
    bowl = _revolve("colour", [(0, 0), (0.036, 0)], [(0.036, 0), foot], outside, [outside[-1], inside[0]], inside)
    return [bowl]


def _plate() -> list[Mesh]:
    plate = _revolve(
        "colour",
        [(0, 0), (0.078, 0)],
        [(0.078, 0), (0.095, 0.009), (0.128, 0.018)],
        [(0.128, 0.018), (0.128, 0.023)],
        [(0.128, 0.023), (0.094, 0.015)],
        [(0.094, 0.015), (0.078, 0.007)],
        [(0.078, 0.007), (0, 0.007)],
        sides=32,
    )
    return [plate]


def _ball() -> list[Mesh]:
    return [_revolve("colour", [(0.062 * np.sin(t), 0.062 - 0.062 * np.cos(t)) for t in np.linspace(0, np.pi, 15)])]


def _book() -> list[Mesh]:
    low, high = (
        _slab("colour", (-0.1, -0.075, 0), (0.1, 0.075, 0.004)),
        _slab("colour", (-0.1, -0.075, 0.034), (0.1, 0.075, 0.038)),
    )
    spine = _slab("colour", (-0.1, -0.075, 0.004), (-0.095, 0.075, 0.034))
    title = _slab("paper", (-0.03, -0.04, 0.038), (0.05, 0.04, 0.0386))
    pages = _slab("paper", (-0.095, -0.070, 0.004), (0.094, 0.070, 0.034))
    return [_join("colour", [low, high, spine]), _join("paper", [pages, title])]


def _box() -> list[Mesh]:
    body = _slab("colour", (-0.072, -0.058, 0), (0.072, 0.058, 0.085))
    lid = _slab("shade", (-0.077, -0.063, 0.080), (0.077, 0.063, 0.112))
    return [body, lid]


def _plant() -> list[Mesh]:
    pot = _revolve(
        "colour",
        [(0, 0), (0.043, 0)],
        [(0.043, 0), (0.057, 0.085)],
        [(0.057, 0.085), (0.063, 0.085)],
        [(0.063, 0.085), (0.065, 0.106)],
        [(0.065, 0.106), (0.056, 0.106)],
        [(0.056, 0.106), (0.054, 0.09)],
    )
    soil = _revolve("soil", [(0.056, 0.095), (0, 0.097)])
    outer = [_leaf("leaf", a, 0.62, 0.13, 0.09) for a in np.arange(7) * (2 * np.pi / 7)]
    inner = [_leaf("leaf", a, 0.22, 0.15, 0.09) for a in 0.4 + np.arange(4) * (np.pi / 2)]
    return [pot, soil, _join("leaf", [*outer, *inner])]


def _lamp() -> list[Mesh]:
    base = _revolve("colour", [(0, 0), (0.058, 0)], [(0.058, 0), (0.058, 0.012)], [(0.058, 0.012), (0, 0.022)])
    shade = _revolve(
        "colour",
        [(0.088, 0.165), (0.050, 0.275)],
        [(0.050, 0.275), (0.046, 0.275)],
        [(0.046, 0.275), (0.084, 0.165)],
        [(0.084, 0.165), (0.088, 0.165)],
    )
    pole = _revolve("metal", [(0.009, 0.015), (0.009, 0.24)], sides=10)
    bulb = _revolve("glow", [(0.056, 0.255), (0, 0.255)])
    return [_join("colour", [base, shade]), pole, bulb]


_BUILDERS = {
    "mug": _mug,
    "bottle": _bottle,
    "can": _can,
    "bowl": _bowl,
    "plate": _plate,
    "ball": _ball,
    "book": _book,
    "box": _box,
    "plant": _plant,
    "lamp": _lamp,
}


@functools.cache
def meshes(kind: Kind) -> tuple[Mesh, ...]:
    """The meshes of a kind at size 1."""
    return tuple(_BUILDERS[kind]())


@functools.cache
def extent(kind: Kind) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and highest corner (3,), metres, of a kind at size 1."""
    points = np.concatenate([mesh.vertices for mesh in meshes(kind)])
    return points.min(axis=0), points.max(axis=0)


@dataclass(frozen=True, slots=True)
class Patches:
    """The surface of a kind as small patches of equal area.

    Centres (P, 3) metres, outward normals times that area (P, 3) square metres.
    """

    centres: NDArray[np.float64]
    normals: NDArray[np.float64]


_PATCHES = 250  # enough for a visible share within a few hundredths


@functools.cache
def patches(kind: Kind) -> Patches:
    """Points drawn evenly over the faces of all meshes of a kind, always the same ones."""
    corners = np.concatenate([mesh.vertices[mesh.faces] for mesh in meshes(kind)])
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) / 2
    size = np.linalg.norm(area, axis=1)
    rng = np.random.default_rng(KINDS.index(kind))
    edges = np.cumsum(size) / size.sum()
    face = np.minimum(np.searchsorted(edges, (np.arange(_PATCHES) + 0.5) / _PATCHES), len(edges) - 1)
    u, v = np.sqrt(rng.random(_PATCHES))[:, None], rng.random(_PATCHES)[:, None]
    a, b, c = corners[face].transpose(1, 0, 2)
    centres = (1 - u) * a + u * (1 - v) * b + u * v * c
    return Patches(centres, area[face] / size[face][:, None] * (size.sum() / _PATCHES))
