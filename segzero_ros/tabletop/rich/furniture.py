"""What holds, carries or shelters other things, and what stands about a room: box, bin, shelf, book, plant, lamp."""

from __future__ import annotations

import numpy as np

from segzero_ros.tabletop.rich.parts import Form, Space, curve, disc, hollow, moved, open_crate
from segzero_ros.tabletop.solids import Mesh, join, leaf, revolve, slab


def box(shape: int) -> Form:
    """With a lid, open, flat and open, open with flaps, tall with a lid."""
    x, y, tall = (
        (0.072, 0.058, 0.085),
        (0.095, 0.080, 0.085),
        (0.115, 0.085, 0.055),
        (0.090, 0.075, 0.095),
        (0.060, 0.060, 0.130),
    )[shape]
    if shape in (0, 4):
        body = slab("colour", (-x, -y, 0), (x, y, tall))
        lid = slab("shade", (-x - 0.005, -y - 0.005, tall - 0.005), (x + 0.005, y + 0.005, tall + 0.027))
        return Form((body, lid), {"on": Space(tall + 0.027, (x, y), False)})
    body = open_crate("colour", (x, y), tall, 0.005)
    room = {"in": Space(0.005, (x - 0.007, y - 0.007), False, tall - 0.005)}
    if shape == 1:
        return Form((body,), room)  # type: ignore[arg-type]
    flaps = []
    if shape == 3:
        for side in (-1, 1):
            flap = slab("shade", (0, -y, -0.0015), (0.05, y, 0.0015))
            flaps.append(moved(flap, (side * x, 0, tall), 0.6, 0.0 if side > 0 else np.pi))
    else:
        flaps = [
            slab("shade", (-x - 0.004, side * y - 0.006, tall - 0.014), (x + 0.004, side * y + 0.006, tall))
            for side in (-1, 1)
        ]
    return Form((body, join("shade", flaps)), room)  # type: ignore[arg-type]


def bin_(shape: int) -> Form:
    """Storage bins: crate of slats, tray, with a low front, round, with grips."""
    x, y, tall = (
        (0.145, 0.105, 0.115),
        (0.165, 0.115, 0.060),
        (0.120, 0.130, 0.120),
        (0.125, 0.125, 0.130),
        (0.150, 0.110, 0.100),
    )[shape]
    if shape == 3:
        side = hollow("colour", [(0.9 * x, 0.0), (0.95 * x, tall / 2), (x, tall)], 0.006, 0.01)
        edge = revolve("colour", [(x, tall - 0.02), (x + 0.007, tall - 0.01), (x, tall + 0.002)])
        return Form((join("colour", [side, edge]),), {"in": Space(0.01, (0.86 * x, 0.86 * x), True, tall - 0.01)})
    if shape == 0:
        return Form(_slats(x, y, tall), {"in": Space(0.012, (x - 0.012, y - 0.012), False, tall - 0.012)})
    if shape == 2:
        low = 0.4 * tall
        return Form(_low_front(x, y, tall, low), {"in": Space(0.006, (x - 0.010, y - 0.010), False, tall - 0.006)})
    rim = [slab("shade", (-x - 0.006, s * y - 0.007, tall - 0.010), (x + 0.006, s * y + 0.007, tall)) for s in (-1, 1)]
    rim += [slab("shade", (s * x - 0.007, -y, tall - 0.010), (s * x + 0.007, y, tall)) for s in (-1, 1)]
    parts = [open_crate("colour", (x, y), tall, 0.006), join("shade", rim)]
    if shape == 4:
        low, high, out = 0.55 * tall, 0.74 * tall, 0.0075
        grips = [slab("dark", (s * x - out, -0.035, low), (s * x + out, 0.035, high)) for s in (-1, 1)]
        parts.append(join("dark", grips))
    return Form(tuple(parts), {"in": Space(0.006, (x - 0.010, y - 0.010), False, tall - 0.006)})


def _slats(x: float, y: float, tall: float) -> tuple[Mesh, ...]:
    """A crate of boards between four posts."""
    posts = [
        slab("shade", (sx * x - 0.008, sy * y - 0.008, 0), (sx * x + 0.008, sy * y + 0.008, tall + 0.006))
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    boards = [slab("colour", (-x, -y, 0.004), (x, y, 0.012))]
    for low in (0.012, 0.050, 0.088):
        for side in (-1, 1):
            boards.append(slab("colour", (-x, side * y - 0.003, low), (x, side * y + 0.003, low + 0.027)))
            boards.append(slab("colour", (side * x - 0.003, -y, low), (side * x + 0.003, y, low + 0.027)))
    return join("colour", boards), join("shade", posts)


def _low_front(x: float, y: float, tall: float, low: float) -> tuple[Mesh, ...]:
    """A bin that is open towards +x above `low`."""
    walls = [
        slab("colour", (-x, -y, 0), (x, y, 0.006)),
        slab("colour", (-x, -y, 0.006), (-x + 0.006, y, tall)),
        slab("colour", (-x + 0.006, -y, 0.006), (x, -y + 0.006, tall)),
        slab("colour", (-x + 0.006, y - 0.006, 0.006), (x, y, tall)),
        slab("colour", (x - 0.006, -y + 0.006, 0.006), (x, y - 0.006, low)),
    ]
    return join("colour", walls), slab("accent", (x, -0.045, 0.010), (x + 0.002, 0.045, 0.034))


def shelf(shape: int) -> Form:
    """A board to put things on and under: on four legs, on side boards, with a back, on round legs, on two feet."""
    x, y, tall, thick = (
        (0.170, 0.120, 0.190, 0.014),
        (0.180, 0.115, 0.175, 0.016),
        (0.175, 0.115, 0.205, 0.016),
        (0.155, 0.130, 0.170, 0.020),
        (0.190, 0.105, 0.160, 0.016),
    )[shape]
    board = slab("colour", (-x, -y, tall - thick), (x, y, tall))
    under, parts = tall - thick, []
    if shape == 0:
        parts = [
            slab(
                "shade",
                (sx * (x - 0.012) - 0.010, sy * (y - 0.012) - 0.010, 0),
                (sx * (x - 0.012) + 0.010, sy * (y - 0.012) + 0.010, under),
            )
            for sx in (-1, 1)
            for sy in (-1, 1)
        ]
    elif shape == 3:
        parts = [
            moved(disc("shade", 0.012, 0, under, sides=12), (sx * (x - 0.025), sy * (y - 0.025), 0))
            for sx in (-1, 1)
            for sy in (-1, 1)
        ]
    elif shape == 4:
        parts = [slab("shade", (s * 0.155 - 0.009, -0.03, 0), (s * 0.155 + 0.009, 0.03, under)) for s in (-1, 1)]
        parts += [slab("shade", (s * 0.155 - 0.011, -y, 0), (s * 0.155 + 0.011, y, 0.014)) for s in (-1, 1)]
    else:
        parts = [slab("shade", (s * (x - 0.007) - 0.007, -y, 0), (s * (x - 0.007) + 0.007, y, under)) for s in (-1, 1)]
        if shape == 2:
            parts.append(slab("shade", (-x + 0.014, -y, 0), (x - 0.014, -y + 0.008, under)))
    half = 0.140 if shape == 4 else x - (0.045 if shape == 3 else 0.025)
    back = 0.012 if shape == 2 else 0.0
    return Form(
        (board, join("shade", parts)),
        {"on": Space(tall, (x, y), False), "under": Space(0.0, (half, y - back), False, under)},
    )


def book(shape: int) -> Form:
    """Usual, thin, thick, square, and large flat books, lying."""
    x, y, thick = (
        (0.100, 0.075, 0.038),
        (0.090, 0.065, 0.018),
        (0.095, 0.070, 0.062),
        (0.090, 0.088, 0.030),
        (0.135, 0.100, 0.024),
    )[shape]
    cover = 0.004
    covers = [
        slab("colour", (-x, -y, 0), (x, y, cover)),
        slab("colour", (-x, -y, thick - cover), (x, y, thick)),
        slab("colour", (-x, -y, cover), (-x + 0.005, y, thick - cover)),
    ]
    pages = slab("paper", (-x + 0.005, -y + 0.005, cover), (x - 0.006, y - 0.005, thick - cover))
    title = (
        ((-0.03, -0.04), (0.05, 0.04)),
        ((-0.06, -0.045), (-0.045, 0.045)),
        ((0.0, -0.045), (0.035, 0.045)),
        ((-0.05, -0.05), (0.05, -0.02)),
        ((-0.07, -0.06), (0.03, 0.06)),
    )[shape]
    label = slab("accent", (*title[0], thick), (*title[1], thick + 0.0006))
    return Form((join("colour", covers), pages, label), {"on": Space(thick + 0.0006, (x, y), False)})


def plant(shape: int) -> Form:
    """Bushy, upright leaves, round pot, small cactus, hanging leaves."""
    low, high, tall = (
        (0.043, 0.063, 0.106),
        (0.050, 0.056, 0.09),
        (0.045, 0.060, 0.08),
        (0.036, 0.050, 0.07),
        (0.052, 0.068, 0.10),
    )[shape]
    belly = 0.068 if shape == 2 else (low + high) / 2
    pot = hollow(
        "colour", [*curve((low, 0), (belly, 0.5 * tall), (high, 0.86 * tall), rows=7), (high, tall)], 0.007, 0.86 * tall
    )
    rim = revolve(
        "colour", [(high - 0.001, 0.82 * tall), (high + 0.006, 0.84 * tall), (high + 0.006, tall), (high, tall)]
    )
    soil = revolve("soil", [(high - 0.006, 0.9 * tall), (0, 0.92 * tall)])
    base = 0.86 * tall
    if shape == 3:
        sides = [(0.030 + 0.004 * (n % 2), z) for n, z in enumerate(np.linspace(base, base + 0.085, 9))]
        bumps = [
            (float(0.032 * np.cos(t)), float(base + 0.085 + 0.028 * np.sin(t))) for t in np.linspace(0, np.pi / 2, 6)
        ]
        green = [revolve("leaf", [(float(r), float(z)) for r, z in sides], bumps, sides=14)]
    else:
        tilt, length, count = ((0.62, 0.13, 7), (0.16, 0.20, 7), (0.75, 0.11, 9), (0, 0, 0), (1.15, 0.15, 10))[shape]
        green = [leaf("leaf", a, tilt, length, base) for a in np.arange(count) * (2 * np.pi / count)]
        green += [leaf("leaf", a, 0.4 * tilt, 0.8 * length + 0.03, base) for a in 0.4 + np.arange(4) * (np.pi / 2)]
    return Form((join("colour", [pot, rim]), soil, join("leaf", green)))


def lamp(shape: int) -> Form:
    """Cone, drum, dome, globe, and tall lamps."""
    low, high, bottom, top = (
        (0.088, 0.048, 0.165, 0.275),
        (0.078, 0.076, 0.160, 0.250),
        (0.092, 0.030, 0.190, 0.250),
        (0.0, 0.0, 0.160, 0.280),
        (0.070, 0.035, 0.250, 0.350),
    )[shape]
    base = revolve("colour", [(0, 0), (0.058, 0)], [(0.058, 0), (0.058, 0.012)], [(0.058, 0.012), (0, 0.022)])
    pole = revolve("metal", [(0.009, 0.015), (0.009, top - 0.035)], sides=10)
    if shape == 3:
        middle = (bottom + top) / 2
        ball = [(float(0.062 * np.sin(t)), float(middle - 0.062 * np.cos(t))) for t in np.linspace(0, np.pi, 13)]
        collar = revolve("colour", [(0.012, 0.13), (0.03, bottom + 0.006), (0.02, bottom + 0.012)])
        return Form((join("colour", [base, collar]), pole, revolve("glow", ball)))
    side = curve((low, bottom), (0.86 * low + 0.1 * high, (bottom + top) / 2), (high, top), rows=7)
    if shape != 2:
        side = [(low, bottom), (high, top)]
    inner = [(r - 0.004, z) for r, z in side[::-1]]
    shade = revolve("colour", side, [side[-1], inner[0]], inner, [inner[-1], side[0]])
    bulb = revolve("glow", [(max(high, 0.03) + 0.004, top - 0.02), (0, top - 0.02)])
    return Form((join("colour", [base, shade]), pole, bulb))
