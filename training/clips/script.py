"""What happens in a clip: the scene of every frame, drawn from a seed.

| motion | what happens |
|---|---|
| camera | the camera moves: round the table, across it, nearer, further, in an unsteady hand |
| pushed | things are pushed or drawn over the table and bump into others |
| rod | an arm passes before a thing, stays for a while and goes |
| carried | a thing is carried through the line of sight to another |
| alike | two things of one kind and colour cross, one before the other |
| leaving | a thing leaves the picture and comes back |
| glance | the camera looks away and back |
| light | lamps are switched or dimmed, the exposure follows |

In every one but `camera` and `glance` the camera moves half of the time too. Compositions that are held out occur in
the test split only, as in the still pictures; the split is part of the seed, and clips have seeds of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from segzero_ros.tabletop.physics import STEP_S, Physics
from segzero_ros.tabletop.sampling import sample_scene
from segzero_ros.tabletop.scenarios import ROOMY_TABLE, plan_trip, swing
from segzero_ros.tabletop.scene import Rod, Scene, Split, Thing, scene_rng
from training.clips.camera import CameraPath, glancing_camera, moving_camera, still_camera
from training.clips.moves import Drive, Push, drive, random_pushes, random_slides
from training.clips.staged import Carry, Lighting, carry, crossing, dimmed, passing_rod

Motion = Literal["camera", "pushed", "rod", "carried", "alike", "leaving", "glance", "light"]
MOTIONS: tuple[Motion, ...] = get_args(Motion)
SHARES = (0.16, 0.18, 0.18, 0.16, 0.13, 0.08, 0.07, 0.04)  # of a mixed set, in the order of MOTIONS
CLIP_SEEDS = 700_000_000  # apart from those of shards (below), live worlds (500 million on) and evaluations (a billion)
SEEDS_PER_SET = 100_000
SETS = 3_000
STEP_RANGE_S = (0.08, 0.4)  # between two frames of a training clip
ELSEWHERE_M = 0.15
_CLIP_PURPOSE = 11


@dataclass(frozen=True, slots=True)
class Script:
    """A clip that is not drawn yet. `scenes`: of every frame, the same things in each; `step_s`: between two frames."""

    seed: int
    split: Split
    motion: Motion
    step_s: float
    scenes: tuple[Scene, ...]


@dataclass(slots=True)
class _Plan:
    """What moves: physics and drives on the table, carried things in the air, rods, camera and lights over time."""

    start: Scene
    camera: CameraPath
    drives: list[Drive] = field(default_factory=list)
    pushes: list[Push] = field(default_factory=list)
    carried: list[Carry] = field(default_factory=list)
    rods: list[Callable[[float], Rod]] = field(default_factory=list)
    lighting: Lighting | None = None


def clip_seed(set_number: int, index: int) -> int:
    """The seed of one clip of a set. ValueError outside of the range that clips have to themselves."""
    if not (0 <= set_number < SETS and 0 <= index < SEEDS_PER_SET):
        raise ValueError(f"got set {set_number}, clip {index}; want 0..{SETS - 1} and 0..{SEEDS_PER_SET - 1}")
    return CLIP_SEEDS + set_number * SEEDS_PER_SET + index


def write_script(
    seed: int, split: Split, frames: int, *, step_s: float | None = None, motion: Motion | None = None
) -> Script:
    """The clip of a seed; `step_s` seconds between frames and its motion are drawn from the seed unless given."""
    rng = scene_rng(seed, split, _CLIP_PURPOSE)
    drawn_motion = MOTIONS[int(rng.choice(len(MOTIONS), p=SHARES))]
    drawn_step = float(np.exp(rng.uniform(*np.log(STEP_RANGE_S))))
    motion, step_s = motion or drawn_motion, step_s or drawn_step
    plan = _plan(sample_scene(seed, split), motion, step_s * (frames - 1), rng)
    return Script(seed, split, motion, step_s, tuple(_play(plan, frames, step_s)))


def _plan(scene: Scene, motion: Motion, duration_s: float, rng: np.random.Generator) -> _Plan:
    scene = _with_room(scene, rng)
    drives: list[Drive] = []
    if motion == "alike":
        scene, drives = crossing(scene, duration_s, rng)
    elif motion == "leaving":
        drives = [_trip(scene, duration_s, rng)]
    plan = _Plan(scene, _camera(scene, motion, duration_s, rng), drives)
    if motion == "pushed":
        if rng.random() < 0.6:
            plan.pushes = random_pushes(scene, duration_s, rng)
        if not plan.pushes or rng.random() < 0.3:
            plan.drives = random_slides(scene, duration_s, rng)
    elif motion == "rod":
        plan.rods = [passing_rod(scene, duration_s, rng) for _ in range(1 + (rng.random() < 0.25))]
    elif motion == "carried":
        plan.carried = [carry(scene, duration_s, rng)]
    if motion == "light" or rng.random() < 0.15:
        plan.lighting = dimmed(duration_s, rng)
    if motion in ("camera", "rod", "carried") and rng.random() < 0.25:
        plan.pushes = random_pushes(scene, duration_s, rng)
    return plan


def _trip(scene: Scene, duration_s: float, rng: np.random.Generator) -> Drive:
    """One thing's way out of the picture and back, half of the time to another place than it left."""
    trip = plan_trip(scene)
    times = duration_s * np.cumsum([rng.uniform(0.0, 0.2), 0.25, rng.uniform(0.05, 0.25), 0.25])
    home, away = np.asarray(trip.home), np.asarray(trip.away)
    back = home + rng.uniform(-ELSEWHERE_M, ELSEWHERE_M, 2) * (rng.random() < 0.5)
    return drive(trip.thing, times, [home, away, away, back])


def _with_room(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with a table that is large enough to slide about, seen from where the things just fit or further."""
    table = (max(scene.room.table_size[0], ROOMY_TABLE[0] * 0.75), max(scene.room.table_size[1], ROOMY_TABLE[1] * 0.75))
    return replace(
        scene,
        room=replace(scene.room, table_size=table),
        camera=swing(scene.camera, 0.0, 0.0, float(rng.uniform(0.9, 1.15))),
    )


def _camera(scene: Scene, motion: Motion, duration_s: float, rng: np.random.Generator) -> CameraPath:
    if motion == "glance":
        return glancing_camera(scene.camera, duration_s, rng)
    if motion == "camera" or rng.random() < 0.5:
        return moving_camera(scene.camera, rng)
    return still_camera(scene.camera)


def _play(plan: _Plan, frames: int, step_s: float) -> list[Scene]:
    """Run the plan: the scene at every frame."""
    in_hand = {each.thing.id for each in plan.carried}
    physics = Physics(
        tuple(thing for thing in plan.start.things if thing.id not in in_hand), plan.start.room.table_size
    )
    waiting = sorted((p for p in plan.pushes if p.thing not in in_hand), key=lambda push: -push.time)
    scenes = []
    for frame in range(frames):
        t = frame * step_s
        while physics.time_s + STEP_S <= t + 1e-9:
            while waiting and waiting[-1].time <= physics.time_s:
                push = waiting.pop()
                physics.push(push.thing, push.velocity)
            physics.step({each.thing: each.force(physics) for each in plan.drives})
        scenes.append(_scene_at(plan, physics.things(), t))
    return scenes


def _scene_at(plan: _Plan, on_table: tuple[Thing, ...], t: float) -> Scene:
    things = sorted((*on_table, *(each.at(t) for each in plan.carried)), key=lambda thing: thing.id)
    sensor = replace(plan.start.sensor, seed=plan.start.sensor.seed + round(t * 1000))
    scene = Scene(tuple(things), plan.camera(t), plan.start.room, sensor, tuple(rod(t) for rod in plan.rods))
    return plan.lighting.applied(scene, t) if plan.lighting is not None else scene
