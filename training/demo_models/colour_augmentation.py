"""Colours and compositions the world does not have, so that a small model cannot learn red boxes instead of boxes.

With other colour channels a thing looks the same but for its colour, and that colour has a name of its own: a yellow
plate becomes a magenta or a cyan one. In one tone instead of its colour it becomes a charcoal or a pink one, and so do
white and black things, which have no channels to swap. With such pictures, and with their questions reworded,
there are 32 colours to compose with ten kinds instead of eight, and most compositions are rare. Either the whole
picture changes, or its things alone, each colour in its own way: a picture that looks like all others then has colours
no other has.

What the test split holds out stays held out: no swap ever makes a held-out composition, in the picture or in words.

In the rich world no colour takes the name of another one of that world, so none of its compositions is made either.
Its pink, brown and silver (which is metal) stay as they are, and so do colours that a thing of glass has: what is
behind it shows through.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.rich.palette import RICH_COLOURS
from segzero_ros.tabletop.things import COLOURS, HELD_OUT
from training.demo_models.supervised_text import Thing

Order = tuple[int, int, int]
Change = Order | str
"""What happens to a colour: new channel n is the old channel order[n], or it takes on a tone of `TONES`."""

CHROMATIC = ("red", "green", "blue", "yellow", "orange", "purple")
AS_IT_IS: Order = (0, 1, 2)
NAMES: Mapping[Order, tuple[str, ...]] = {
    AS_IT_IS: CHROMATIC,
    (0, 2, 1): ("red", "navy", "emerald", "magenta", "crimson", "olive"),
    (1, 0, 2): ("emerald", "maroon", "indigo", "lemon", "lime", "teal"),
    (1, 2, 0): ("blue", "brown", "emerald", "magenta", "violet", "mint"),
    (2, 0, 1): ("emerald", "navy", "crimson", "cyan", "lime", "bronze"),
    (2, 1, 0): ("blue", "green", "rust", "cyan", "azure", "plum"),
}
"""What the chromatic colours, in the order of `CHROMATIC`, look like in other channels; an order's names all differ."""
TONES: Mapping[str, tuple[float, float, float]] = {
    "grey": (0.40, 0.40, 0.40),
    "charcoal": (0.18, 0.18, 0.18),
    "cream": (0.95, 0.88, 0.58),
    "pink": (0.95, 0.55, 0.65),
    "silver": (0.64, 0.64, 0.64),
    "sky": (0.50, 0.75, 0.95),
}
"""Red, green and blue of each tone, from 0 to 1, as in `COLOURS`. Shading and light stay those of the thing."""
COLOUR_NAMES = (*COLOURS, *sorted({name for names in NAMES.values() for name in names} - set(COLOURS)), *TONES)
_DARKEST = 0.12  # a colour's brightness is taken to be this at least: by black's own 0.05 its highlights would burn out
_WORD = re.compile(rf"\b(an? )?({'|'.join(COLOURS)})\b")
_LEFT_ALONE = ("pink", "brown", "silver")  # of the rich world: no channel order has names for them


@dataclass(frozen=True)
class ColourSwap:
    """What happens to every colour; `whole`: one order of channels for the table too."""

    changes: Mapping[str, Change]
    whole: bool

    @cached_property
    def names(self) -> dict[str, str]:
        """Each colour's name afterwards; all differ, so what was one thing's name stays one thing's name."""
        return {colour: _name(colour, change) for colour, change in self.changes.items()}

    def picture(
        self, image: NDArray[np.uint8], labels: NDArray[np.uint8], scene: Mapping[str, Any]
    ) -> NDArray[np.uint8]:
        """The image (H, W, 3) in other colours. `labels` (H, W) says whose each pixel is, by the ids of `scene`."""
        if self.whole:
            return image[..., self.changes["red"]]
        image = image.copy()
        for thing in scene["objects"]:
            mine = labels == thing["id"]
            image[mine] = _changed(image[mine], thing["colour"], self.changes[thing["colour"]])
        return image

    def matrices(self, scene: Mapping[str, Any]) -> NDArray[np.float32]:
        """What `picture` does, as (labels, 3, 3): new red, green and blue of the old ones, by a pixel's label."""
        highest = max((thing["id"] for thing in scene["objects"]), default=0)
        found = np.tile(np.eye(3, dtype=np.float32), (highest + 1, 1, 1))
        if self.whole:
            found[:] = _matrix("red", self.changes["red"])
        else:
            for thing in scene["objects"]:
                found[thing["id"]] = _matrix(thing["colour"], self.changes[thing["colour"]])
        return found

    def things(self, things: Mapping[int, Thing]) -> dict[int, Thing]:
        """The picture's things by their new colours' names."""
        return {n: replace(thing, colour=self.names[thing.colour]) for n, thing in things.items()}

    def reworded(self, value: Any) -> Any:
        """An instruction in words of the changed picture: every colour's name in every text of it."""
        if isinstance(value, str):
            return _WORD.sub(self._renamed, value)
        if isinstance(value, Mapping):
            return {key: self.reworded(part) for key, part in value.items()}
        return [self.reworded(part) for part in value] if isinstance(value, list | tuple) else value

    def _renamed(self, word: re.Match[str]) -> str:
        name = self.names[word[2]]
        return f"{'an' if name[0] in 'aeio' else 'a'} {name}" if word[1] else name

    def fits(self, scene: Mapping[str, Any]) -> bool:
        """Whether all names differ and nothing in the scene, or said about it, becomes a held-out composition."""
        if len(set(self.names.values())) < len(self.names):
            return False
        if _is_rich(scene):
            return self._fits_rich(scene)
        present = {(thing["colour"], thing["kind"]) for thing in scene["objects"]}
        made = {(self.names[colour], kind) for colour, kind in present} - present
        said = " ".join(_texts(scene["instructions"]))
        return not made & HELD_OUT and not _held_out_in(self.reworded(said)) - _held_out_in(said)

    def _fits_rich(self, scene: Mapping[str, Any]) -> bool:
        taken = any(name != colour and name in RICH_COLOURS for colour, name in self.names.items())
        unknown = {"pink", "brown"} if self.whole else {c for c in _kept(scene) if self.changes[c] != AS_IT_IS}
        return not taken and not any(thing["colour"] in unknown for thing in scene["objects"])


def _is_rich(scene: Mapping[str, Any]) -> bool:
    return bool(scene.get("world") == "rich")


def _kept(scene: Mapping[str, Any]) -> set[str]:
    """Which colours are not exchanged thing by thing in a rich scene; shards of old do not say what is glass."""
    return {*_LEFT_ALONE, *(t["colour"] for t in scene["objects"] if t.get("finish", "glass") == "glass")}


def whole(order: Order, colours: Iterable[str] = COLOURS) -> ColourSwap:
    """The exchange of the channels of a whole picture."""
    return ColourSwap({colour: order if colour in CHROMATIC else AS_IT_IS for colour in colours}, whole=True)


def whole_swaps(scene: Mapping[str, Any]) -> list[ColourSwap]:
    """The swaps of the whole picture that fit the scene.

    In the simple world two do always, they make no composition of it; in the rich one there may be none.
    """
    colours = RICH_COLOURS if _is_rich(scene) else COLOURS
    return [swap for order in NAMES if order != AS_IT_IS and (swap := whole(order, colours)).fits(scene)]


def draw(scene: Mapping[str, Any], rng: np.random.Generator, of_the_whole: float) -> ColourSwap:
    """A swap that fits the scene, with probability `of_the_whole` one of the whole picture."""
    if rng.random() < of_the_whole and (fitting := whole_swaps(scene)):
        return fitting[int(rng.integers(len(fitting)))]
    kept = _kept(scene) if _is_rich(scene) else set()
    colours = RICH_COLOURS if _is_rich(scene) else COLOURS
    while not (swap := _mixed(rng, colours, kept)).fits(scene):
        pass
    return swap


def _mixed(rng: np.random.Generator, colours: Iterable[str], kept: Collection[str]) -> ColourSwap:
    """Every colour in its own way: a chromatic one in a tone one time in three, white and black every other time.

    Those of `kept` stay as they are.
    """
    orders, tones = list(NAMES), list(TONES)

    def drawn(colour: str) -> Change:
        if colour in kept:
            return AS_IT_IS
        if rng.random() < (1 / 3 if colour in CHROMATIC else 1 / 2):
            return tones[int(rng.integers(len(tones)))]
        return orders[int(rng.integers(len(orders)))] if colour in CHROMATIC else AS_IT_IS

    return ColourSwap({colour: drawn(colour) for colour in colours}, whole=False)


def _name(colour: str, change: Change) -> str:
    if isinstance(change, str):
        return change
    return NAMES[change][CHROMATIC.index(colour)] if colour in CHROMATIC else colour


def _changed(pixels: NDArray[np.uint8], colour: str, change: Change) -> NDArray[np.uint8]:
    """A thing's pixels (N, 3) after the change."""
    if not isinstance(change, str):
        return pixels[..., change]
    light = pixels.mean(-1, keepdims=True) / max(_DARKEST, float(np.mean(COLOURS[colour])))
    return np.clip(light * TONES[change], 0, 255).astype(np.uint8)


def _matrix(colour: str, change: Change) -> NDArray[np.float32]:
    """The change as (3, 3): rows are the new channels."""
    if not isinstance(change, str):
        return np.eye(3, dtype=np.float32)[list(change)]
    brightness = 3 * max(_DARKEST, float(np.mean(COLOURS[colour])))
    return np.tile(np.asarray(TONES[change], np.float32)[:, None] / np.float32(brightness), (1, 3))


def _texts(value: Any) -> list[str]:
    """All strings of a JSON value."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [text for part in parts for text in _texts(part)]


def _held_out_in(text: str) -> set[tuple[str, str]]:
    return {(colour, kind) for colour, kind in HELD_OUT if f"{colour} {kind}" in text}
