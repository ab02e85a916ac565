"""Which colours the rich world has, which kinds may have them, and which pairs are held out for testing."""

from __future__ import annotations

from segzero_ros.tabletop.rich.forms import RICH_KINDS
from segzero_ros.tabletop.things import COLOURS, HELD_OUT, Colour, Kind

RICH_COLOURS: dict[Colour, tuple[float, float, float]] = COLOURS | {
    "pink": (0.96, 0.46, 0.64),
    "brown": (0.34, 0.19, 0.09),
    "silver": (0.74, 0.75, 0.77),
}
RICH_HELD_OUT: frozenset[tuple[Colour, Kind]] = HELD_OUT | {
    ("blue", "jar"),
    ("yellow", "jug"),
    ("green", "teapot"),
    ("orange", "vase"),
    ("white", "candle"),
    ("red", "basket"),
    ("purple", "bucket"),
    ("black", "car"),
    ("pink", "clock"),
    ("brown", "bin"),
    ("silver", "pan"),
}
"""Colour and kind that never occur together outside the test split, neither as a thing nor as a name."""

_METAL: frozenset[Kind] = frozenset(
    {"mug", "bottle", "can", "bowl", "plate", "lamp", "jug", "teapot", "vase", "bucket", "pan", "car", "clock", "phone"}
)
_WOOD: frozenset[Kind] = frozenset(
    {"mug", "bottle", "bowl", "book", "box", "plant", "jar", "jug", "vase", "basket", "clock", "shelf", "bin", "teapot"}
)
_OWN: dict[Kind, tuple[Colour, ...]] = {
    "apple": ("red", "green", "yellow"),
    "banana": ("yellow", "yellow", "green"),
    "pan": ("black", "black", "silver", "red", "blue", "green", "orange", "white"),
    "phone": ("black", "white", "silver", "red", "blue", "pink", "green", "yellow"),
    "remote": ("black", "black", "white", "blue", "red", "orange", "purple"),
}


def colours_of(kind: Kind) -> tuple[Colour, ...]:
    """The colours a kind may have, the usual ones more than once."""
    if kind in _OWN:
        return _OWN[kind]
    plain = tuple(colour for colour in RICH_COLOURS if colour not in ("silver", "brown"))
    return (*plain, *(("silver",) if kind in _METAL else ()), *(("brown",) if kind in _WOOD else ()))


PALETTES: dict[Kind, tuple[Colour, ...]] = {kind: colours_of(kind) for kind in RICH_KINDS}
