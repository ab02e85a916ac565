"""How the camera of a clip moves: round the table, across it, nearer, further, in an unsteady hand, away and back.

Times are seconds from the first frame, in which every path is where the scene's own camera stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.scenarios import swing
from segzero_ros.tabletop.scene import Camera

CameraPath = Callable[[float], Camera]
ORBIT_RAD_S = (0.05, 0.9)
TURN_RAD_S = (0.03, 0.35)
ZOOM_PER_S = (0.05, 0.45)
SHAKE_RAD = (0.003, 0.02)
SHAKE_HZ = (0.7, 3.0)
FURTHEST = (0.75, 1.4)  # of the first frame's distance
LARGEST_TURN = 0.22  # radians: a moving camera keeps most of the things in sight; a glance away is another matter


def turned(camera: Camera, yaw: float, pitch: float, roll: float = 0.0) -> Camera:
    """The camera turned where it stands, radians: to its right, downwards, clockwise."""
    (cy, sy), (cp, sp), (cr, sr) = ((math.cos(a), math.sin(a)) for a in (yaw, -pitch, roll))
    rightwards = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    downwards = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    clockwise = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    rows = np.asarray(camera.rotation) @ rightwards @ downwards @ clockwise
    first, second, third = ((float(a), float(b), float(c)) for a, b, c in rows)
    return replace(camera, rotation=(first, second, third))


def still_camera(camera: Camera) -> CameraPath:
    """A camera on a stand."""
    return lambda t: camera


def moving_camera(camera: Camera, rng: np.random.Generator) -> CameraPath:
    """One to three kinds of movement at once, each at a speed of its own, slow ones more often than fast ones."""
    chosen = rng.permutation(4)[: int(rng.integers(1, 4))]
    orbit, turn, zoom, shake = (kind in chosen for kind in range(4))
    azimuth = _either(rng) * _speed(ORBIT_RAD_S, rng) if orbit else 0.0
    elevation = azimuth * rng.uniform(-0.4, 0.4)
    way = rng.uniform(0, 2 * math.pi)
    pan = _speed(TURN_RAD_S, rng) * np.array([math.cos(way), 0.6 * math.sin(way)]) * turn
    stretch = _either(rng) * _speed(ZOOM_PER_S, rng) if zoom else 0.0
    unsteady = _shaking(rng) if shake else None

    def path(t: float) -> Camera:
        distance = float(np.clip(math.exp(stretch * t), *FURTHEST))
        seen = swing(camera, azimuth * t, elevation * t, distance) if orbit or zoom else camera
        yaw, pitch = np.clip(pan * t, -LARGEST_TURN, LARGEST_TURN)
        seen = turned(seen, float(yaw), float(pitch))
        return turned(seen, *unsteady(t)) if unsteady is not None else seen

    return path


def glancing_camera(camera: Camera, duration_s: float, rng: np.random.Generator) -> CameraPath:
    """A camera that looks away from the table, so that some or all things leave the picture, and back."""
    begin, away, back, end = duration_s * np.cumsum([rng.uniform(0.05, 0.2), 0.22, rng.uniform(0.08, 0.25), 0.22])
    width = 2 * math.atan(math.tan(math.radians(camera.fovy_deg) / 2) * 4 / 3)
    yaw = _either(rng) * width * rng.uniform(0.45, 0.95)
    pitch = rng.uniform(-0.15, 0.15)

    def path(t: float) -> Camera:
        share = smooth((t - begin) / (away - begin)) - smooth((t - back) / (end - back))
        return turned(camera, yaw * share, pitch * share)

    return path


def smooth(share: float) -> float:
    """0 to 1 with no jerk at either end."""
    x = min(max(share, 0.0), 1.0)
    return x * x * x * (10 - 15 * x + 6 * x * x)


def _shaking(rng: np.random.Generator) -> Callable[[float], tuple[float, float, float]]:
    """Yaw, pitch and roll of an unsteady hand: a few sines each, zero in the first frame."""
    size = _speed(SHAKE_RAD, rng) * np.array([1.0, 1.0, 0.7])
    rate: NDArray[np.float64] = 2 * math.pi * rng.uniform(*SHAKE_HZ, (3, 3))
    phase: NDArray[np.float64] = rng.uniform(0, 2 * math.pi, (3, 3))

    def angles(t: float) -> tuple[float, float, float]:
        yaw, pitch, roll = size * (np.sin(rate * t + phase) - np.sin(phase)).mean(axis=1) * 1.7
        return float(yaw), float(pitch), float(roll)

    return angles


def _speed(limits: tuple[float, float], rng: np.random.Generator) -> float:
    """Between the limits, evenly on a logarithmic scale."""
    return float(math.exp(rng.uniform(*np.log(limits))))


def _either(rng: np.random.Generator) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0
