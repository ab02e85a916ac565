"""A world in which one thing moves at a known speed and the camera at another, drawn when it is looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segzero_ros.frame import Frame
from segzero_ros.tabletop.render import Renderer
from segzero_ros.tabletop.sampling import sample_scene
from segzero_ros.tabletop.scenarios import swing
from segzero_ros.tabletop.scene import Scene, scene_rng
from segzero_ros.tabletop.view import SeenThing, View
from training.clips.moves import drive, moved, sideways, without_those_in_the_way

SEEDS = 2_000_000_000  # beyond those of shards, clips, live worlds and evaluations
SPEEDS = (0.0, 0.1, 0.3)  # of the thing, m/s
ORBITS = (0.0, 0.15, 0.45)  # of the camera round the table, rad/s
HORIZON_S = 1.6  # so long the thing goes one way, then back
_PURPOSE = 13
_TRIES = 40


@dataclass(frozen=True, slots=True)
class MovingWorld:
    """`thing` of `start` goes along `way` (2,), a unit vector, at `speed` m/s, the camera about it at `orbit` rad/s.

    After `HORIZON_S` the thing turns back; where it stands in `start` is the middle of its way. Everything else stands
    still. The scene of any moment is a function of its time alone.
    """

    start: Scene
    thing: int
    way: tuple[float, float]
    speed: float
    orbit: float

    def scene_at(self, t: float) -> Scene:
        """The scene `t` seconds after the first frame."""
        shift = np.asarray(self.way) * self.speed * (_to_and_fro(t) - HORIZON_S / 2)
        things = tuple(
            moved(thing, np.asarray(thing.position[:2]) + shift) if thing.id == self.thing else thing
            for thing in self.start.things
        )
        sensor = replace(self.start.sensor, seed=self.start.sensor.seed + round(1000 * t))
        return replace(self.start, things=things, camera=swing(self.start.camera, self.orbit * t, 0.0), sensor=sensor)


def make_world(seed: int, speed: float, orbit: float, renderer: Renderer) -> MovingWorld:
    """The first world of the seed whose moving thing stays in sight; the same one for all speeds.

    RuntimeError when none of `_TRIES` will do.
    """
    for attempt in range(_TRIES):
        world = _draw_world(SEEDS + seed * _TRIES + attempt)
        if all(_is_clear(world, t, renderer) for t in (0.0, HORIZON_S / 2, HORIZON_S)):
            return replace(world, speed=speed, orbit=orbit)
    raise RuntimeError(f"none of the {_TRIES} worlds of seed {seed} keeps the thing in sight; take another --first")


def _draw_world(number: int) -> MovingWorld:
    """At the highest of both speeds, without what stands in the thing's way."""
    rng = scene_rng(number, "test", _PURPOSE)
    scene = sample_scene(number, "test")
    scene = replace(scene, camera=swing(scene.camera, 0.0, 0.0, 1.2))
    mover = scene.things[int(rng.integers(len(scene.things)))]
    right, ahead = sideways(scene.camera)
    angle = rng.uniform(-0.6, 0.6)
    way = math.cos(angle) * right * rng.choice([-1, 1]) + math.sin(angle) * ahead
    middle = np.mean([thing.position[:2] for thing in scene.things], axis=0)
    home = middle + rng.uniform(-0.1, 0.1) * ahead
    scene = replace(scene, things=tuple(moved(t, home) if t.id == mover.id else t for t in scene.things))
    half = max(SPEEDS) * HORIZON_S / 2 * way
    scene, (path,) = without_those_in_the_way(scene, [drive(mover.id, (0.0, 1.0), (home - half, home + half))])
    return MovingWorld(scene, path.thing, (float(way[0]), float(way[1])), max(SPEEDS), max(ORBITS))


def _is_clear(world: MovingWorld, t: float, renderer: Renderer) -> bool:
    seen = renderer.render(world.scene_at(t), rgb=False).things
    return world.thing in {thing.id for thing in seen if thing.clear}


class Camera:
    """Frames of a world at a rate, and what is true at any moment. Draws each frame once, when it is asked for."""

    def __init__(self, world: MovingWorld, renderer: Renderer, rate_hz: float) -> None:
        self.world = world
        self._renderer, self._rate_hz = renderer, rate_hz
        self._views: dict[int, View] = {}

    def time_of(self, number: int) -> float:
        """Seconds at which a frame was taken."""
        return number / self._rate_hz

    def number_at(self, t: float) -> int:
        """The number of the frame that was taken at `t` seconds."""
        return round(t * self._rate_hz)

    def frame(self, number: int) -> Frame:
        """Frame `number`, from 0 on."""
        return Frame(self._view(number).rgb, round(1e9 * self.time_of(number)), "camera")

    def seen(self, number: int) -> SeenThing:
        """How the moving thing is seen in a frame. KeyError when it is not."""
        return self._view(number).thing(self.world.thing)

    def truth(self, number: int) -> NDArray[np.bool_]:
        """The mask (H, W) of the moving thing in a frame."""
        return self._view(number).mask(self.world.thing)

    def truth_at(self, t: float) -> NDArray[np.bool_]:
        """Its mask as the camera would see it at `t` seconds."""
        return self._renderer.render(self.world.scene_at(t), rgb=False).mask(self.world.thing)

    def _view(self, number: int) -> View:
        if number not in self._views:
            self._views[number] = self._renderer.render(self.world.scene_at(self.time_of(number)))
        return self._views[number]


def _to_and_fro(t: float) -> float:
    """Seconds that the thing is on its way from one end at t: up to HORIZON_S and back."""
    phase = t % (2 * HORIZON_S)
    return min(phase, 2 * HORIZON_S - phase)
