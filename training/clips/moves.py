"""How things of a clip move over the table: where each driven one should be, and what must not stand in its way.

Seconds from the first frame, metres on the table.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.physics import FRICTION, GRAVITY, USUAL_FRICTION, Physics
from segzero_ros.tabletop.scene import Camera, Scene, Thing, footprint
from training.clips.camera import smooth

STIFFNESS, DAMPING = 400.0, 40.0  # per kilogram: what draws a driven thing to where it should be
GAP_M = 0.015
PUSH_M = (0.05, 0.35)
SLIDE_M = (0.08, 0.35)

Spot = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Drive:
    """One thing drawn along a path: at `times` (K,) seconds at `spots` (K, 2), smoothly from one to the next."""

    thing: int
    times: tuple[float, ...]
    spots: tuple[tuple[float, float], ...]

    def wanted(self, t: float) -> Spot:
        """Where the thing should be at t."""
        here = np.asarray(self.spots[0])
        for n in range(1, len(self.times)):
            way = np.asarray(self.spots[n]) - self.spots[n - 1]
            here = here + way * smooth((t - self.times[n - 1]) / max(1e-6, self.times[n] - self.times[n - 1]))
        return here

    def force(self, physics: Physics) -> tuple[float, float]:
        """Newtons of a spring with a damper that draw the thing there."""
        pull = STIFFNESS * (self.wanted(physics.time_s) - physics.position(self.thing))
        pull -= DAMPING * np.asarray(physics.velocity(self.thing))
        x, y = physics.mass_kg(self.thing) * pull
        return float(x), float(y)


@dataclass(frozen=True, slots=True)
class Push:
    """At `time` the thing is given a velocity, m/s, as a short push does."""

    thing: int
    time: float
    velocity: tuple[float, float]


def random_pushes(scene: Scene, duration_s: float, rng: np.random.Generator) -> list[Push]:
    """One to four pushes, each of a thing towards where others are, over a distance of `PUSH_M`."""
    middle = np.mean([thing.position[:2] for thing in scene.things], axis=0)
    pushes = []
    for _ in range(int(rng.integers(1, 5))):
        thing = scene.things[int(rng.integers(len(scene.things)))]
        to_middle = middle - thing.position[:2]
        angle = math.atan2(to_middle[1], to_middle[0]) + rng.normal(0, 1.0)
        speed = math.sqrt(2 * GRAVITY * FRICTION.get(thing.kind, USUAL_FRICTION) * rng.uniform(*PUSH_M))
        velocity = (speed * math.cos(angle), speed * math.sin(angle))
        pushes.append(Push(thing.id, float(duration_s * rng.uniform(0, 0.7)), velocity))
    return pushes


def random_slides(scene: Scene, duration_s: float, rng: np.random.Generator) -> list[Drive]:
    """One or two things drawn over the table to another spot and sometimes on from there; others are pushed aside."""
    drives = []
    for index in rng.permutation(len(scene.things))[: int(rng.integers(1, 3))]:
        thing = scene.things[int(index)]
        spots, times = [np.asarray(thing.position[:2])], [duration_s * rng.uniform(0, 0.3)]
        for _ in range(int(rng.integers(1, 3))):
            angle, length = rng.uniform(0, 2 * math.pi), rng.uniform(*SLIDE_M)
            spots.append(spots[-1] + length * np.array([math.cos(angle), math.sin(angle)]))
            times.append(times[-1] + max(0.3, duration_s * rng.uniform(0.25, 0.6)))
        drives.append(drive(thing.id, times, spots))
    return drives


def drive(thing: int, times: Sequence[float], spots: Sequence[Spot]) -> Drive:
    """A `Drive` of plain numbers."""
    return Drive(thing, tuple(map(float, times)), tuple((float(x), float(y)) for x, y in spots))


def sideways(camera: Camera) -> tuple[Spot, Spot]:
    """Unit vectors (2,) on the table: to the right of the picture, and away from the camera."""
    right, ahead = (np.asarray(camera.rotation)[:2, axis] for axis in (0, 2))
    return right / np.linalg.norm(right), ahead / np.linalg.norm(ahead)


def radius(thing: Thing) -> float:
    """The radius of its footprint, metres."""
    return footprint(thing.kind, thing.scale)


def moved(thing: Thing, spot: Spot) -> Thing:
    """The thing at another spot of the table."""
    return replace(thing, position=(float(spot[0]), float(spot[1]), thing.position[2]))


def without_those_in_the_way(scene: Scene, drives: Sequence[Drive]) -> tuple[Scene, list[Drive]]:
    """The scene without things that a driven one would meet on its way, ids counted anew; the drives with those ids."""
    by_id = {thing.id: thing for thing in scene.things}
    driven = {each.thing for each in drives}
    kept = [
        thing
        for thing in scene.things
        if thing.id in driven or not any(_meets(thing, each, by_id[each.thing]) for each in drives)
    ]
    number = {thing.id: n + 1 for n, thing in enumerate(kept)}
    things = tuple(replace(thing, id=number[thing.id]) for thing in kept)
    return replace(scene, things=things), [replace(each, thing=number[each.thing]) for each in drives]


def _meets(thing: Thing, path: Drive, mover: Thing) -> bool:
    reach = radius(thing) + radius(mover) + GAP_M
    spots = np.asarray(path.spots)
    return any(_distance(np.asarray(thing.position[:2]), a, b) < reach for a, b in itertools.pairwise(spots))


def _distance(spot: Spot, start: Spot, end: Spot) -> float:
    """From a spot to the line between two others."""
    way = end - start
    length = float(way @ way)
    share = float(np.clip((spot - start) @ way / length, 0, 1)) if length else 0.0
    return float(np.linalg.norm(spot - start - share * way))
