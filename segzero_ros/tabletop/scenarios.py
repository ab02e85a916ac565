"""Live scenes: a camera that may move and things that may be pushed about, with the truth of every instant.

| scenario | what happens |
|---|---|
| still | nothing |
| pushed | every two to three seconds a thing is pushed and may bump into others |
| moving_camera | the camera swings around the table |
| leaving | one thing slides out of the picture, stays away and comes back, every 12 seconds |
| demo | pushed, under a slowly moving camera |

A world is a function of scenario, seed and time alone: two processes that build the same one agree about every instant,
but for an arm that passes when one of them is asked for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import MappingProxyType, TracebackType
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.arm import passing_arm
from segzero_ros.tabletop.language.instructions import Instruction, Type, instructions
from segzero_ros.tabletop.language.query import meaning
from segzero_ros.tabletop.physics import FRICTION, GRAVITY, STEP_S, USUAL_FRICTION, Physics
from segzero_ros.tabletop.render import Renderer
from segzero_ros.tabletop.sampling import sample_scene
from segzero_ros.tabletop.scene import Camera, Scene, Split, Thing, corners, footprint, look_at
from segzero_ros.tabletop.view import View

ScenarioName = Literal["still", "pushed", "moving_camera", "leaving", "demo"]
SCENARIOS: tuple[ScenarioName, ...] = get_args(ScenarioName)

SPLIT: Split = "val"  # a live world shows the way; unseen compositions and wordings are the evaluation's business
LEAVING_PERIOD_S = 12.0
AWAY_S = (2.5, 4.5, 8.0, 10.0)  # begins to leave, is out, begins to come back, is back
ROOMY_TABLE = (1.6, 1.6)
LIVE_SEEDS = 500_000_000  # apart from those of shards and evaluations
_STARTS = 50


@dataclass(frozen=True, slots=True)
class _Motion:
    pushes: bool = False
    swing_rad: float = 0.0
    swing_period_s: float = 16.0
    leaves: bool = False


_MOTIONS = MappingProxyType[ScenarioName, _Motion](
    {
        "still": _Motion(),
        "pushed": _Motion(pushes=True),
        "moving_camera": _Motion(swing_rad=0.45),
        "leaving": _Motion(leaves=True),
        "demo": _Motion(pushes=True, swing_rad=0.16, swing_period_s=24.0),
    }
)


class LiveWorld:
    """A scene that goes on. Owns a renderer: use it in one thread and close it (or use `with`)."""

    def __init__(
        self, scenario: ScenarioName, seed: int, size: tuple[int, int] = (640, 480), *, depth: bool = False
    ) -> None:
        """`size` is width, height; `depth` asks for depth pictures.

        ValueError for an unknown scenario, `NoOpenGLError` where nothing can be drawn.
        """
        if scenario not in SCENARIOS:
            raise ValueError(f"got scenario {scenario!r}, want one of {', '.join(SCENARIOS)}")
        self.scenario, self.seed = scenario, seed
        self._motion = _MOTIONS[scenario]
        self._renderer = Renderer(*size)
        self._start = _good_start(seed, scenario, self._renderer)
        self._physics = Physics(self._start.things, self._start.room.table_size)
        self._pushes = _Pushes(self._start, seed) if self._motion.pushes else None
        self._trip = plan_trip(self._start) if self._motion.leaves else None
        self._depth = depth
        self._wave_s: float | None = None

    def wave(self) -> None:
        """Have an arm pass before the camera, from now on; one that passes already begins anew."""
        self._wave_s = self._physics.time_s

    def step(self, t: float, *, rgb: bool = True) -> View:
        """The view at `t` seconds after the start, without its picture if not `rgb`.

        ValueError when t is before an earlier one.
        """
        return self._renderer.render(self.scene_at(t), depth=self._depth, rgb=rgb)

    def scene_at(self, t: float) -> Scene:
        """The scene at `t` seconds, not drawn. ValueError when t is before an earlier one."""
        if t < self._physics.time_s - STEP_S:
            raise ValueError(
                f"got t = {t:.3f} s, but the world is at {self._physics.time_s:.3f} s; open a new one to go back"
            )
        while self._physics.time_s + STEP_S <= t:
            self._advance()
        sensor = replace(self._start.sensor, seed=self._start.sensor.seed + round(t * 1000))
        camera = self._camera_at(t)
        arm = passing_arm(camera, t - self._wave_s) if self._wave_s is not None else ()
        return replace(self._start, things=self._physics.things(), camera=camera, sensor=sensor, rods=arm)

    def _advance(self) -> None:
        if self._pushes is not None:
            self._pushes.apply(self._physics)
        self._physics.step(self._trip.forces(self._physics) if self._trip is not None else None)

    def _camera_at(self, t: float) -> Camera:
        if not self._motion.swing_rad:
            return self._start.camera
        phase = 2 * math.pi * t / self._motion.swing_period_s
        return swing(
            self._start.camera,
            self._motion.swing_rad * math.sin(phase),
            0.12 * self._motion.swing_rad * math.sin(1.7 * phase),
        )

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()

    def __enter__(self) -> LiveWorld:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _good_start(seed: int, scenario: ScenarioName, renderer: Renderer) -> Scene:
    """The first scene of the seed in which all things are large and unhidden; the last one tried if there is none."""
    for attempt in range(_STARTS):
        scene = _start_scene(LIVE_SEEDS + seed * _STARTS + attempt, 5 + seed % 3, scenario)
        seen = renderer.render(scene, rgb=False).things
        if len(seen) == len(scene.things) and all(thing.clear for thing in seen):
            break
    return scene


def _start_scene(seed: int, count: int, scenario: ScenarioName) -> Scene:
    """A scene of the validation split, its table roomy and its camera far enough for things to move about."""
    scene, motion = sample_scene(seed, SPLIT, count=count), _MOTIONS[scenario]
    room = replace(scene.room, table_size=ROOMY_TABLE) if motion.leaves or motion.pushes else scene.room
    return replace(
        scene, room=room, camera=swing(scene.camera, 0.0, 0.0, 1.1 if motion.pushes or motion.swing_rad else 1.0)
    )


def swing(camera: Camera, azimuth: float, elevation: float, stretch: float = 1.0) -> Camera:
    """The camera turned about the point of the table it looks at, by radians, and `stretch` times as far from it."""
    forward, position = np.asarray(camera.rotation)[:, 2], np.asarray(camera.position)
    reach = (0.05 - position[2]) / forward[2]
    back = -forward
    return look_at(
        position + reach * forward,
        math.atan2(back[1], back[0]) + azimuth,
        float(np.clip(math.asin(back[2]) + elevation, math.radians(25), math.radians(70))),
        float(reach * stretch),
        camera.fovy_deg,
    )


class _Pushes:
    """When which thing is pushed where: drawn from the seed as time goes on."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 1])
        self._next_s = float(self._rng.uniform(0.8, 1.6))
        places = np.array([thing.position[:2] for thing in scene.things])
        self._middle = places.mean(axis=0)
        self._radius = float(np.linalg.norm(places - self._middle, axis=1).max()) + 0.02
        self._things = scene.things

    def apply(self, physics: Physics) -> None:
        """Push, if it is time."""
        if physics.time_s < self._next_s:
            return
        self._next_s += float(self._rng.uniform(2.0, 3.0))
        thing = self._things[int(self._rng.integers(len(self._things)))]
        here = np.asarray(physics.position(thing.id))
        for _ in range(20):
            distance, angle = self._rng.uniform(0.06, 0.16), self._rng.uniform(0, 2 * math.pi)
            way = distance * np.array([math.cos(angle), math.sin(angle)])
            if np.linalg.norm(here + way - self._middle) < self._radius:
                speed = math.sqrt(2 * GRAVITY * FRICTION.get(thing.kind, USUAL_FRICTION) * distance)
                physics.push(thing.id, (float(way[0] / distance * speed), float(way[1] / distance * speed)))
                return


@dataclass(frozen=True, slots=True)
class Trip:
    """One thing's way out of the picture and back: from `home` to `away`, metres on the table."""

    thing: int
    home: tuple[float, float]
    away: tuple[float, float]

    def wanted(self, t: float) -> NDArray[np.float64]:
        """Where the thing should be at t seconds."""
        leave, out, turn, back = AWAY_S
        phase = t % LEAVING_PERIOD_S
        share = _smooth((phase - leave) / (out - leave)) - _smooth((phase - turn) / (back - turn))
        return np.asarray(np.asarray(self.home) + share * (np.asarray(self.away) - np.asarray(self.home)))

    def forces(self, physics: Physics) -> dict[int, tuple[float, float]]:
        """The force of a spring with a damper that draws the thing to where it should be."""
        mass = physics.mass_kg(self.thing)
        pull = 400 * (self.wanted(physics.time_s) - physics.position(self.thing)) - 40 * np.asarray(
            physics.velocity(self.thing)
        )
        return {self.thing: (float(mass * pull[0]), float(mass * pull[1]))}


def _smooth(share: float) -> float:
    """0 to 1 with no jerk at either end."""
    x = min(max(share, 0.0), 1.0)
    return x * x * x * (10 - 15 * x + 6 * x * x)


def plan_trip(scene: Scene) -> Trip:
    """The shortest way sideways out of the picture on which the thing meets no other.

    If all are blocked, the shortest.
    """
    ways = [_way_out(thing, side, scene) for thing in scene.things for side in (-1.0, 1.0)]
    free = [way for way in ways if _is_free(way, scene)]
    return min(free or ways, key=lambda trip: math.dist(trip.home, trip.away))


def _way_out(thing: Thing, side: float, scene: Scene) -> Trip:
    right = np.asarray(scene.camera.rotation)[:2, 0]
    direction = side * right / np.linalg.norm(right)
    home = np.asarray(thing.position[:2])
    away = home
    for step in range(1, 100):
        away = home + 0.02 * step * direction
        pixels = scene.camera.project(corners(replace(thing, position=(float(away[0]), float(away[1]), 0.0))), 640, 480)
        if (pixels[:, 0] < -10).all() or (pixels[:, 0] > 650).all():
            break
    return Trip(thing.id, (float(home[0]), float(home[1])), (float(away[0]), float(away[1])))


def _is_free(trip: Trip, scene: Scene) -> bool:
    mover = next(thing for thing in scene.things if thing.id == trip.thing)
    home, way = np.asarray(trip.home), np.asarray(trip.away) - np.asarray(trip.home)
    for other in scene.things:
        if other.id == trip.thing:
            continue
        spot = np.asarray(other.position[:2])
        share = float(np.clip((spot - home) @ way / (way @ way), 0, 1))
        if np.linalg.norm(spot - home - share * way) < footprint(mover.kind, mover.scale) + footprint(
            other.kind, other.scale
        ):
            return False
    return True


@dataclass(frozen=True, slots=True)
class DemoScript:
    """What the demo shows: the world to open (`LiveWorld(scenario, seed)`) and what is said to it, in order."""

    scenario: ScenarioName
    seed: int
    commands: tuple[Instruction, ...]


DEMO_TYPES: tuple[Type, ...] = (
    "attribute",
    "function",
    "spatial",
    "several",
    "absent",
    "comparison",
    "attribute",
    "spatial",
    "function",
    "several",
    "spatial",
    "absent",
    "comparison",
    "attribute",
)
_LOOK_EVERY_S = 2.0
_WORLDS = 100


def demo_script(seed: int, scenario: ScenarioName = "demo", duration_s: float = 60.0) -> DemoScript:
    """A world with 14 commands of all types whose meaning stays clear for nearly all of `duration_s` seconds.

    Targets move and may change; ask `Instruction.targets_in(view)` for those of the frame an answer belongs to.
    RuntimeError when no world of a hundred will do.
    """
    for world_seed in range(seed * _WORLDS, (seed + 1) * _WORLDS):
        commands = _script_for(scenario, world_seed, duration_s)
        if commands is not None:
            return DemoScript(scenario, world_seed, commands)
    raise RuntimeError(f"no world for the demo among the {_WORLDS} of seed {seed}; try another seed")


def _script_for(scenario: ScenarioName, seed: int, duration_s: float) -> tuple[Instruction, ...] | None:
    """One command for each of `DEMO_TYPES`, no two of the same meaning, or None when this world does not offer them."""
    chosen: list[Instruction] = []
    with LiveWorld(scenario, seed, (200, 150)) as world:
        first = world.step(0.0, rgb=False)
        made = _many_instructions(first, seed)
        if not _has_enough(made):
            return None
        views = [first, *(world.step(_LOOK_EVERY_S * k, rgb=False) for k in range(1, int(duration_s / _LOOK_EVERY_S)))]
    lasting = [i for i in made if sum(_stays(i, view) for view in views) >= 0.9 * len(views)]
    for kind in DEMO_TYPES:
        free = [i for i in lasting if i.type == kind and all(i.query != c.query for c in chosen)]
        if not free:
            return None
        chosen.append(free[0])
    return tuple(chosen)


def _many_instructions(view: View, seed: int) -> list[Instruction]:
    """A dozen instructions of each type, meanings repeated."""
    kinds = dict.fromkeys(DEMO_TYPES)
    return [
        i
        for round_ in range(2)
        for kind in kinds
        for i in instructions(view, seed * 2 + round_, SPLIT, count=6, types=[kind])
    ]


def _has_enough(made: list[Instruction]) -> bool:
    return all(len({i.query for i in made if i.type == kind}) >= DEMO_TYPES.count(kind) for kind in DEMO_TYPES)


def _stays(instruction: Instruction, view: View) -> bool:
    found = meaning(instruction.query, view)
    return found is not None and bool(found) == (instruction.type != "absent")
