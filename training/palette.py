"""Colours and compositions the world does not have, so that a small model cannot learn red boxes instead of boxes.

A picture with exchanged colour channels shows the same things in other colours, and these have names of their own: a
yellow plate becomes a magenta or a cyan one. With such pictures, and with their questions reworded, there are 26
colours to compose with ten kinds instead of eight, and most compositions are rare. What the test split holds out stays
held out: no exchange ever makes a held-out composition, neither in the picture nor in words (`exchanges`).
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.things import COLOURS, HELD_OUT
from training.dialogue import Thing

Order = tuple[int, int, int]
CHROMATIC = ("red", "green", "blue", "yellow", "orange", "purple")
NAMES: Mapping[Order, tuple[str, ...]] = {
    (0, 2, 1): ("red", "navy", "emerald", "magenta", "crimson", "olive"),
    (1, 0, 2): ("emerald", "maroon", "indigo", "lemon", "lime", "teal"),
    (1, 2, 0): ("blue", "brown", "emerald", "magenta", "violet", "mint"),
    (2, 0, 1): ("emerald", "navy", "crimson", "cyan", "lime", "bronze"),
    (2, 1, 0): ("blue", "green", "rust", "cyan", "azure", "plum"),
}
"""What the chromatic colours, in the order of `CHROMATIC`, look like after channels are exchanged: new channel n is the
old channel order[n]. Within an order all names differ, so what was one thing's name stays one thing's name."""
PALETTE = (*COLOURS, *sorted({name for names in NAMES.values() for name in names} - set(COLOURS)))
_WORD = re.compile(rf"\b({'|'.join(CHROMATIC)})\b")


def exchanges(scene: Mapping[str, Any]) -> list[Order]:
    """The orders that make no held-out composition of anything in this scene or said about it."""
    named = {(thing["colour"], thing["kind"]) for thing in scene["objects"]}
    said = " ".join(_texts(scene["instructions"]))
    fitting = []
    for order, names in NAMES.items():
        after = dict(zip(CHROMATIC, names, strict=True))
        made = {(after.get(colour, colour), kind) for colour, kind in named}
        if not made & HELD_OUT and not _names_held_out(_WORD.sub(lambda word, a=after: a[word[0]], said)):
            fitting.append(order)
    return fitting


def _texts(value: Any) -> list[str]:
    """All strings of a JSON value."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [text for part in parts for text in _texts(part)]


def _names_held_out(text: str) -> bool:
    return any(f"{colour} {kind}" in text for colour, kind in HELD_OUT)


def exchanged(
    image: NDArray[np.uint8], things: Mapping[int, Thing], order: Order
) -> tuple[NDArray[np.uint8], dict[int, Thing]]:
    """The picture with its channels in another order, and its things by their new colours' names."""
    names = dict(zip(CHROMATIC, NAMES[order], strict=True))
    return image[..., order], {n: replace(t, colour=names.get(t.colour, t.colour)) for n, t in things.items()}


def reworded(value: Any, order: Order) -> Any:
    """An instruction of the picture in words of the exchanged one: every colour's name in every text of it."""
    names = dict(zip(CHROMATIC, NAMES[order], strict=True))
    if isinstance(value, str):
        return _WORD.sub(lambda word: names[word[0]], value)
    if isinstance(value, Mapping):
        return {key: reworded(part, order) for key, part in value.items()}
    return [reworded(part, order) for part in value] if isinstance(value, list | tuple) else value
