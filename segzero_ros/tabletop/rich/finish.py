"""What the surface of a thing looks like: patterns painted around it, metal, glass, and how much each shines.

A pattern is a picture wrapped around the upright thing: columns are the angle, rows the height from the base up.
"""

from __future__ import annotations

import functools
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.things import Kind

Finish = Literal[
    "plain", "gloss", "stripes", "bands", "dots", "checks", "label", "metal", "glass", "weave", "speckle", "trim"
]
Colour3 = tuple[float, float, float]
SIDE = 128  # pixels of a pattern


class Gloss(NamedTuple):
    """MuJoCo's specular and shininess, 0..1, and how opaque the surface is."""

    specular: float
    shininess: float
    alpha: float = 1.0


GLOSS: dict[Finish, Gloss] = {
    "plain": Gloss(0.15, 0.3),
    "gloss": Gloss(0.7, 0.8),
    "stripes": Gloss(0.3, 0.5),
    "bands": Gloss(0.4, 0.5),
    "dots": Gloss(0.3, 0.5),
    "checks": Gloss(0.1, 0.3),
    "label": Gloss(0.5, 0.6),
    "metal": Gloss(1.0, 0.85),
    "glass": Gloss(1.0, 0.95, 0.4),
    "weave": Gloss(0.05, 0.1),
    "speckle": Gloss(0.3, 0.4),
    "trim": Gloss(0.5, 0.6),
}
_CROCKERY: tuple[Finish, ...] = ("plain", "gloss", "stripes", "bands", "dots", "speckle", "trim")
_CASE: tuple[Finish, ...] = ("plain", "gloss", "trim")
FINISHES: dict[Kind, tuple[Finish, ...]] = {
    "mug": _CROCKERY,
    "bottle": ("gloss", "label", "label", "glass", "bands"),
    "can": ("gloss", "label", "label", "bands", "stripes"),
    "bowl": _CROCKERY,
    "plate": ("plain", "gloss", "trim", "speckle"),
    "ball": ("plain", "stripes", "bands", "dots", "checks"),
    "book": ("plain", "plain", "trim", "checks"),
    "box": ("plain", "plain", "stripes", "dots", "label"),
    "plant": ("plain", "speckle", "bands"),
    "lamp": ("plain", "plain", "bands", "dots"),
    "jar": ("gloss", "label", "label", "glass", "bands"),
    "jug": ("gloss", "glass", "bands", "speckle", "dots"),
    "teapot": _CROCKERY,
    "vase": ("gloss", "glass", "bands", "speckle", "stripes", "trim"),
    "candle": ("plain", "plain", "bands"),
    "basket": ("weave",),
    "bucket": ("plain", "gloss", "bands"),
    "pan": ("gloss", "plain"),
    "apple": ("speckle", "gloss"),
    "banana": ("plain",),
    "car": ("gloss", "gloss", "bands"),
    "clock": _CASE,
    "phone": ("plain", "gloss"),
    "remote": ("plain", "gloss"),
    "shelf": ("plain", "weave"),
    "bin": ("plain", "gloss"),
}
"""What each kind may look like; silver things are of metal."""


def paint(finish: Finish, rgb: Colour3, accent: Colour3, seed: int) -> NDArray[np.uint8] | None:
    """The pattern, uint8 (SIDE, SIDE, 3) from the base up, or None where the surface has one colour."""
    if finish in ("plain", "gloss", "glass"):
        return None
    rng = np.random.default_rng(seed)
    u, v = _around(), _around().T
    base, other = np.asarray(rgb, np.float64), np.asarray(accent, np.float64)
    share = _SHARES[finish](u, v, rng) if finish in _SHARES else np.zeros_like(u)
    image = base + (other - base) * share[..., None]
    if finish == "metal":
        image = image * _sheen(u, v, rng)[..., None]
    elif finish == "weave":
        image = image * _weave(u, v)[..., None]
    elif finish == "speckle":
        image = image * (1 - 0.35 * _speckle(rng))[..., None]
    elif finish == "label":
        _print_lines(image, rng, base)
    return np.asarray(np.clip(image, 0, 1) * 255, dtype=np.uint8)


@functools.cache
def _around() -> NDArray[np.float64]:
    """The angle of each pixel, 0..1; transposed, its height."""
    return np.tile((np.arange(SIDE) + 0.5) / SIDE, (SIDE, 1))


def _stripes(u: NDArray[np.float64], v: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    count = int(rng.integers(5, 13))
    return ((u * count + 0.6 * v * rng.integers(0, 2)) % 1 < rng.uniform(0.22, 0.4)).astype(np.float64)


def _bands(_u: NDArray[np.float64], v: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    count = int(rng.integers(1, 4))
    middles = rng.uniform(0.15, 0.85, count)
    return np.asarray((np.abs(v[..., None] - middles) < rng.uniform(0.03, 0.08)).any(axis=-1), dtype=np.float64)


def _dots(u: NDArray[np.float64], v: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    across, up = int(rng.integers(8, 13)), int(rng.integers(4, 7))
    row = np.floor(v * up)
    x, y = (u * across + 0.5 * (row % 2)) % 1 - 0.5, (v * up) % 1 - 0.5
    return np.asarray(np.hypot(x, y) < 0.28, dtype=np.float64)


def _checks(u: NDArray[np.float64], v: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    across, up = 2 * int(rng.integers(3, 6)), int(rng.integers(3, 6))
    return 0.4 * ((np.floor(u * across) + np.floor(v * up)) % 2)


def _label(_u: NDArray[np.float64], v: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    low = rng.uniform(0.18, 0.3)
    return np.asarray((v > low) & (v < low + rng.uniform(0.3, 0.42)), dtype=np.float64) * 0.96


def _trim(_u: NDArray[np.float64], v: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    return np.asarray((v > 0.9) | (v < rng.choice([0.0, 0.1])), dtype=np.float64)


_SHARES = {
    "stripes": _stripes,
    "bands": _bands,
    "dots": _dots,
    "checks": _checks,
    "label": _label,
    "trim": _trim,
}
"""How much of the second colour there is, 0..1."""


def _sheen(u: NDArray[np.float64], v: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """What a room's windows and walls look like in brushed metal: bright and dark by the angle."""
    angles = rng.uniform(0, 1, 3)
    light = sum(np.cos(2 * np.pi * (k + 1) * (u - angle)) / (k + 1) for k, angle in enumerate(angles))
    brushed = 0.05 * rng.standard_normal((SIDE, 1))
    return np.asarray(0.82 + 0.22 * light + brushed + 0.08 * (v - 0.5))


def _weave(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    over = (np.floor(u * 32) + np.floor(v * 12)) % 2
    bulge = np.where(over > 0, np.sin(np.pi * ((u * 32) % 1)), np.sin(np.pi * ((v * 12) % 1)))
    return np.asarray(0.62 + 0.38 * bulge - 0.08 * over)


def _speckle(rng: np.random.Generator) -> NDArray[np.float64]:
    spots = rng.random((SIDE // 2, SIDE // 2)) < 0.07
    return np.repeat(np.repeat(spots, 2, axis=0), 2, axis=1).astype(np.float64)


def _print_lines(image: NDArray[np.float64], rng: np.random.Generator, base: NDArray[np.float64]) -> None:
    """A mark and lines of print on the label, twice around."""
    paper = np.flatnonzero(np.abs(image[:, 0] - base).sum(axis=1) > 0.15)
    if len(paper) < 20:
        return
    low, high = int(paper[0]), int(paper[-1])
    ink = 0.75 * base + 0.05
    for start in (6, 6 + SIDE // 2):
        v, u = np.mgrid[low : high + 1, start : start + 26]
        middle = (low + high) / 2 + 5
        round_mark = np.hypot(v - middle, u - start - 13) < 9
        image[low : high + 1, start : start + 26][round_mark] = ink
        for row in range(low + 3, high - 4, 5):
            image[row : row + 2, start + 30 : start + 30 + int(rng.integers(12, 28))] = 0.35 * ink
