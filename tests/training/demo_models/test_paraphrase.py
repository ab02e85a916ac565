"""Other words for the same: nothing of the test split's, nothing lost of what was meant."""

import re
from itertools import chain

import numpy as np
import pytest

from segzero_ros.tabletop.language import composed_wordings, wordings
from segzero_ros.tabletop.things import COLOURS
from training.demo_models import paraphrase
from training.demo_models.paraphrase import paraphrased

TABLES = (
    *wordings.KIND_WORDS.values(), *wordings.SIDES.values(), *wordings.EXTREMES.values(), wordings.NEAREST,
    *wordings.SIZES.values(), *wordings.SIZES_OF_TWO.values(), wordings.EVERY, wordings.COUNTED, wordings.FRAMES,
    wordings.FRAMES_PLURAL, *wordings.USE_WORDINGS.values(), wordings.COLOURED_PLANT, wordings.ANYTHING,
    *composed_wordings.NTH.values(), composed_wordings.BETWEEN, composed_wordings.WITHOUT, composed_wordings.USED,
    composed_wordings.JOINED_WITHOUT, composed_wordings.EVERY_WITHOUT, composed_wordings.CLAUSES,
    composed_wordings.CLAUSES_PLURAL,
)  # fmt: skip
OURS = {
    *paraphrase.CARRIERS, *paraphrase.NEAREST, *paraphrase.EVERY, *paraphrase.ADJECTIVES, *paraphrase.DETERMINERS,
    *(text for table in (paraphrase.NOUNS, paraphrase.SIDES, paraphrase.EXTREMES, paraphrase.SIZES, paraphrase.USES)
      for text in chain(*table.values())),
}  # fmt: skip


def many(text, kind, count=60):
    rng = np.random.default_rng(0)
    return [paraphrased(text, kind, rng) for _ in range(count)]


def test_no_wording_is_one_of_the_test_splits():
    kept_apart = {unseen for table in TABLES for unseen in table.unseen}
    assert not OURS & kept_apart
    nouns = {unseen for table in wordings.KIND_WORDS.values() for unseen in table.unseen}
    assert not [text for text in OURS if any(re.search(rf"\b{noun}\b", text) for noun in nouns)]


def test_no_paraphrase_names_a_colour_or_takes_one_away():
    assert not [text for text in OURS if any(re.search(rf"\b{colour}\b", text) for colour in COLOURS)]
    assert all("purple" in text for text in many("please hand me the purple bottle", "attribute"))


def test_no_synonym_means_two_kinds():
    nouns = [*chain(*paraphrase.NOUNS.values()), *chain(*(t.seen for t in wordings.KIND_WORDS.values()))]
    assert len(set(nouns)) == len({(kind, word) for kind, words in paraphrase.NOUNS.items() for word in words}) + len(
        {word for table in wordings.KIND_WORDS.values() for word in table.seen}
    )


@pytest.mark.parametrize(
    ("text", "kind", "one_of"),
    [
        ("the mug left of the bowl", "spatial", r"left"),
        ("find the ball on the far right", "spatial", r"right"),
        ("the bowl closest to the camera", "spatial", r"front|closest|nearest"),
        ("grab the book behind the lamp", "spatial", r"behind|back|beyond"),
        ("the biggest box", "comparison", r"big|huge|great|enormous|giant"),
        ("the smaller of the two cans", "comparison", r"smaller of the two"),
        ("show me the two plates", "several", r"two"),
        ("the red mug on the far right", "spatial", r"red .*right|right .*red"),
        ("the biggest green box", "comparison", r"(big|huge|great|enormous|giant).* green"),
        ("all the blue tins", "several", r"\bblue "),
        ("the second mug from the left", "spatial", r"second .*from the left"),
    ],
)
def test_what_was_meant_stays(text, kind, one_of):
    assert all(re.search(one_of, other) for other in many(text, kind))
    assert len(set(many(text, kind))) > 20


def test_anchor_and_subject_keep_their_places():
    for text in many("the mug left of the bowl", "spatial"):
        mug = re.search("|".join(("mug", *paraphrase.NOUNS["mug"])), text)
        bowl = re.search("|".join(("bowl", *paraphrase.NOUNS["bowl"])), text)
        assert mug.start() < bowl.start()


def test_a_use_is_said_as_that_use():
    assert set(many("i am bored and want to read", "function")) == set(paraphrase.USES["read"])
    assert set(many("something to drink from", "absent")) == set(paraphrase.USES["drink"])


def test_a_use_keeps_the_colour_that_is_wanted():
    assert set(many("something to read, the red one", "function")) == {
        f"{use.rstrip('?')}, the red one" for use in paraphrase.USES["read"]
    }


def test_a_clause_stays_about_what_it_was_about():
    for text in many("after the soup, clear away the red tin", "attribute"):
        assert "red" in text
        assert re.search("|".join(("tin", *paraphrase.NOUNS["can"])), text)


def test_a_number_stays_beside_a_plural():
    for text in many("take the two boxes", "several"):
        assert re.search(r"\btwo (boxes|cartons|crates|cubes|packages)\b", text)


def test_several_stay_several():
    for text in many("all the boxes", "several"):
        assert re.search(r"each|(boxes|cartons|crates|cubes|packages)\b", text)
