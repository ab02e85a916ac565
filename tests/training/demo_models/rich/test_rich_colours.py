"""Exchanged colours of the rich world: no question becomes false, and what cannot be exchanged stays as it is."""

import re

import numpy as np
import pytest

from segzero_ros.tabletop.language.lexicon import lexicon
from segzero_ros.tabletop.rich.palette import RICH_COLOURS, RICH_HELD_OUT
from training.demo_models.colour_augmentation import AS_IT_IS, COLOUR_NAMES, TONES, draw, whole_swaps
from training.demo_models.shards import ShardFolder, things_of

WORDS = {word for table in lexicon("rich").use_wordings.values() for word in table.seen}


def scene(*things, text="find it"):
    objects = [
        {"id": n, "colour": colour, "kind": kind, "finish": finish}
        for n, (colour, kind, finish) in enumerate(things, 1)
    ]
    return {"world": "rich", "objects": objects, "instructions": [{"text": text, "thinking": []}]}


@pytest.fixture(scope="module")
def exchanged(rich_scenes):
    """Each scene with swaps of it."""
    rng = np.random.default_rng(0)
    return [(scene, draw(scene, rng, share)) for scene in rich_scenes for share in (0.0, 0.0, 1.0)]


def test_every_colour_has_a_name_to_learn():
    assert set(RICH_COLOURS) <= set(COLOUR_NAMES)


def renamed(text, names):
    return re.sub(rf"\b({'|'.join(names)})\b", lambda word: names[word[0]], text)


def one_article(text):
    return re.sub(r"\ban\b", "a", text)


def test_no_question_becomes_false(exchanged):
    """Things and words change names alike, and no two colours share one: who was meant is meant, nobody else is."""
    assert sum(any(name != colour for colour, name in swap.names.items()) for _, swap in exchanged) > 100
    for made, swap in exchanged:
        assert len(set(swap.names.values())) == len(swap.names) == len(RICH_COLOURS)
        back = {name: colour for colour, name in swap.names.items()}
        things = things_of(made, 196)
        after = swap.things(things)
        assert {n: back[thing.colour] for n, thing in after.items()} == {n: t.colour for n, t in things.items()}
        for instruction in made["instructions"]:
            said = swap.reworded(instruction)
            assert one_article(renamed(said["text"], back)) == one_article(instruction["text"])
            for piece in said["thinking"]:
                if "say" in piece:
                    thing = after[piece["id"]]
                    assert piece["say"] == f"{thing.colour} {thing.kind}"


def test_no_colour_takes_anothers_name_so_nothing_held_out_is_made(exchanged):
    for made, swap in exchanged:
        assert not {name for colour, name in swap.names.items() if name != colour} & set(RICH_COLOURS)
        assert not {(swap.names[t["colour"]], t["kind"]) for t in made["objects"]} & RICH_HELD_OUT


def test_words_that_name_no_colour_stay():
    """ "The orange" is no fruit here, and no use speaks of a colour."""
    assert not [text for text in WORDS if set(re.findall("[a-z]+", text)) & set(RICH_COLOURS)]


def test_glass_metal_and_unknown_colours_keep_their_pixels_and_others_change(rich_data, exchanged):
    changed = 0
    labels = ShardFolder(rich_data / "train", 196).shards["shard-00000"].labels
    for n, (made, swap) in enumerate(exchanged):
        if swap.whole:
            assert not {"pink", "brown"} & {thing["colour"] for thing in made["objects"]}
            continue
        image = np.random.default_rng(n).integers(0, 256, (*labels[n // 3].shape, 3)).astype(np.uint8)
        other = swap.picture(image, labels[n // 3], made)
        for thing in made["objects"]:
            mine, change = labels[n // 3] == thing["id"], swap.changes[thing["colour"]]
            if thing["finish"] in ("glass", "metal") or thing["colour"] in ("pink", "brown", "silver"):
                assert (other[mine] == image[mine]).all()
            elif change in TONES:
                ratio = TONES[change][0] / TONES[change][2]
                whole = (other[mine].max(-1) < 250) & (other[mine][:, 2] > 60)
                assert np.allclose(other[mine][whole][:, 0] / other[mine][whole][:, 2], ratio, rtol=0.05)
                changed += 1
            else:
                assert (other[mine] == image[mine][:, change]).all()
                changed += change != AS_IT_IS
        assert (other[labels[n // 3] == 0] == image[labels[n // 3] == 0]).all()
    assert changed > 100


def test_a_colour_of_something_of_glass_is_kept_and_so_is_every_colour_of_shards_that_do_not_say():
    rng = np.random.default_rng(0)
    both = scene(("red", "vase", "glass"), ("red", "mug", "plain"), ("green", "mug", "dots"))
    swaps = [draw(both, rng, 0.0) for _ in range(50)]
    assert {swap.names["red"] for swap in swaps} == {"red"}
    assert len({swap.names["green"] for swap in swaps}) > 3
    old = scene(("red", "mug", "plain"))
    del old["objects"][0]["finish"]
    assert {draw(old, rng, 0.0).names["red"] for _ in range(30)} == {"red"}


def test_a_whole_picture_is_exchanged_unless_something_pink_or_brown_is_in_it():
    assert len(whole_swaps(scene(("red", "mug", "glass"), ("silver", "pan", "metal")))) == 3
    assert not whole_swaps(scene(("red", "mug", "plain"), ("pink", "mug", "plain")))
    swap = draw(scene(("red", "mug", "plain"), ("brown", "bin", "plain")), np.random.default_rng(0), 1.0)
    assert not swap.whole


def test_a_name_has_the_article_it_needs():
    swap = next(swap for swap in whole_swaps(scene(("red", "mug", "plain"))) if swap.names["red"] == "emerald")
    said = swap.reworded("the bowl with a red ball in it, not an orange one")
    assert said == f"the bowl with an emerald ball in it, not a {swap.names['orange']} one"
