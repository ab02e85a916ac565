"""The rich world's questions in other words still mean what they meant."""

import re
from itertools import chain

import numpy as np
import pytest

from segzero_ros.tabletop.language import rich_words, wordings
from segzero_ros.tabletop.language.lexicon import lexicon
from segzero_ros.tabletop.rich.palette import RICH_COLOURS
from training.demo_models.paraphrase import pattern_of, unframe
from training.demo_models.spoken.general import rephrased, speak_generally

RICH = lexicon("rich")
KIND_OF = {
    form: kind
    for kind, table in RICH.kind_words.items()
    for word in table.seen
    for form in (word, wordings.plural(word))
}
NOUN = "|".join(sorted(KIND_OF, key=len, reverse=True))
VERB = re.compile(r"\b(?:can't|(?:i|you) can|can (?:you|i|spot|have))\b")
NAMED = re.compile(rf"(?<!o')\b({NOUN}|{'|'.join(RICH_COLOURS)})\b")
HOLDER = re.compile(rf"(the|an?) (({'|'.join(RICH_COLOURS)}) )?(pot )?({NOUN}|thing|object|one)")
PLACED = [
    pattern_of(template)
    for table in (rich_words.PLACED, rich_words.HOLDING, rich_words.WHAT, rich_words.EVERYTHING)
    for template in chain.from_iterable(wording.seen for wording in table.values())
]


@pytest.fixture(scope="module")
def questions(rich_scenes):
    return [(i["type"], i["text"]) for scene in rich_scenes for i in scene["instructions"]]


def named(text):
    """Kinds and colours in the order in which they are named, the sentence around them left away."""
    return [KIND_OF.get(match[1], match[1]) for match in NAMED.finditer(VERB.sub("", unframe(text)[1]))]


def others(way, text, kind, count=12):
    rng = np.random.default_rng(len(text))
    return [way(text, kind, rng) for _ in range(count)]


def holds(phrase):
    """Whether the phrase says what is in, on or under what."""
    matches = (pattern.fullmatch(phrase) for pattern in PLACED)
    return any(match and HOLDER.fullmatch(match[match.lastindex]) for match in matches)


@pytest.mark.parametrize("way", [speak_generally, rephrased])
def test_kinds_and_colours_stay_and_no_others_come(questions, way):
    assert len(questions) > 300
    for kind, text in questions:
        for said in others(way, text, kind):
            assert named(said) == named(text), (text, said)


@pytest.mark.parametrize("way", [speak_generally, rephrased])
def test_what_is_in_on_or_under_what_stays_word_for_word(questions, way):
    placed = [(kind, text) for kind, text in questions if holds(unframe(text)[1])]
    assert len(placed) > 40
    for kind, text in placed:
        assert all(unframe(text)[1] in said for said in others(way, text, kind))


@pytest.mark.parametrize("way", [speak_generally, rephrased])
def test_what_something_is_for_stays_as_it_is(questions, way):
    uses = [(kind, text) for kind, text in questions if kind == "function"]
    assert len(uses) > 20
    assert all(said == text for kind, text in uses for said in others(way, text, kind))


def test_most_others_are_said_in_many_ways(questions):
    rest = [(kind, text) for kind, text in questions if kind not in ("function", "absent") and "what " not in text]
    for way, least in ((speak_generally, 8), (rephrased, 4)):
        assert np.median([len(set(others(way, text, kind))) for kind, text in rest]) >= least


def test_a_side_keeps_its_whole_wording():
    """Its shorter wordings are part of its longer ones."""
    for said in others(rephrased, "the mug on the left of the red bin", "spatial", 60):
        assert re.search(r"the mug (on the left( hand side)? of|just left of|standing left of) the red bin", said)
