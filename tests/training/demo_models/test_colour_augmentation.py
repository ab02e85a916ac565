"""Exchanged colours: names that stay one thing's name, and nothing that the test split holds out."""

import numpy as np
import pytest

from segzero_ros.tabletop.things import COLOURS, HELD_OUT, KINDS
from training.demo_models.colour_augmentation import (
    AS_IT_IS,
    CHROMATIC,
    COLOUR_NAMES,
    NAMES,
    TONES,
    ColourSwap,
    draw,
    whole,
    whole_swaps,
)
from training.demo_models.supervised_text import Thing

SWAP = whole((2, 0, 1))
MIXED = ColourSwap(
    dict.fromkeys(COLOURS, AS_IT_IS) | {"red": (2, 0, 1), "blue": "silver", "white": "pink"}, whole=False
)


def scene(*things, text="find it"):
    objects = [{"id": n, "colour": colour, "kind": kind} for n, (colour, kind) in enumerate(things, 1)]
    return {"objects": objects, "instructions": [{"text": text, "thinking": [{"say": text, "id": 1}]}]}


def shown():
    return [(colour, kind) for colour in COLOURS for kind in KINDS if (colour, kind) not in HELD_OUT]


def test_after_an_exchange_no_two_colours_share_a_name():
    drawn = [draw(scene(thing), np.random.default_rng(n), 0.0) for n, thing in enumerate(shown())]
    for swap in [*whole_swaps(scene(("white", "mug"))), *drawn]:
        assert len({swap.names[colour] for colour in COLOURS}) == len(COLOURS)


def test_the_worlds_colours_come_first_in_the_palette():
    assert COLOUR_NAMES[: len(COLOURS)] == tuple(COLOURS)
    assert len(COLOUR_NAMES) == len(set(COLOUR_NAMES)) == 32


@pytest.mark.parametrize("order", list(NAMES))
def test_a_name_of_the_world_is_given_only_to_what_looks_like_it(order):
    """What an swap calls red, green or blue is nearer to that colour than to any other of the world's."""
    for old, new in zip(CHROMATIC, NAMES[order], strict=True):
        if new in COLOURS:
            looks = np.array(COLOURS[old])[list(order)]
            nearest = min(COLOURS, key=lambda name: float(np.abs(np.array(COLOURS[name]) - looks).sum()))
            assert nearest == new


@pytest.mark.parametrize("of_the_whole", [0.0, 1.0])
def test_no_exchange_makes_a_held_out_composition_of_what_training_shows(of_the_whole):
    rng = np.random.default_rng(0)
    for colour, kind in shown():
        for _ in range(20):
            swap = draw(scene((colour, kind)), rng, of_the_whole)
            assert (swap.names[colour], kind) not in HELD_OUT
    assert len(whole_swaps(scene(("red", "box")))) == 3
    assert len(whole_swaps(scene(("red", "mug")))) == 5


@pytest.mark.parametrize("of_the_whole", [0.0, 1.0])
def test_no_exchange_names_a_held_out_composition(of_the_whole):
    """A box that is not there can be asked for as well."""
    assert len(whole_swaps(scene(("white", "mug"), text="all red boxes"))) == 3
    rng = np.random.default_rng(0)
    drawn = [draw(scene(("white", "mug"), text="all red boxes"), rng, of_the_whole) for _ in range(40)]
    said = {swap.reworded("all red boxes") for swap in drawn}
    assert len(said) >= 2
    assert "all blue boxes" not in said


@pytest.mark.parametrize("of_the_whole", [0.0, 1.0])
def test_whatever_is_shown_and_said_some_exchange_fits(of_the_whole):
    everything = " ".join(f"{colour} {kind}" for colour in CHROMATIC for kind in KINDS)
    full = scene(*shown(), text=everything)
    assert draw(full, np.random.default_rng(0), of_the_whole).fits(full)


@pytest.mark.parametrize("of_the_whole", [0.0, 1.0])
def test_a_scene_that_shows_held_out_things_already_is_no_obstacle(of_the_whole):
    """The test split's scenes do: an swap makes no other one, and the search for it ends."""
    shown_and_said = scene(("red", "book"), ("white", "can"), ("red", "box"), text="the green bowl")
    assert len(whole_swaps(scene(("white", "mug"), text="the red book"))) == 5
    rng = np.random.default_rng(0)
    for _ in range(100):
        swap = draw(shown_and_said, rng, of_the_whole)
        assert swap.fits(shown_and_said)
        assert swap.names["red"] != "blue", "a blue box"


def test_draw_mixes_orders_and_reaches_every_colour():
    rng = np.random.default_rng(0)
    drawn = [draw(scene(("red", "mug")), rng, 0.0) for _ in range(200)]
    assert {swap.names["red"] for swap in drawn} == {*TONES, *(names[0] for names in NAMES.values())}
    assert {swap.names["black"] for swap in drawn} == {*TONES, "black"}
    assert all(not swap.whole and len(set(swap.changes.values())) > 1 for swap in drawn)


def two_things():
    image = np.zeros((4, 6, 3), np.uint8)
    image[...] = (200, 20, 10)
    labels = np.zeros((4, 6), np.uint8)
    labels[:, 2:4], labels[:, 4:] = 1, 2
    return image, labels, scene(("red", "mug"), ("blue", "bowl"))


def test_a_whole_exchange_changes_the_table_too():
    image, labels, made = two_things()
    other = SWAP.picture(image, labels, made)
    assert (other == (10, 200, 20)).all()


def test_a_mixed_exchange_changes_each_thing_in_its_own_way():
    image, labels, made = two_things()
    other = MIXED.picture(image, labels, made)
    assert (other[:, :2] == (200, 20, 10)).all()
    assert (other[:, 2:4] == (10, 200, 20)).all()
    light = (200 + 20 + 10) / 3 / np.mean(COLOURS["blue"])
    np.testing.assert_array_equal(other[:, 4:], np.full((4, 2, 3), int(light * TONES["silver"][0])))
    assert (image == (200, 20, 10)).all(), "the picture given stays as it was"


def test_a_tone_keeps_the_shading_and_never_overflows():
    image = np.array([[[16, 16, 18], [160, 160, 180], [250, 250, 250]]], np.uint8)
    made = scene(("white", "mug"))
    toned = MIXED.picture(image, np.ones((1, 3), np.uint8), made)[0].astype(int)
    assert (toned[0] < toned[1]).all()
    assert (toned[1] <= toned[2]).all()
    assert (toned[:, 0] > toned[:, 1]).all(), "pink is reddest"


def test_things_and_words_change_alike():
    mug = Thing(1, "mug", "red", (0, 0, 4, 4), (2, 2), 1.0)
    bowl = Thing(2, "bowl", "white", (0, 0, 4, 4), (2, 2), 1.0)
    things = SWAP.things({1: mug, 2: bowl})
    assert (things[1].colour, things[2].colour) == ("emerald", "white")
    instruction = {"text": "the red mug", "thinking": [{"say": "red mug", "id": 1}, ". No white mug."], "targets": [1]}
    assert SWAP.reworded(instruction) == {
        "text": "the emerald mug",
        "thinking": [{"say": "emerald mug", "id": 1}, ". No white mug."],
        "targets": [1],
    }
