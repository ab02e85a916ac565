"""What the forms of the rich world are made of, and where a form has room for another thing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from segzero_ros.tabletop.solids import Mesh, Role, join, revolve, slab, tube

How = Literal["in", "on", "under"]
Profile = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Space:
    """Room for other things in, on or under a form, at size 1, in its own frame.

    floor: the height on which they stand, metres; half: x and y from the middle to the edge, metres, of an ellipse when
    `round`; height: from the floor to the rim ("in") or to what is above ("under"); infinite "on" it; walls: radius and
    height above the floor of walls that are not upright, () for the others; above: how far a thing may stand out over
    the rim, metres, where a handle arches over it.
    """

    floor: float
    half: tuple[float, float]
    round: bool
    height: float = math.inf
    walls: tuple[tuple[float, float], ...] = ()
    above: float = math.inf


@dataclass(frozen=True, slots=True)
class Form:
    """One shape of a kind: its meshes, upright on z = 0 in metres at size 1, and its room for others."""

    meshes: tuple[Mesh, ...]
    spaces: Mapping[How, Space] = field(default_factory=dict)


def hollow(role: Role, outside: Profile, wall: float, floor: float, sides: int = 24) -> Mesh:
    """A vessel open at the top: `outside` (radius, height) from the base up, a wall and a floor, metres."""
    outer = np.asarray(outside, dtype=np.float64)
    heights, radii = outer[:, 1], outer[:, 0] - wall
    start = (float(np.interp(floor, heights, radii)), floor)
    inner = [start, *((float(r), float(z)) for r, z in zip(radii, heights, strict=True) if z > floor + 1e-6)]
    rim = (float(outer[-1, 0]), float(outer[-1, 1]))
    return revolve(
        role,
        [(0, 0), (float(outer[0, 0]), 0)],
        [(float(r), float(z)) for r, z in outer],
        [rim, inner[-1]],
        inner[::-1],
        [start, (0, floor)],
        sides=sides,
    )


def curve(*points: tuple[float, float], rows: int = 9) -> list[tuple[float, float]]:
    """A smooth profile through (radius, height) points, by height."""
    knots = np.asarray(points, dtype=np.float64)
    at = np.linspace(0, 1, len(knots))
    fine = np.linspace(0, 1, rows)
    slopes = np.gradient(knots, at, axis=0)
    place = np.minimum((fine * (len(knots) - 1)).astype(int), len(knots) - 2)
    step = at[1]
    t = ((fine - at[place]) / step)[:, None]
    a, b, da, db = knots[place], knots[place + 1], slopes[place] * step, slopes[place + 1] * step
    smooth = (2 * t**3 - 3 * t**2 + 1) * a + (t**3 - 2 * t**2 + t) * da + (3 * t**2 - 2 * t**3) * b + (t**3 - t**2) * db
    return [(float(r), float(z)) for r, z in smooth]


def handle(role: Role, at: float, low: float, high: float, reach: float, thick: float) -> Mesh:
    """The ear of a mug or jug at radius `at` towards +x, from `low` to `high`, standing out by `reach`, metres."""
    bend = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 10)
    middle, half = (low + high) / 2, (high - low) / 2
    path = np.stack([at + reach * np.cos(bend), np.zeros(10), middle + half * np.sin(bend)], axis=1)
    return tube(role, path, thick)


def bail(role: Role, radius: float, base: float, rise: float, thick: float) -> Mesh:
    """The arch of a bucket or basket across its opening."""
    bend = np.linspace(0, np.pi, 16)
    path = np.stack([radius * np.cos(bend), np.zeros(16), base + rise * np.sin(bend)], axis=1)
    return tube(role, path, thick)


def prism(role: Role, outline: Sequence[tuple[float, float]], low: float, high: float) -> Mesh:
    """A convex outline (x, y), counter-clockwise, from `low` to `high`."""
    points = np.asarray(outline, dtype=np.float64)
    count = len(points)
    ahead = np.roll(points, -1, axis=0) - points
    outward = np.stack([ahead[:, 1], -ahead[:, 0]], axis=1)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    parts = []
    for height, up in ((high, 1.0), (low, -1.0)):
        vertices = np.column_stack([points, np.full(count, height)])
        fan = np.array([(0, i, i + 1) for i in range(1, count - 1)])
        parts.append(Mesh(role, vertices, np.tile([0, 0, up], (count, 1)), fan if up > 0 else fan[:, ::-1]))
    for here, normal, step in zip(points, outward, ahead, strict=True):
        there = here + step
        vertices = np.array([(*here, low), (*there, low), (*there, high), (*here, high)])
        parts.append(Mesh(role, vertices, np.tile([*normal, 0.0], (4, 1)), np.array([[0, 1, 2], [0, 2, 3]])))
    return join(role, parts)


def rounded(half_x: float, half_y: float, radius: float) -> list[tuple[float, float]]:
    """A rectangle with round corners as an outline."""
    turns = np.linspace(0, np.pi / 2, 4)
    outline = []
    for quarter, (x, y) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        for turn in turns + quarter * np.pi / 2:
            at = (x * (half_x - radius) + radius * np.cos(turn), y * (half_y - radius) + radius * np.sin(turn))
            outline.append((float(at[0]), float(at[1])))
    return outline


def moved(mesh: Mesh, offset: Sequence[float], tilt: float = 0.0, turn: float = 0.0) -> Mesh:
    """The mesh tilted about y (z towards +x), then turned about z, radians, then moved, metres."""
    c, s = math.cos(tilt), math.sin(tilt)
    lean = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    c, s = math.cos(turn), math.sin(turn)
    pose = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ lean
    return Mesh(mesh.role, mesh.vertices @ pose.T + np.asarray(offset), mesh.normals @ pose.T, mesh.faces)


def disc(role: Role, radius: float, low: float, high: float, sides: int = 24) -> Mesh:
    """A flat closed cylinder."""
    return revolve(
        role, [(0, low), (radius, low)], [(radius, low), (radius, high)], [(radius, high), (0, high)], sides=sides
    )


def open_crate(role: Role, half: tuple[float, float], height: float, wall: float) -> Mesh:
    """A box without a lid, metres."""
    x, y = half
    return join(
        role,
        [
            slab(role, (-x, -y, 0), (x, y, wall)),
            slab(role, (-x, -y, wall), (-x + wall, y, height)),
            slab(role, (x - wall, -y, wall), (x, y, height)),
            slab(role, (-x + wall, -y, wall), (x - wall, -y + wall, height)),
            slab(role, (-x + wall, y - wall, wall), (x - wall, y, height)),
        ],
    )
