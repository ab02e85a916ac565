"""Colours and compositions the world does not have, so that a small model cannot learn red boxes instead of boxes.

With other colour channels a thing looks the same but for its colour, and that colour has a name of its own: a yellow
plate becomes a magenta or a cyan one. With such pictures, and with their questions reworded, there are 27 colours to
compose with ten kinds instead of eight, and most compositions are rare. Either the whole picture changes, or its
things alone, each colour in its own way: a picture that looks like all others then has colours no other has.

What the test split holds out stays held out: no exchange ever makes a held-out composition, in the picture or in words.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.things import COLOURS, HELD_OUT
from training.dialogue import Thing

Order = tuple[int, ...]
CHROMATIC = ("red", "green", "blue", "yellow", "orange", "purple")
GREY: Order = ()
NAMES: Mapping[Order, tuple[str, ...]] = {
    (0, 1, 2): CHROMATIC,
    (0, 2, 1): ("red", "navy", "emerald", "magenta", "crimson", "olive"),
    (1, 0, 2): ("emerald", "maroon", "indigo", "lemon", "lime", "teal"),
    (1, 2, 0): ("blue", "brown", "emerald", "magenta", "violet", "mint"),
    (2, 0, 1): ("emerald", "navy", "crimson", "cyan", "lime", "bronze"),
    (2, 1, 0): ("blue", "green", "rust", "cyan", "azure", "plum"),
    GREY: ("grey",) * 6,
}
"""What the chromatic colours, in the order of `CHROMATIC`, look like in other channels: new channel n is the old
channel order[n], and in `GREY` every channel is the mean. Within an order of channels all names differ."""
PALETTE = (*COLOURS, *sorted({name for names in NAMES.values() for name in names} - {*COLOURS, "grey"}), "grey")
_WHOLE = [order for order in NAMES if order not in ((0, 1, 2), GREY)]
_WORD = re.compile(rf"\b({'|'.join(CHROMATIC)})\b")


@dataclass(frozen=True)
class Exchange:
    """The order of channels of every chromatic colour; `whole`: one for all of them and for the table too."""

    orders: Mapping[str, Order]
    whole: bool

    @cached_property
    def names(self) -> dict[str, str]:
        """Each chromatic colour's name afterwards; all differ, so what was one thing's name stays one thing's name."""
        return {colour: NAMES[self.orders[colour]][n] for n, colour in enumerate(CHROMATIC)}

    def picture(
        self, image: NDArray[np.uint8], labels: NDArray[np.uint8], scene: Mapping[str, Any]
    ) -> NDArray[np.uint8]:
        """The image (H, W, 3) in other colours. `labels` (H, W) says whose each pixel is, by the ids of `scene`."""
        if self.whole:
            return _in_channels(image, self.orders["red"])
        image = image.copy()
        for thing in scene["objects"]:
            if thing["colour"] in self.orders:
                mine = labels == thing["id"]
                image[mine] = _in_channels(image[mine], self.orders[thing["colour"]])
        return image

    def things(self, things: Mapping[int, Thing]) -> dict[int, Thing]:
        """The picture's things by their new colours' names."""
        return {n: replace(thing, colour=self.names.get(thing.colour, thing.colour)) for n, thing in things.items()}

    def reworded(self, value: Any) -> Any:
        """An instruction in words of the changed picture: every colour's name in every text of it."""
        if isinstance(value, str):
            return _WORD.sub(lambda word: self.names[word[0]], value)
        if isinstance(value, Mapping):
            return {key: self.reworded(part) for key, part in value.items()}
        return [self.reworded(part) for part in value] if isinstance(value, list | tuple) else value

    def fits(self, scene: Mapping[str, Any]) -> bool:
        """Whether all names differ and nothing in the scene, or said about it, becomes a held-out composition."""
        names = self.names
        if len(set(names.values())) < len(CHROMATIC):
            return False
        shown = {(thing["colour"], thing["kind"]) for thing in scene["objects"]}
        made = {(names.get(colour, colour), kind) for colour, kind in shown} - shown
        said = " ".join(_texts(scene["instructions"]))
        return not made & HELD_OUT and not _held_out_in(self.reworded(said)) - _held_out_in(said)


def exchanges(scene: Mapping[str, Any]) -> list[Exchange]:
    """The exchanges of the whole picture that fit the scene: two do always, they make no composition of the world."""
    all_orders = (Exchange(dict.fromkeys(CHROMATIC, order), whole=True) for order in _WHOLE)
    return [exchange for exchange in all_orders if exchange.fits(scene)]


def draw(scene: Mapping[str, Any], rng: np.random.Generator, whole: float) -> Exchange:
    """An exchange that fits the scene, with probability `whole` one of the whole picture."""
    if rng.random() < whole:
        fitting = exchanges(scene)
        return fitting[int(rng.integers(len(fitting)))]
    while not (exchange := _mixed(rng)).fits(scene):
        pass
    return exchange


def _mixed(rng: np.random.Generator) -> Exchange:
    orders = list(NAMES)
    return Exchange({colour: orders[int(rng.integers(len(orders)))] for colour in CHROMATIC}, whole=False)


def _in_channels(pixels: NDArray[np.uint8], order: Order) -> NDArray[np.uint8]:
    """Pixels (..., 3) with their channels in another order."""
    if order == GREY:
        return np.broadcast_to(pixels.mean(-1, keepdims=True).astype(np.uint8), pixels.shape)
    return pixels[..., order]


def _texts(value: Any) -> list[str]:
    """All strings of a JSON value."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [text for part in parts for text in _texts(part)]


def _held_out_in(text: str) -> set[tuple[str, str]]:
    return {(colour, kind) for colour, kind in HELD_OUT if f"{colour} {kind}" in text}
