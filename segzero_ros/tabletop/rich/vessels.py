"""Things to put something into: mug, bottle, can, bowl, plate, jar, jug, teapot, vase, basket, bucket, pan."""

from __future__ import annotations

import math

import numpy as np

from segzero_ros.tabletop.rich.parts import Form, Space, bail, curve, disc, handle, hollow, moved
from segzero_ros.tabletop.solids import Mesh, join, revolve, slab, tube

UNDER_ARCH_M = 0.035  # over the rim of a bucket or basket: what reaches higher meets its handle


def mug(shape: int) -> Form:
    """Straight, tall, tapered, barrel and wide."""
    low, middle, high, tall = (
        (0.052, 0.054, 0.056, 0.11),
        (0.044, 0.044, 0.045, 0.135),
        (0.040, 0.048, 0.058, 0.115),
        (0.046, 0.060, 0.050, 0.11),
        (0.050, 0.064, 0.068, 0.08),
    )[shape]
    outside = curve((low, 0), (middle, tall / 2), (high, tall), rows=7)
    cup = hollow("colour", outside, 0.006, 0.01)
    ear = handle("colour", middle - 0.003, 0.22 * tall, 0.8 * tall, 0.036, 0.0085)
    return Form((join("colour", [cup, ear]),))


def bottle(shape: int) -> Form:
    """Round shoulders, wine, squat, slim, and a wide cap."""
    radius, shoulder, neck, top = (
        (0.045, 0.15, 0.017, 0.25),
        (0.038, 0.19, 0.013, 0.30),
        (0.056, 0.12, 0.018, 0.19),
        (0.031, 0.16, 0.012, 0.26),
        (0.041, 0.17, 0.030, 0.215),
    )[shape]
    rise = top - shoulder
    body = revolve(
        "colour",
        [(0, 0), (radius - 0.002, 0)],
        [(radius - 0.002, 0), (radius, 0.008), (radius, shoulder)],
        curve((radius, shoulder), (0.8 * radius + 0.2 * neck, shoulder + 0.25 * rise), (neck, shoulder + 0.6 * rise)),
        [(neck, shoulder + 0.6 * rise), (neck, top)],
    )
    wide, cap = max(neck + 0.003, 0.017), 0.030 if shape == 4 else 0.024
    lid = disc("shade" if shape in (0, 4) else "metal", wide, top - 0.006, top + cap, sides=16)
    return Form((body, lid))


def can(shape: int) -> Form:
    """Drinks can, slim, food tin, flat tin, ridged tin."""
    radius, tall = ((0.043, 0.126), (0.036, 0.150), (0.050, 0.115), (0.058, 0.062), (0.046, 0.13))[shape]
    if shape == 4:
        heights = np.linspace(0.02, tall - 0.02, 15)
        side = [(radius - 0.0022 * (n % 2), float(z)) for n, z in enumerate(heights)]
    else:
        side = [(radius, 0.008), (radius, tall / 2), (radius, tall - 0.009)]
    narrow = radius - (0.005 if shape < 2 else 0.0)
    body = revolve("colour", side)
    ends = revolve(
        "metal",
        [(0, 0), (narrow, 0)],
        [(narrow, 0), side[0]],
        [side[-1], (narrow, tall)],
        [(narrow, tall), (narrow - 0.003, tall), (narrow - 0.004, tall - 0.004)],
        [(narrow - 0.004, tall - 0.004), (0, tall - 0.004)],
    )
    tab = slab("metal", (-0.012, -0.006, tall - 0.004), (0.010, 0.006, tall - 0.0015))
    return Form((body, join("metal", [ends, tab])))


def bowl(shape: int) -> Form:
    """Half a ball, shallow, deep, on a foot, and a cone."""
    foot, wide, tall, belly = (
        (0.036, 0.100, 0.083, 0.88),
        (0.050, 0.125, 0.060, 0.80),
        (0.042, 0.092, 0.105, 0.95),
        (0.045, 0.105, 0.095, 0.85),
        (0.030, 0.110, 0.080, 0.66),
    )[shape]
    base = 0.022 if shape == 3 else 0.0
    outside = curve((foot, base), (belly * wide, base + 0.42 * (tall - base)), (wide, tall), rows=9)
    if shape == 3:
        outside = [(foot, 0), (0.7 * foot, 0.016), *outside]
    floor = base + 0.012
    within = float(np.interp(floor, [z for _, z in outside], [r for r, _ in outside])) - 0.006
    walls = ((within, 0.0), *((r - 0.006, z - floor) for r, z in outside if z > floor))
    room = Space(floor, (within, within), True, tall - floor, walls)
    return Form((hollow("colour", outside, 0.006, floor),), {"in": room})


def plate(shape: int) -> Form:
    """Usual, flat, with a wide rim, soup plate, eight-sided."""
    foot, lip, wide, rise = (
        (0.078, 0.095, 0.128, 0.018),
        (0.095, 0.110, 0.122, 0.010),
        (0.070, 0.080, 0.138, 0.016),
        (0.072, 0.090, 0.122, 0.030),
        (0.085, 0.098, 0.130, 0.020),
    )[shape]
    disk = revolve(
        "colour",
        [(0, 0), (foot, 0)],
        [(foot, 0), (lip, 0.45 * rise), (wide, rise)],
        [(wide, rise), (wide, rise + 0.005)],
        [(wide, rise + 0.005), (lip - 0.001, 0.45 * rise + 0.006), (foot, 0.007)],
        [(foot, 0.007), (0, 0.007)],
        sides=8 if shape == 4 else 32,
    )
    room = foot * (0.9 if shape == 4 else 0.98)
    return Form((disk,), {"on": Space(0.007, (room, room), True)})


def jar(shape: int) -> Form:
    """Jam, tall, round, honey, and wide jars, with a lid."""
    radius, belly, tall = (
        (0.046, 0.047, 0.105),
        (0.044, 0.045, 0.155),
        (0.045, 0.066, 0.11),
        (0.050, 0.058, 0.10),
        (0.062, 0.063, 0.12),
    )[shape]
    mouth = 0.82 * radius
    side = curve((radius, 0.0), (belly, tall / 2), (radius * 0.98, 0.9 * tall), rows=9)
    body = revolve("colour", [(0, 0), (radius, 0)], side, [side[-1], (mouth, tall), (mouth, tall + 0.012)])
    lid = disc(
        "metal" if shape in (0, 4) else "wood" if shape == 1 else "shade", mouth + 0.007, tall + 0.006, tall + 0.026
    )
    parts: list[Mesh] = [body, lid]
    if shape in (2, 3):
        knob = [(0.012 * np.sin(t), tall + 0.036 - 0.012 * np.cos(t)) for t in np.linspace(0, np.pi, 7)]
        parts[1] = join("shade", [lid, revolve("shade", [(float(r), float(z)) for r, z in knob], sides=12)])
    return Form(tuple(parts))


def _with_spout(mesh: Mesh, height: float, length: float) -> Mesh:
    """The rim drawn out to a lip towards -x."""
    points = mesh.vertices.copy()
    angle = np.abs(np.arctan2(points[:, 1], -points[:, 0]))
    pull = np.clip((points[:, 2] / height - 0.72) / 0.28, 0, 1) * np.clip(1 - angle / 0.6, 0, 1)
    points[:, 0] -= length * pull
    points[:, 1] *= 1 - 0.35 * pull
    points[:, 2] += 0.3 * length * pull
    return Mesh(mesh.role, points, mesh.normals, mesh.faces)


def jug(shape: int) -> Form:
    """Milk jug, tall pitcher, round, conical, straight."""
    foot, belly, neck, mouth, tall = (
        (0.050, 0.066, 0.046, 0.054, 0.165),
        (0.048, 0.056, 0.046, 0.056, 0.225),
        (0.052, 0.080, 0.050, 0.058, 0.165),
        (0.070, 0.062, 0.046, 0.048, 0.185),
        (0.052, 0.053, 0.054, 0.056, 0.180),
    )[shape]
    outside = curve((foot, 0), (belly, 0.33 * tall), (neck, 0.76 * tall), (mouth, tall), rows=13)
    body = _with_spout(hollow("colour", outside, 0.006, 0.012), tall, 0.030)
    at = (belly + neck) / 2 - 0.006
    return Form((join("colour", [body, handle("colour", at, 0.28 * tall, 0.84 * tall, 0.045, 0.009)]),))


def teapot(shape: int) -> Form:
    """Round, flat, tall, egg-shaped and straight pots, with spout, handle and lid."""
    foot, belly, top, tall = (
        (0.045, 0.084, 0.040, 0.120),
        (0.060, 0.098, 0.042, 0.090),
        (0.046, 0.066, 0.038, 0.155),
        (0.040, 0.080, 0.046, 0.135),
        (0.070, 0.072, 0.058, 0.115),
    )[shape]
    side = curve((foot, 0.0), (belly, 0.48 * tall), (top, tall), rows=11)
    body = revolve("colour", [(0, 0), (foot, 0)], side)
    lid = revolve("colour", curve((top + 0.003, tall - 0.002), (0.7 * top, tall + 0.014), (0.0, tall + 0.019), rows=6))
    ball = [(0.013 * np.sin(t), tall + 0.029 - 0.013 * np.cos(t)) for t in np.linspace(0, np.pi, 8)]
    knob = revolve("shade", [(float(r), float(z)) for r, z in ball], sides=12)
    root = belly - 0.012
    path = np.array(
        [(-root, 0.30), (-root - 0.035, 0.42), (-root - 0.055, 0.70), (-root - 0.085, 1.0)], dtype=np.float64
    )
    line = np.stack([path[:, 0], np.zeros(4), path[:, 1] * tall], axis=1)
    spout = tube("colour", line, np.array([0.020, 0.015, 0.011, 0.009]), sides=10)
    ear = handle("colour", root + 0.002, 0.18 * tall, 0.86 * tall, 0.055, 0.009)
    return Form((join("colour", [body, lid, spout, ear]), knob))


def vase(shape: int) -> Form:
    """Amphora, trumpet, bulb with a narrow neck, hourglass, tall and slim."""
    profile = (
        [(0.036, 0.0), (0.070, 0.11), (0.030, 0.20), (0.046, 0.24)],
        [(0.040, 0.0), (0.026, 0.07), (0.036, 0.17), (0.072, 0.25)],
        [(0.045, 0.0), (0.078, 0.07), (0.020, 0.15), (0.034, 0.22)],
        [(0.056, 0.0), (0.034, 0.09), (0.040, 0.14), (0.064, 0.22)],
        [(0.034, 0.0), (0.042, 0.12), (0.026, 0.24), (0.040, 0.29)],
    )[shape]
    outside = curve(*profile, rows=17)
    return Form((hollow("colour", outside, 0.005, 0.012),))


def basket(shape: int) -> Form:
    """Woven: with an arch, flat, tall, without an arch, with two ears."""
    low, high, tall = (
        (0.085, 0.115, 0.09),
        (0.105, 0.130, 0.065),
        (0.080, 0.100, 0.13),
        (0.100, 0.120, 0.10),
        (0.095, 0.110, 0.105),
    )[shape]
    body = hollow("colour", [(low, 0), ((low + high) / 2, tall / 2), (high, tall)], 0.008, 0.012)
    bend = np.linspace(0, 2 * np.pi, 25)
    rim = revolve("shade", [(high - 0.004 + 0.008 * float(np.sin(t)), tall - 0.008 * float(np.cos(t))) for t in bend])
    extra: list[Mesh] = []
    if shape < 3:
        extra = [bail("shade", high - 0.003, tall, 0.135, 0.007)]
    elif shape == 4:
        extra = [
            moved(handle("shade", 0.0, -0.030, 0.030, 0.032, 0.006), (s * high, 0, tall - 0.01), 0.0, t)
            for s, t in ((1, 0.0), (-1, np.pi))
        ]
    room = 0.97 * (low - 0.008)
    return Form(
        (body, join("shade", [rim, *extra])),
        {"in": Space(0.012, (room, room), True, tall - 0.012, above=UNDER_ARCH_M if shape < 3 else math.inf)},
    )


def bucket(shape: int) -> Form:
    """Usual, slim, wide, low and beach buckets with a wire handle."""
    low, high, tall = (
        (0.072, 0.098, 0.155),
        (0.064, 0.080, 0.160),
        (0.086, 0.120, 0.135),
        (0.080, 0.105, 0.115),
        (0.058, 0.098, 0.130),
    )[shape]
    outside = [(low, 0), (low + 0.25 * (high - low), 0.25 * tall), (high - 0.004, 0.94 * tall), (high, tall)]
    body = hollow("colour", outside, 0.004, 0.008)
    rim = revolve("shade", [(high, tall - 0.012), (high + 0.005, tall - 0.006), (high, tall + 0.002)])
    wire = bail("metal" if shape != 4 else "shade", high + 0.003, tall - 0.012, 0.105, 0.0045)
    room = 0.97 * (low - 0.004)
    return Form(
        (join("colour", [body]), rim, wire), {"in": Space(0.008, (room, room), True, tall - 0.008, above=UNDER_ARCH_M)}
    )


def pan(shape: int) -> Form:
    """Frying pan, small, deep, saucepan, crepe pan; a dark handle."""
    low, high, tall, grip = (
        (0.095, 0.115, 0.042, 0.17),
        (0.072, 0.088, 0.038, 0.14),
        (0.095, 0.112, 0.060, 0.16),
        (0.080, 0.080, 0.095, 0.15),
        (0.112, 0.122, 0.022, 0.16),
    )[shape]
    body = hollow("colour", [(low, 0), (0.5 * (low + high), 0.4 * tall), (high, tall)], 0.005, 0.008)
    path = np.array([(high - 0.01, 0.7 * tall), (high + 0.03, 0.82 * tall), (high + grip, tall + 0.022)])
    line = np.stack([path[:, 0], np.zeros(3), path[:, 1]], axis=1)
    stick = tube("dark", line, np.array([0.008, 0.011, 0.012]), sides=8)
    tip = moved(disc("dark", 0.012, 0.0, 0.004, sides=8), (high + grip, 0, tall + 0.022), 1.3)
    room = 0.95 * (low - 0.005)
    return Form((body, join("dark", [stick, tip])), {"in": Space(0.008, (room, room), True, tall - 0.008)})
