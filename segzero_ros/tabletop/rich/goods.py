"""Small things of a household: ball, candle, apple, banana, toy car, clock, phone, remote control."""

from __future__ import annotations

import numpy as np

from segzero_ros.tabletop.rich.parts import Form, disc, hollow, moved, prism, rounded
from segzero_ros.tabletop.solids import Mesh, join, revolve, slab, tube


def _sphere(radius: float) -> list[tuple[float, float]]:
    turns = np.linspace(0, np.pi, 17)
    return [(float(radius * np.sin(t)), float(radius - radius * np.cos(t))) for t in turns]


def ball(shape: int) -> Form:
    """From a juggling ball to a handball."""
    return Form((revolve("colour", _sphere((0.062, 0.040, 0.050, 0.056, 0.070)[shape])),))


def candle(shape: int) -> Form:
    """Thick, tall, tea light, in a dish, stump."""
    radius, tall = ((0.034, 0.090), (0.020, 0.170), (0.036, 0.030), (0.024, 0.120), (0.046, 0.070))[shape]
    base = 0.012 if shape == 3 else 0.0
    top = base + tall
    wax = revolve(
        "colour",
        [(0, base), (radius, base)],
        [(radius, base), (radius, top)],
        [(radius, top), (radius - 0.004, top)],
        [(radius - 0.004, top), (0, top - 0.004)],
    )
    wick = disc("dark", 0.0022, top - 0.004, top + 0.012, sides=6)
    fire = [(0.0095 * np.sin(t) ** 1.4, top + 0.008 + 0.036 * (t / np.pi)) for t in np.linspace(0.02, np.pi, 9)]
    flame = revolve("glow", [(float(r), float(z)) for r, z in fire], sides=10)
    parts: list[Mesh] = [wax, wick, flame]
    if shape == 2:
        parts.append(
            revolve(
                "metal", [(radius + 0.0015, 0.0), (radius + 0.0015, 0.020)], [(radius + 0.0015, 0.020), (radius, 0.020)]
            )
        )
    if shape == 3:
        parts.append(hollow("metal", [(0.040, 0), (0.050, 0.008), (0.058, 0.020)], 0.004, 0.010))
    return Form(tuple(parts))


def apple(shape: int) -> Form:
    """Round, tall, flat, large and small apples with a stalk."""
    wide, tall = ((0.040, 0.072), (0.037, 0.080), (0.044, 0.066), (0.047, 0.084), (0.034, 0.060))[shape]
    turns = np.linspace(0, np.pi, 19)
    body = []
    for t in turns:
        radius = wide * np.sin(t) ** 0.85 * (1 - 0.08 * np.cos(t + 0.3))
        height = tall / 2 * (1 - np.cos(t))
        dimple = 0.20 * tall * np.exp(-((radius / (0.42 * wide)) ** 2)) * (1 if t > np.pi / 2 else -0.45)
        body.append((float(radius), float(height - dimple)))
    lift = -min(z for _, z in body)
    body = [(max(r, 0.0), z + lift) for r, z in body]
    path = np.array([(0.0, body[-1][1] - 0.002), (0.002, body[-1][1] + 0.012), (0.007, body[-1][1] + 0.026)])
    stalk = tube("wood", np.stack([path[:, 0], np.zeros(3), path[:, 1]], axis=1), 0.0022, sides=6)
    return Form((revolve("colour", body), stalk))


def banana(shape: int) -> Form:
    """Bent more or less, thick or slim, lying on its side."""
    length, bend, thick = (
        (0.165, 1.3, 0.0185),
        (0.185, 1.0, 0.017),
        (0.150, 1.7, 0.019),
        (0.195, 1.5, 0.021),
        (0.14, 1.15, 0.0175),
    )[shape]
    turns = np.linspace(-bend / 2, bend / 2, 15)
    radius = length / bend
    line = np.stack([radius * np.sin(turns), np.zeros(15), radius * (np.cos(turns) - np.cos(bend / 4))], axis=1)
    along = np.linspace(-1, 1, 15)
    fat = thick * (1 - 0.55 * np.abs(along) ** 3.2)
    body = tube("colour", line, fat, sides=8)

    def end(at: int, role: str, small: float) -> Mesh:
        step = line[at] - line[at - 1 if at else 1]
        step /= np.linalg.norm(step)
        path = np.stack([line[at] - 0.002 * step, line[at] + 0.010 * step, line[at] + small * step])
        return tube("dark" if role == "dark" else "wood", path, np.array([fat[at], 0.5 * fat[at], 0.002]), sides=8)

    parts = [body, end(14, "wood", 0.022), end(0, "dark", 0.012)]
    flat = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=np.float64)  # from the x-z plane down onto the table
    low = min(float((part.vertices @ flat.T)[:, 2].min()) for part in parts)
    laid = [Mesh(p.role, p.vertices @ flat.T - [0, 0, low], p.normals @ flat.T, p.faces) for p in parts]
    return Form(tuple(laid))


def _wheel(x: float, y: float, radius: float, wide: float) -> Mesh:
    upright = moved(disc("dark", radius, -wide / 2, wide / 2, sides=16), (0, 0, 0), np.pi / 2)
    return moved(upright, (x, y, radius), 0.0, np.pi / 2)


def car(shape: int) -> Form:
    """Toy cars: saloon, pick-up, van, racing car, beetle."""
    half, wide, deck, roof, wheel = (
        (0.085, 0.036, 0.045, 0.072, 0.017),
        (0.092, 0.038, 0.050, 0.084, 0.020),
        (0.085, 0.038, 0.050, 0.096, 0.017),
        (0.095, 0.032, 0.034, 0.052, 0.019),
        (0.070, 0.037, 0.044, 0.078, 0.018),
    )[shape]
    start, end = ((-0.050, 0.030), (-0.010, 0.040), (-0.083, 0.050), (-0.040, 0.010), (-0.048, 0.034))[shape]
    lean = ((0.022, 0.030), (0.004, 0.020), (0.004, 0.022), (0.030, 0.014), (0.022, 0.024))[shape]
    side = [(-half, 0.014), (half, 0.014), (half, 0.8 * deck), (0.8 * half, deck), (-half, deck)]
    cabin = [(start, deck), (end, deck), (end - lean[1], roof), (start + lean[0], roof)]

    def along(role: str, outline: list[tuple[float, float]], y: float) -> Mesh:
        flat = prism("colour" if role == "colour" else "screen", outline, -y, y)
        stand = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=np.float64)
        return Mesh(flat.role, flat.vertices @ stand.T, flat.normals @ stand.T, flat.faces)

    body = join("colour", [along("colour", side, wide), along("colour", cabin, wide - 0.004)])
    rise = roof - deck
    glass = [
        (start + 0.25 * lean[0] + 0.006, deck + 0.2 * rise),
        (end - 0.25 * lean[1] - 0.006, deck + 0.2 * rise),
        (end - lean[1] * 0.85 - 0.006, roof - 0.18 * rise),
        (start + lean[0] * 0.85 + 0.006, roof - 0.18 * rise),
    ]
    windows = [along("screen", glass, wide - 0.003)]
    front = np.array([(end, deck), (end - lean[1], roof)])
    pane = slab("screen", (-0.001, -wide + 0.010, 0.0), (0.002, wide - 0.010, 0.66 * float(np.hypot(lean[1], rise))))
    windows.append(
        moved(pane, (front[0][0] - 0.15 * lean[1], 0, deck + 0.16 * rise), -float(np.arctan2(lean[1], rise)))
    )
    wheels = [_wheel(sx * 0.62 * half, sy * (wide - 0.003), wheel, 0.014) for sx in (-1, 1) for sy in (-1, 1)]
    lights = [
        slab(
            "glow",
            (half - 0.001, s * 0.62 * wide - 0.006, 0.52 * deck),
            (half + 0.002, s * 0.62 * wide + 0.006, 0.72 * deck),
        )
        for s in (-1, 1)
    ]
    return Form((body, join("screen", windows), join("dark", wheels), join("glow", lights)))


def _upright(mesh: Mesh, height: float) -> Mesh:
    """What lay facing up now faces +x, its middle at `height`; its own +x points down."""
    return moved(mesh, (0, 0, height), np.pi / 2)


def clock(shape: int) -> Form:
    """Alarm clock with bells, round on feet, square, on a foot, wide."""
    radius, thick = ((0.060, 0.045), (0.068, 0.032), (0.058, 0.040), (0.062, 0.030), (0.072, 0.045))[shape]
    middle = radius + (0.020 if shape != 3 else 0.032)
    edge: list[tuple[float, float]]
    if shape in (2, 4):
        edge = rounded(radius if shape == 2 else 0.75 * radius, radius if shape == 2 else 1.15 * radius, 0.014)
        case = prism("colour", edge, -thick / 2, thick / 2)
    else:
        case = disc("colour", radius, -thick / 2, thick / 2, sides=32)
    dial = 0.80 * radius * (0.9 if shape == 4 else 1.0)
    z = thick / 2
    face = disc("paper", dial, z - 0.001, z + 0.002, sides=28)
    marks: list[Mesh] = []
    for hour in range(12):
        long = 0.16 if hour % 3 == 0 else 0.09
        mark = slab("dark", (0.90 * dial - long * dial, -0.0018, z + 0.0015), (0.92 * dial, 0.0018, z + 0.0028))
        marks.append(moved(mark, (0, 0, 0), 0.0, hour * np.pi / 6))
    for length, width, at in ((0.52, 0.0032, 2.2), (0.78, 0.0022, 2.2 + (1.9, 2.6, 4.0, 1.2, 3.3)[shape])):
        marks.append(
            moved(slab("dark", (-0.006, -width, z + 0.003), (length * dial, width, z + 0.0042)), (0, 0, 0), 0.0, at)
        )
    standing = [_upright(part, middle) for part in (case, face, join("dark", marks))]
    wide = radius * (1.15 if shape == 4 else 1.0)
    feet = [
        slab(
            "shade", (-thick / 2, s * 0.6 * wide - 0.009, 0), (thick / 2, s * 0.6 * wide + 0.009, middle - 0.7 * radius)
        )
        for s in (-1, 1)
    ]
    if shape == 3:
        feet = [
            slab("shade", (-0.032, -0.05, 0), (0.032, 0.05, 0.012)),
            slab("shade", (-0.010, -0.014, 0.01), (0.010, 0.014, 0.04)),
        ]
    extra: list[Mesh] = [join("shade", feet)]
    if shape == 0:
        bell = revolve("metal", [(0.024, 0.0), (0.020, 0.012), (0.0, 0.019)], [(0, 0), (0.024, 0.0)], sides=14)
        top = middle + 0.80 * radius
        bells = [moved(bell, (0, s * 0.62 * radius, top - 0.004)) for s in (-1, 1)]
        bells.append(slab("metal", (-0.004, -0.004, top), (0.004, 0.004, top + 0.030)))
        extra.append(join("metal", bells))
    return Form((*standing, *extra))


def phone(shape: int) -> Form:
    """Smartphones lying, with a wide edge, a small one, one with keys, one on a stand."""
    x, y, thick = (
        (0.080, 0.040, 0.010),
        (0.085, 0.042, 0.012),
        (0.068, 0.036, 0.012),
        (0.075, 0.034, 0.018),
        (0.080, 0.040, 0.010),
    )[shape]
    case = prism("colour", rounded(x, y, 0.012), 0, thick)
    edge = 0.004 if shape != 1 else 0.010
    parts: list[Mesh] = [case]
    if shape == 3:
        keys = [
            slab(
                "paper",
                (-0.062 + 0.020 * i, -0.021 + 0.016 * j, thick),
                (-0.048 + 0.020 * i, -0.011 + 0.016 * j, thick + 0.002),
            )
            for i in range(4)
            for j in range(3)
        ]
        glass = prism(
            "screen",
            [(0.018, -y + 0.006), (x - 0.010, -y + 0.006), (x - 0.010, y - 0.006), (0.018, y - 0.006)],
            thick - 0.001,
            thick + 0.001,
        )
        parts += [glass, join("paper", keys)]
    else:
        lit = rounded(x - edge, y - edge, 0.009)
        parts.append(prism("screen", lit, thick - 0.001, thick + 0.0008))
        icons = [
            slab(
                "paper" if shape != 2 else "glow",
                (-0.8 * x + 0.022 * i, -0.024 + 0.018 * j, thick),
                (-0.8 * x + 0.012 + 0.022 * i, -0.012 + 0.018 * j, thick + 0.0012),
            )
            for i in range(2)
            for j in range(3)
        ]
        parts.append(join("paper" if shape != 2 else "glow", icons))
    if shape == 4:
        raised = [moved(part, (0, 0, 0.072), -0.95) for part in parts]
        foot = prism("dark", rounded(0.045, 0.036, 0.010), 0, 0.008)
        stem = slab("dark", (0.004, -0.012, 0.004), (0.014, 0.012, 0.070))
        return Form((*raised, join("dark", [foot, stem])))
    return Form(tuple(parts))


def remote(shape: int) -> Form:
    """Remote controls: keypad, ring of buttons, few buttons, long, rounded."""
    x, y, thick = (
        (0.092, 0.026, 0.018),
        (0.085, 0.028, 0.016),
        (0.070, 0.023, 0.015),
        (0.110, 0.026, 0.018),
        (0.088, 0.030, 0.020),
    )[shape]
    case = prism("colour", rounded(x, y, 0.010 if shape != 4 else 0.026), 0, thick)
    rows, columns = ((6, 3), (3, 3), (3, 2), (8, 3), (4, 3))[shape]
    step = 1.25 * x / max(rows, 5)
    keys = [
        moved(
            disc("accent", 0.0048, thick, thick + 0.003, sides=8),
            (-0.85 * x + step * i, (j - (columns - 1) / 2) * 0.0145, 0),
        )
        for i in range(rows)
        for j in range(columns)
    ]
    if shape in (1, 2, 4):
        keys.append(moved(disc("accent", 0.017, thick, thick + 0.002, sides=20), (0.36 * x, 0, 0)))
    power = moved(disc("glow", 0.0062, thick, thick + 0.003, sides=10), (0.85 * x, 0.45 * y, 0))
    return Form((case, join("accent", keys), power))
