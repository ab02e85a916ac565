"""What is staged so that things are hidden or mistaken for each other: a passing arm, a carried thing, two that cross.

And lights that change. Seconds from the first frame, metres in the world.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.scene import MAX_SAME_KIND, Rod, Scene, Thing, corners
from training.clips.camera import smooth
from training.clips.moves import GAP_M, Drive, drive, moved, radius, sideways, without_those_in_the_way

ROD_LENGTH_M = 1.5
COVER = (0.7, 1.5)  # half the rod's width over half the thing's, as seen


@dataclass(frozen=True, slots=True)
class Window:
    """When something comes, is there, and goes again, seconds."""

    comes: float
    there: float
    goes: float
    gone: float

    def share(self, t: float) -> float:
        """-1 before, 0 while it is there, 1 after."""
        coming = smooth((t - self.comes) / max(1e-6, self.there - self.comes))
        going = smooth((t - self.goes) / max(1e-6, self.gone - self.goes))
        return coming - 1 + going


def random_window(duration_s: float, rng: np.random.Generator) -> Window:
    """Comes after the first frame, stays for a moment or half of the clip, is gone before the end nearly always."""
    times = duration_s * np.cumsum(
        [rng.uniform(0.0, 0.2), rng.uniform(0.1, 0.25), rng.uniform(0.08, 0.35), rng.uniform(0.1, 0.25)]
    )
    comes, there, goes, gone = (float(time) for time in times)
    return Window(comes, there, goes, gone)


@dataclass(frozen=True, slots=True)
class _Sight:
    """What is seen at one place: its middle (3,), half of its size, and the picture's axes (3,), right, down, ahead."""

    middle: NDArray[np.float64]
    half: float
    right: NDArray[np.float64]
    down: NDArray[np.float64]
    eye: NDArray[np.float64]

    def before(self, share: float) -> NDArray[np.float64]:
        """The point (3,) on the way from the eye to the middle."""
        return np.asarray(self.eye + share * (self.middle - self.eye))


def _sight(thing: Thing, scene: Scene) -> _Sight:
    points = corners(thing)
    axes = np.asarray(scene.camera.rotation).T
    middle = points.mean(axis=0)
    flat = (points - middle) @ axes[:2].T
    return _Sight(middle, float(np.abs(flat).max()), axes[0], axes[1], np.asarray(scene.camera.position))


def passing_rod(scene: Scene, duration_s: float, rng: np.random.Generator) -> Callable[[float], Rod]:
    """A rod that reaches into the picture, before one of its things for a while, and goes on or back."""
    sight = _sight(scene.things[int(rng.integers(len(scene.things)))], scene)
    share = rng.uniform(0.55, 0.85)
    thickness = float(sight.half * share * rng.uniform(*COVER))
    angle = rng.uniform(0, 2 * math.pi)
    along = math.cos(angle) * sight.right + math.sin(angle) * sight.down
    across = -math.sin(angle) * sight.right + math.cos(angle) * sight.down
    window, back = random_window(duration_s, rng), rng.random() < 0.4
    away = (sight.half * share + thickness) * rng.uniform(1.3, 3.0)
    lengthwise = rng.random() < 0.4  # it is put forward and drawn back, rather than moved sideways
    grey = rng.uniform(0.1, 0.9)
    rgb = np.clip(grey + rng.uniform(-0.1, 0.1, 3) * (1 + 4 * (rng.random() < 0.3)), 0.03, 1)
    colour = (float(rgb[0]), float(rgb[1]), float(rgb[2]))

    def rod(t: float) -> Rod:
        where = window.share(t)
        where = -abs(where) if back or lengthwise else where
        shift = (-along if lengthwise else across) * where * away * (2.0 if lengthwise else 1.0)
        tip = sight.before(share) + shift - along * thickness
        end = tip + along * ROD_LENGTH_M
        return Rod(_triple(tip), _triple(end), thickness, colour)

    return rod


@dataclass(frozen=True, slots=True)
class Carry:
    """A thing in the air: at t its base is at `path(t)`, turned as it stood."""

    thing: Thing
    path: Callable[[float], NDArray[np.float64]]

    def at(self, t: float) -> Thing:
        """The thing at t."""
        return replace(self.thing, position=_triple(self.path(t)))


def carry(scene: Scene, duration_s: float, rng: np.random.Generator) -> Carry:
    """One thing is lifted, carried before another, held there, and put down elsewhere or where it was."""
    first, second = rng.permutation(len(scene.things))[:2]
    mover, target = scene.things[int(first)], scene.things[int(second)]
    sight = _sight(target, scene)
    half = _sight(mover, scene).middle - np.asarray(mover.position)
    home = np.asarray(mover.position)
    there = sight.before(rng.uniform(0.6, 0.85)) - half
    there[2] = max(there[2], 0.02)
    right, _ = sideways(scene.camera)
    sides = np.array([*(rng.choice([-1.0, 1.0]) * rng.uniform(0.1, 0.3) * right), 0.0])
    end = home if rng.random() < 0.5 else there + sides
    window = random_window(duration_s, rng)

    def path(t: float) -> NDArray[np.float64]:
        where = window.share(t)
        begin, share = (home, 1 + where) if where <= 0 else (end, 1 - where)
        return np.asarray(begin + (there - begin) * share + [0, 0, 0.08 * math.sin(math.pi * share)])

    return Carry(mover, path)


def crossing(scene: Scene, duration_s: float, rng: np.random.Generator) -> tuple[Scene, list[Drive]]:
    """Two things alike change places, one passing before the other; what stands in their way is taken off the table."""
    many = Counter(thing.kind for thing in scene.things)
    order = [scene.things[int(n)] for n in rng.permutation(len(scene.things))]
    one = next((thing for thing in order if many[thing.kind] < MAX_SAME_KIND), order[0])
    other = next((t for t in order if t.id != one.id and t.kind == one.kind), next(t for t in order if t.id != one.id))
    size = rng.choice([1.0, float(rng.uniform(0.9, 1.1))])
    stretched = (one.scale[0] * size, one.scale[1] * size, one.scale[2] * size)
    twin = replace(other, kind=one.kind, colour=one.colour, size=one.size * size, scale=stretched, rgb=one.rgb)
    right, ahead = sideways(scene.camera)
    middle = np.mean([thing.position[:2] for thing in scene.things], axis=0)
    apart = (radius(one) + radius(twin) + GAP_M + rng.uniform(0, 0.03)) / 2 * ahead
    wide = (radius(one) + radius(twin)) * rng.uniform(0.6, 1.2) * right * rng.choice([-1.0, 1.0])
    places = {
        one.id: (middle - wide - apart, middle + wide - apart),
        twin.id: (middle + wide + apart, middle - wide + apart),
    }
    things = [moved(twin if t.id == twin.id else t, places[t.id][0]) if t.id in places else t for t in scene.things]
    begin = duration_s * rng.uniform(0.0, 0.25)
    end = begin + duration_s * rng.uniform(0.4, 0.7)
    both = [one.id, twin.id] if rng.random() < 0.6 else [one.id]
    drives = [drive(n, (begin, end), places[n] if n in both else (places[n][0],) * 2) for n in places]
    return without_those_in_the_way(replace(scene, things=tuple(things)), drives)


@dataclass(frozen=True, slots=True)
class Lighting:
    """Light that goes from 1 to `level` of itself within the window and back; the exposure makes up for `follows`."""

    window: Window
    level: float
    follows: float
    warmth: float

    def applied(self, scene: Scene, t: float) -> Scene:
        """The scene in the light of t."""
        change = 1 - abs(self.window.share(t))
        level = 1 + (self.level - 1) * change
        lights = tuple(
            replace(
                light, diffuse=tuple(np.clip(np.asarray(light.diffuse) * level * self._tint(change), 0, 1.2).tolist())
            )
            for light in scene.room.lights
        )
        gain = scene.sensor.gain * (1 + (1 / level - 1) * self.follows)
        return replace(scene, room=replace(scene.room, lights=lights), sensor=replace(scene.sensor, gain=float(gain)))

    def _tint(self, change: float) -> NDArray[np.float64]:
        return 1 + self.warmth * change * np.array([1.0, 0.0, -1.0])


def dimmed(duration_s: float, rng: np.random.Generator) -> Lighting:
    """Lamps that go up or down by a quarter to a half, suddenly or slowly."""
    window = random_window(duration_s, rng)
    if rng.random() < 0.5:
        window = replace(window, there=window.comes + 0.02, gone=window.goes + 0.02)
    level = float(rng.choice([rng.uniform(0.45, 0.75), rng.uniform(1.2, 1.45)]))
    return Lighting(window, level, float(rng.uniform(0, 0.6)), float(rng.uniform(-0.15, 0.15)))


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
