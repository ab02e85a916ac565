"""A second opinion on what is in, on or under what: from the triangles alone, sharing no code with the sampling."""

import functools

import numpy as np

from segzero_ros.tabletop.rich.forms import form
from segzero_ros.tabletop.scene import Scene, Thing, rotation_of

TOUCHES_M = 0.004
LOW_M = 0.009  # above the floor: every wall is higher
NOTHING = np.inf


def triangles(thing: Thing) -> np.ndarray:
    """All faces (F, 3, 3) of a thing in the world, metres."""
    corners = np.concatenate([mesh.vertices[mesh.faces] for mesh in form(thing.kind, thing.shape).meshes])
    return (corners * thing.scale) @ rotation_of(thing.quaternion).T + thing.position


def first_hit(start, direction, faces: np.ndarray) -> float:
    """How far a ray goes until it meets one of the faces, from either side."""
    return hits(start, direction, faces).min(initial=NOTHING)


def hits(start, direction, faces: np.ndarray) -> np.ndarray:
    """How far it is to each face that a ray meets (Moeller and Trumbore 1997)."""
    a, ab, ac = faces[:, 0], faces[:, 1] - faces[:, 0], faces[:, 2] - faces[:, 0]
    p = np.cross(direction, ac)
    det = (ab * p).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        s = start - a
        u = (s * p).sum(axis=1) / det
        q = np.cross(s, ab)
        v = (q @ direction) / det
        t = (ac * q).sum(axis=1) / det
        hit = (np.abs(det) > 1e-14) & (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
    return t[hit]


@functools.lru_cache(maxsize=200)
def relations(scene: Scene) -> set[tuple[int, str, int]]:
    """(subject, how, anchor) of all pairs of things."""
    faces = {thing.id: triangles(thing) for thing in scene.things}
    found = set()
    for one in scene.things:
        for other in scene.things:
            how = relation(faces[one.id], faces[other.id], other.kind) if one is not other else None
            if how:
                found.add((one.id, how, other.id))
    return found


def relation(one: np.ndarray, other: np.ndarray, kind) -> str | None:
    """How the first stands to the second."""
    low, high = one.min(axis=(0, 1)), one.max(axis=(0, 1))
    x, y = (low[:2] + high[:2]) / 2
    if not ((other.min(axis=(0, 1))[:2] <= (x, y)) & ((x, y) <= other.max(axis=(0, 1))[:2])).all():
        return None
    down, up = np.array([0.0, 0.0, -1.0]), np.array([0.0, 0.0, 1.0])
    ground = other[..., 2].min()
    raised = low[2] > ground + 0.002
    stands = raised and first_hit(np.array([x, y, low[2] + 0.001]), down, other) < TOUCHES_M + 0.001
    turns = np.arange(8) * (np.pi / 4) + 0.1
    around = [first_hit(np.array([x, y, low[2] + LOW_M]), np.array([np.cos(t), np.sin(t), 0.0]), other) for t in turns]
    if stands and kind != "plate" and np.isfinite(around).all():
        return "in"
    if stands:
        return "on"
    above = abs(low[2] - ground) < 0.002 and np.isfinite(first_hit(np.array([x, y, high[2] + 0.0005]), up, other))
    return "under" if above else None


def share_inside(one: np.ndarray, other: np.ndarray) -> float:
    """The share of the first's corners that lie inside the second's surface, a millimetre from its bounds or more.

    A corner is inside when rays in three directions each cross the other's faces an odd number of times.
    """
    corners = np.unique(one.reshape(-1, 3), axis=0)
    low, high = other.min(axis=(0, 1)), other.max(axis=(0, 1))
    near = corners[((corners > low + 0.001) & (corners < high - 0.001)).all(axis=1)]
    ways = (np.array([0.13, 0.27, 0.95]), np.array([0.91, -0.31, 0.28]), np.array([-0.42, 0.88, 0.21]))
    inside = [c for c in near if all(crossings(c, way, other) % 2 for way in ways)]
    return len(inside) / max(len(corners), 1)


def crossings(start, direction, faces: np.ndarray) -> int:
    """How many faces a ray crosses."""
    return len(hits(start, direction, faces))
