"""Exchanged colours: names that stay one thing's name, and nothing that the test split holds out."""

import numpy as np
import pytest

from segzero_ros.tabletop.things import COLOURS, HELD_OUT, KINDS
from training.dialogue import Thing
from training.palette import CHROMATIC, NAMES, PALETTE, exchanged, exchanges, reworded


def scene(*things, text="find it"):
    objects = [{"colour": colour, "kind": kind} for colour, kind in things]
    return {"objects": objects, "instructions": [{"text": text, "thinking": [{"say": text, "id": 1}]}]}


def test_within_an_exchange_no_two_colours_share_a_name():
    for names in NAMES.values():
        after = dict.fromkeys(COLOURS) | dict(zip(CHROMATIC, names, strict=True))
        assert len({new or old for old, new in after.items()}) == len(COLOURS)


def test_the_worlds_colours_come_first_in_the_palette():
    assert PALETTE[: len(COLOURS)] == tuple(COLOURS)
    assert len(PALETTE) == len(set(PALETTE)) == 26


@pytest.mark.parametrize("order", NAMES)
def test_a_name_of_the_world_is_given_only_to_what_looks_like_it(order):
    """What an exchange calls red, green or blue is nearer to that colour than to any other of the world's."""
    for old, new in zip(CHROMATIC, NAMES[order], strict=True):
        if new in COLOURS:
            looks = np.array(COLOURS[old])[list(order)]
            nearest = min(COLOURS, key=lambda name: float(np.abs(np.array(COLOURS[name]) - looks).sum()))
            assert nearest == new


def test_no_exchange_makes_a_held_out_composition_of_what_training_shows():
    shown = [(colour, kind) for colour in COLOURS for kind in KINDS if (colour, kind) not in HELD_OUT]
    for colour, kind in shown:
        for order in exchanges(scene((colour, kind))):
            after = dict(zip(CHROMATIC, NAMES[order], strict=True))
            assert (after.get(colour, colour), kind) not in HELD_OUT
    assert len(exchanges(scene(("red", "box")))) == 3
    assert len(exchanges(scene(("red", "mug")))) == 5


def test_no_exchange_names_a_held_out_composition():
    """A box that is not there can be asked for as well."""
    assert len(exchanges(scene(("white", "mug"), text="all red boxes"))) == 3
    assert len(exchanges(scene(("white", "mug"), text="the red book"))) == 4


def test_picture_things_and_words_change_alike():
    image = np.zeros((4, 4, 3), np.uint8)
    image[...] = (200, 20, 10)
    mug = Thing(1, "mug", "red", (0, 0, 4, 4), (2, 2), 1.0)
    bowl = Thing(2, "bowl", "white", (0, 0, 4, 4), (2, 2), 1.0)
    order = (2, 0, 1)
    other, things = exchanged(image, {1: mug, 2: bowl}, order)
    assert other[0, 0].tolist() == [10, 200, 20]
    assert (things[1].colour, things[2].colour) == ("emerald", "white")
    instruction = {"text": "the red mug", "thinking": [{"say": "red mug", "id": 1}, ". No white mug."], "targets": [1]}
    assert reworded(instruction, order) == {
        "text": "the emerald mug",
        "thinking": [{"say": "emerald mug", "id": 1}, ". No white mug."],
        "targets": [1],
    }
