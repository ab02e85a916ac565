"""Things that slide over the table and bump into each other: a MuJoCo model of one scene's collision shapes.

Each thing has three joints (x, y and a turn about the vertical), with the table's friction in the joints. So everything
stays upright, as in the pictures the demo models are trained on; bottles that fall over are not simulated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import mujoco
import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.scene import Thing, rotation_of
from segzero_ros.tabletop.things import Kind, extent

STEP_S = 0.005
GRAVITY = 9.81
DENSITY = 400.0  # kg/m^3 of the collision shape: mostly hollow things
FRICTION: Mapping[Kind, float] = {"ball": 0.12}
USUAL_FRICTION = 0.25
RAIL_M = 0.02  # half the width of the invisible rail along the table's edge

Point = tuple[float, float]


class Physics:
    """The positions of a scene's things over time."""

    def __init__(self, things: tuple[Thing, ...], table_size: tuple[float, float]) -> None:
        self._things = things
        self._model = _build(things, table_size)
        self._data = mujoco.MjData(self._model)
        mujoco.mj_forward(self._model, self._data)

    @property
    def time_s(self) -> float:
        """Simulated seconds so far."""
        return float(self._data.time)

    def step(self, forces: Mapping[int, Point] | None = None) -> None:
        """One step of `STEP_S`, with horizontal forces in newtons on some things."""
        self._data.qfrc_applied[:] = 0
        for number, force in (forces or {}).items():
            start = 3 * self._index(number)
            self._data.qfrc_applied[start : start + 2] = force
        mujoco.mj_step(self._model, self._data)

    def push(self, number: int, velocity: Point) -> None:
        """Give the thing a horizontal velocity, m/s, as a short push does."""
        start = 3 * self._index(number)
        self._data.qvel[start : start + 2] = velocity

    def mass_kg(self, number: int) -> float:
        """The mass of a thing."""
        return float(self._model.body_mass[self._index(number) + 1])

    def position(self, number: int) -> Point:
        """Where the thing's base is, metres."""
        x, y = self._place(self._index(number))[:2]
        return float(x), float(y)

    def velocity(self, number: int) -> Point:
        """How fast it moves, m/s."""
        start = 3 * self._index(number)
        return float(self._data.qvel[start]), float(self._data.qvel[start + 1])

    def things(self) -> tuple[Thing, ...]:
        """The things where they are now."""
        return tuple(self._moved(index, thing) for index, thing in enumerate(self._things))

    def _moved(self, index: int, thing: Thing) -> Thing:
        x, y, turn = self._place(index)
        yaw = turn + _yaw(thing)
        return replace(
            thing,
            position=(float(x), float(y), thing.position[2]),
            quaternion=(math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)),
        )

    def _place(self, index: int) -> NDArray[np.float64]:
        start = self._things[index].position
        moved = self._data.qpos[3 * index : 3 * index + 3]
        return np.array([start[0] + moved[0], start[1] + moved[1], moved[2]])

    def _index(self, number: int) -> int:
        for index, thing in enumerate(self._things):
            if thing.id == number:
                return index
        raise KeyError(number)


def _yaw(thing: Thing) -> float:
    rotation = rotation_of(thing.quaternion)
    return math.atan2(rotation[1, 0], rotation[0, 0])


def _build(things: tuple[Thing, ...], table_size: tuple[float, float]) -> mujoco.MjModel:
    spec = mujoco.MjSpec()
    spec.option.timestep = STEP_S
    spec.option.gravity = [0, 0, 0]  # the table carries everything: its friction is in the joints
    _add_rails(spec, table_size)
    for thing in things:
        _add_thing(spec, thing)
    model = spec.compile()
    for index, thing in enumerate(things):
        weight = model.body_mass[index + 1] * GRAVITY * FRICTION.get(thing.kind, USUAL_FRICTION)
        reach = 0.5 * float(extent(thing.kind)[1][0]) * thing.scale[0]
        model.dof_frictionloss[3 * index : 3 * index + 3] = (weight, weight, weight * reach)
    return model


def _add_rails(spec: mujoco.MjSpec, table_size: tuple[float, float]) -> None:
    width, depth = table_size
    for x, y, half in (
        (width, 0, (RAIL_M, depth, 0.2)),
        (-width, 0, (RAIL_M, depth, 0.2)),
        (0, depth, (width, RAIL_M, 0.2)),
        (0, -depth, (width, RAIL_M, 0.2)),
    ):
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=half, pos=[x, y, 0.2])


def _add_thing(spec: mujoco.MjSpec, thing: Thing) -> None:
    yaw = _yaw(thing)
    body = spec.worldbody.add_body(pos=[*thing.position[:2], 0])
    for name, kind, axis in (
        ("x", mujoco.mjtJoint.mjJNT_SLIDE, [1, 0, 0]),
        ("y", mujoco.mjtJoint.mjJNT_SLIDE, [0, 1, 0]),
        ("turn", mujoco.mjtJoint.mjJNT_HINGE, [0, 0, 1]),
    ):
        body.add_joint(name=f"{thing.id}.{name}", type=kind, axis=axis)
    low, high = extent(thing.kind)
    half = (high - low) / 2 * thing.scale
    shape = {
        "quat": [math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)],
        "pos": [0, 0, half[2]],
        "density": DENSITY,
        "friction": [0.2, 0.005, 0.0001],
    }
    if thing.kind in ("book", "box"):
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=half, **shape)
    elif thing.kind == "ball":
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[half[0], 0, 0], **shape)
    else:
        radius = -low[0] * thing.scale[0]  # the round part of a mug, without its handle
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=[radius, half[2], 0], **shape)
