"""What can lie on the table.

Ten kinds of things as triangle meshes, eight colours, and which compositions are held out for testing.

Every kind is one to three meshes, each of one `Role` (the thing's own colour, metal, paper, ...), standing upright with
its base at z = 0, in metres at size 1. The meshes serve three purposes: MuJoCo draws them, their faces tell how much of
a thing is visible, and their extent gives the footprint and the collision shape.

The names of kinds and colours beyond those of `KINDS` and `COLOURS` are the rich world's (`rich/`).
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.solids import Mesh, Patches, Role, bounds, join, leaf, revolve, scatter, slab, tube

Kind = Literal[
    "mug",
    "bottle",
    "can",
    "bowl",
    "plate",
    "ball",
    "book",
    "box",
    "plant",
    "lamp",
    "jar",
    "jug",
    "teapot",
    "vase",
    "candle",
    "basket",
    "bucket",
    "pan",
    "apple",
    "banana",
    "car",
    "clock",
    "phone",
    "remote",
    "shelf",
    "bin",
]
Colour = Literal["red", "green", "blue", "yellow", "orange", "purple", "white", "black", "pink", "brown", "silver"]

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
    "dark": (0.09, 0.09, 0.10),
    "wood": (0.55, 0.38, 0.22),
    "screen": (0.08, 0.11, 0.16),
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


def _mug() -> list[Mesh]:
    cup = revolve(
        "colour",
        [(0, 0), (0.050, 0)],
        [(0.052, 0), (0.056, 0.11)],
        [(0.056, 0.11), (0.050, 0.11)],
        [(0.050, 0.11), (0.046, 0.01)],
        [(0.046, 0.01), (0, 0.01)],
    )
    bend = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 10)
    path = np.stack([0.052 + 0.038 * np.cos(bend), np.zeros(10), 0.057 + 0.034 * np.sin(bend)], axis=1)
    return [join("colour", [cup, tube("colour", path, 0.009)])]


def _bottle() -> list[Mesh]:
    body = revolve(
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
    cap = revolve("metal", [(0.021, 0.242), (0.021, 0.270)], [(0.021, 0.270), (0, 0.270)], sides=16)
    return [body, cap]


def _can() -> list[Mesh]:
    body = revolve("colour", [(0.043, 0.008), (0.043, 0.117)])
    ends = revolve(
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
    bowl = revolve("colour", [(0, 0), (0.036, 0)], [(0.036, 0), foot], outside, [outside[-1], inside[0]], inside)
    return [bowl]


def _plate() -> list[Mesh]:
    plate = revolve(
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
    return [revolve("colour", [(0.062 * np.sin(t), 0.062 - 0.062 * np.cos(t)) for t in np.linspace(0, np.pi, 15)])]


def _book() -> list[Mesh]:
    low, high = (
        slab("colour", (-0.1, -0.075, 0), (0.1, 0.075, 0.004)),
        slab("colour", (-0.1, -0.075, 0.034), (0.1, 0.075, 0.038)),
    )
    spine = slab("colour", (-0.1, -0.075, 0.004), (-0.095, 0.075, 0.034))
    title = slab("paper", (-0.03, -0.04, 0.038), (0.05, 0.04, 0.0386))
    pages = slab("paper", (-0.095, -0.070, 0.004), (0.094, 0.070, 0.034))
    return [join("colour", [low, high, spine]), join("paper", [pages, title])]


def _box() -> list[Mesh]:
    body = slab("colour", (-0.072, -0.058, 0), (0.072, 0.058, 0.085))
    lid = slab("shade", (-0.077, -0.063, 0.080), (0.077, 0.063, 0.112))
    return [body, lid]


def _plant() -> list[Mesh]:
    pot = revolve(
        "colour",
        [(0, 0), (0.043, 0)],
        [(0.043, 0), (0.057, 0.085)],
        [(0.057, 0.085), (0.063, 0.085)],
        [(0.063, 0.085), (0.065, 0.106)],
        [(0.065, 0.106), (0.056, 0.106)],
        [(0.056, 0.106), (0.054, 0.09)],
    )
    soil = revolve("soil", [(0.056, 0.095), (0, 0.097)])
    outer = [leaf("leaf", a, 0.62, 0.13, 0.09) for a in np.arange(7) * (2 * np.pi / 7)]
    inner = [leaf("leaf", a, 0.22, 0.15, 0.09) for a in 0.4 + np.arange(4) * (np.pi / 2)]
    return [pot, soil, join("leaf", [*outer, *inner])]


def _lamp() -> list[Mesh]:
    base = revolve("colour", [(0, 0), (0.058, 0)], [(0.058, 0), (0.058, 0.012)], [(0.058, 0.012), (0, 0.022)])
    shade = revolve(
        "colour",
        [(0.088, 0.165), (0.050, 0.275)],
        [(0.050, 0.275), (0.046, 0.275)],
        [(0.046, 0.275), (0.084, 0.165)],
        [(0.084, 0.165), (0.088, 0.165)],
    )
    pole = revolve("metal", [(0.009, 0.015), (0.009, 0.24)], sides=10)
    bulb = revolve("glow", [(0.056, 0.255), (0, 0.255)])
    return [join("colour", [base, shade]), pole, bulb]


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


def role_colour(role: Role, rgb: tuple[float, float, float]) -> tuple[float, ...]:
    """The colour of a part of a thing of this colour."""
    if role == "colour":
        return rgb
    if role == "shade":
        return tuple(0.85 * channel + 0.03 for channel in rgb)
    return ROLE_COLOURS[role]


@functools.cache
def meshes(kind: Kind) -> tuple[Mesh, ...]:
    """The meshes of a kind at size 1."""
    return tuple(_BUILDERS[kind]())


@functools.cache
def extent(kind: Kind) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and highest corner (3,), metres, of a kind at size 1."""
    return bounds(meshes(kind))


@functools.cache
def patches(kind: Kind) -> Patches:
    """Points drawn evenly over the faces of all meshes of a kind, always the same ones."""
    return scatter(meshes(kind), KINDS.index(kind))
