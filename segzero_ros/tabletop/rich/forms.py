"""Every kind of the rich world in its five shapes, and the unnamed clutter."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.rich import furniture, goods, vessels
from segzero_ros.tabletop.rich.parts import Form, disc, prism, rounded
from segzero_ros.tabletop.solids import Mesh, Patches, bounds, join, revolve, scatter, slab, tube
from segzero_ros.tabletop.things import Kind, extent, patches

SHAPES = 5  # of every kind
Clutter = Literal["pen", "coin", "paper", "eraser", "clip", "cube", "cloth", "spool"]
CLUTTER: tuple[Clutter, ...] = get_args(Clutter)

_BUILDERS: Mapping[Kind, Callable[[int], Form]] = {
    "mug": vessels.mug,
    "bottle": vessels.bottle,
    "can": vessels.can,
    "bowl": vessels.bowl,
    "plate": vessels.plate,
    "ball": goods.ball,
    "book": furniture.book,
    "box": furniture.box,
    "plant": furniture.plant,
    "lamp": furniture.lamp,
    "jar": vessels.jar,
    "jug": vessels.jug,
    "teapot": vessels.teapot,
    "vase": vessels.vase,
    "candle": goods.candle,
    "basket": vessels.basket,
    "bucket": vessels.bucket,
    "pan": vessels.pan,
    "apple": goods.apple,
    "banana": goods.banana,
    "car": goods.car,
    "clock": goods.clock,
    "phone": goods.phone,
    "remote": goods.remote,
    "shelf": furniture.shelf,
    "bin": furniture.bin_,
}
RICH_KINDS: tuple[Kind, ...] = tuple(_BUILDERS)


@functools.cache
def form(kind: Kind, shape: int) -> Form:
    """A kind in one of its shapes, 0..4."""
    return _BUILDERS[kind](shape)


@functools.cache
def extent_of(kind: Kind, shape: int | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and highest corner (3,), metres, at size 1; the shape None is the simple world's only one."""
    return extent(kind) if shape is None else bounds(form(kind, shape).meshes)


@functools.cache
def patches_of(kind: Kind, shape: int | None) -> Patches:
    """Points drawn evenly over the faces of a form, always the same ones."""
    if shape is None:
        return patches(kind)
    return scatter(form(kind, shape).meshes, 100 + RICH_KINDS.index(kind) * SHAPES + shape)


@functools.cache
def form_outline(kind: Kind, shape: int) -> NDArray[np.float64]:
    """The radius about the upright axis and the height of every corner of a form, (N, 2), metres at size 1."""
    points = np.concatenate([mesh.vertices for mesh in form(kind, shape).meshes])
    return np.unique(np.round(np.column_stack([np.hypot(points[:, 0], points[:, 1]), points[:, 2]]), 5), axis=0)


@functools.cache
def form_reach(kind: Kind, shape: int) -> float:
    """The radius of the circle about the origin of the base that holds the whole form, metres at size 1."""
    return max(float(np.hypot(*mesh.vertices[:, :2].T).max()) for mesh in form(kind, shape).meshes)


@functools.cache
def clutter(name: Clutter) -> tuple[Mesh, ...]:
    """The meshes of a small thing that no question names, on z = 0, metres."""
    match name:
        case "pen":
            line = np.array([(-0.07, 0, 0.005), (0.055, 0, 0.005), (0.07, 0, 0.005)])
            return (tube("colour", line, np.array([0.0045, 0.0045, 0.0008]), sides=6),)
        case "coin":
            return (disc("colour", 0.012, 0, 0.0025, sides=16),)
        case "paper":
            return (slab("colour", (-0.05, -0.035, 0), (0.05, 0.035, 0.001)),)
        case "eraser":
            return (prism("colour", rounded(0.022, 0.012, 0.003), 0, 0.011),)
        case "clip":
            return (
                slab("colour", (-0.020, -0.009, 0), (0.020, 0.009, 0.007)),
                slab("dark", (0.010, -0.009, 0.007), (0.030, 0.009, 0.010)),
            )
        case "cube":
            return (slab("colour", (-0.010, -0.010, 0), (0.010, 0.010, 0.020)),)
        case "cloth":
            return (prism("colour", rounded(0.075, 0.055, 0.008), 0, 0.006),)
        case "spool":
            rims = [disc("wood", 0.014, 0, 0.004, sides=12), disc("wood", 0.014, 0.024, 0.028, sides=12)]
            return (revolve("colour", [(0.011, 0.004), (0.012, 0.014), (0.011, 0.024)], sides=12), join("wood", rims))
