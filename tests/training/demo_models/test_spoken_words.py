"""Commands as people speak them: what is meant stays, no word is the test's, no sentence is one of those by hand."""

import json
import re
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from segzero_ros.tabletop.language import composed_wordings, wordings
from segzero_ros.tabletop.language.uses import USES
from segzero_ros.tabletop.things import COLOURS, KINDS
from training.demo_models.colour_augmentation import NAMES, TONES
from training.demo_models.paraphrase import USE_OF
from training.demo_models.spoken.speak import SENTENCES, WORDS, plural, speak
from training.demo_models.supervised_text import Thing, counted, listed

BY_HAND = [
    json.loads(line)["text"]
    for file in ("spoken.jsonl", "sealed.jsonl")
    for line in (Path(__file__).parents[3] / "training/evaluation" / file).read_text(encoding="utf-8").splitlines()
]
FRONT = (
    "front|close|near|my (side|end|nose)|this end|first row|reach|shortest|from here|foremost|coming from me"
    "|(least|smallest) distance|lowest|before|foreground"
)
BIG = (
    "big|large|greatest|whopp|massive|most room|daddy|giant|grown-up|beats|huge|enormous|bulk|ginormous|humongous"
    "|absolute|dwarfs|chunky|king-size|oversized|maximum|no other matches|top one|most packing paper|jumbo|number one"
)
RED_MUG = {1: Thing(1, "mug", "red", (0, 0, 9, 9), (4, 4), 1.0)}
TWO_CANS = {n: Thing(n, "can", colour, (0, 0, 9, 9), (4, n), 1.0) for n, colour in ((1, "red"), (2, "blue"))}


def strings(value) -> Iterable[str]:
    if isinstance(value, str):
        return [value]
    return chain.from_iterable(map(strings, value.values() if isinstance(value, dict) else value))


def many(text, kind, targets=(1,), things=RED_MUG, count=200):
    rng = np.random.default_rng(0)
    return [speak(text, kind, targets, things, rng) for _ in range(count)]


def names(kind):
    """Every noun for a kind, and its plural."""
    singles = {*WORDS["nouns"][kind], *wordings.KIND_WORDS[kind].seen}
    return rf"\b({'|'.join(re.escape(noun) for noun in singles | set(map(plural, singles)))})\b"


def test_each_kind_and_each_use_has_its_sentences():
    for table in ("of_kind", "many_of_kind", "implied"):
        assert set(SENTENCES[table]) == set(KINDS)
    assert set(SENTENCES["for"]) == set(USES)
    assert set(WORDS["nouns"]) == set(KINDS)


def test_blanks_are_those_that_are_filled():
    for text in strings(SENTENCES):
        assert set(re.findall(r"<(\w+)>", text)) <= set(WORDS["slots"])
    for table, blanks in {"of_any": {"x"}, "of_many": {"x"}, "implied": {"c"}, "for": set()}.items():
        assert all(set(re.findall(r"\{(\w+)\}", text)) == blanks for text in strings(SENTENCES[table])), table


def test_no_word_names_a_colour():
    colours = {*COLOURS, *TONES, *chain.from_iterable(NAMES.values())}
    said = [text for text in strings([SENTENCES, WORDS]) if set(re.findall(r"[a-z]+", text)) & colours]
    assert not said


def test_no_wording_is_one_of_the_test_splits():
    tables = (*wordings.USE_WORDINGS.values(), wordings.FRAMES, wordings.FRAMES_PLURAL, wordings.EVERY,
              composed_wordings.CLAUSES, composed_wordings.CLAUSES_PLURAL)  # fmt: skip
    kept_apart = {text.replace("{}", "{x}") for table in tables for text in table.unseen}
    assert not kept_apart & set(strings(SENTENCES))
    nouns = "|".join(noun for table in wordings.KIND_WORDS.values() for noun in table.unseen)
    assert not [text for text in strings([SENTENCES, WORDS]) if re.search(rf"\b({nouns})\b", text)]


def test_no_noun_means_two_kinds():
    nouns = list(strings(WORDS["nouns"]))
    assert len(set(nouns)) == len(nouns)


@pytest.mark.parametrize(
    ("text", "kind", "one_of"),
    [
        ("the mug on the far left", "spatial", r"left"),
        ("find the mug closest to me", "spatial", FRONT),
        ("the biggest mug", "comparison", BIG),
        ("the red mug on the far right", "spatial", r"red .*right|right.* red"),
        ("the second mug from the left", "spatial", r"second .*from the left"),
        ("the mug that is not blue", "attribute", r"not blue"),
    ],
)
def test_what_was_meant_stays(text, kind, one_of):
    assert all(re.search(one_of, said) for said in many(text, kind))
    assert len(set(many(text, kind))) > 100


def test_a_relation_keeps_its_two_places():
    for said in many("pick up the mug on the left of the bowl", "spatial"):
        assert re.search(rf"{names('mug')}.*left(-hand side)? (of|from).*{names('bowl')}", said), said


def test_a_thing_by_its_colour_is_named_or_implied():
    said = many("give me the red mug", "attribute", count=400)
    assert all("red" in text for text in said)
    implied = [text for text in said if not re.search(names("mug"), text)]
    assert 10 < len(implied) < 120
    assert all(re.search(rf"the red one|\b({'|'.join(WORDS['slots']['hot'])})\b", text) for text in implied)


def test_a_kind_that_is_missed_is_not_implied():
    assert all(re.search(names("mug"), said) for said in many("the red mug", "absent", (), {}))


def test_several_stay_several():
    for said in many("all the cans", "several", (1, 2), TWO_CANS):
        assert re.search(rf"{names('can')}", said)
    assert all(re.search(r"\btwo\b", said) for said in many("take the two cans", "several", (1, 2), TWO_CANS))


def test_a_use_is_said_without_the_thing_and_keeps_its_colour():
    template = next(text for text, use in USE_OF.items() if use == "light" and "?" not in text)
    assert len(set(many(template, "function"))) > 15
    assert all(said.endswith(", the red one") for said in many(f"{template}, the red one", "function"))


@pytest.mark.parametrize(
    ("one", "several"), [("dictionary", "dictionaries"), ("toy", "toys"), ("dish", "dishes"), ("cactus", "cactuses")]
)
def test_plurals(one, several):
    assert plural(one) == several


def test_a_group_is_counted_left_to_right():
    pieces = counted([2, 1], TWO_CANS)
    said = "".join(piece if isinstance(piece, str) else piece.get("say", "(x,y)") for piece in pieces)
    assert said == "2: 1 blue can (x,y), 2 red can (x,y)."


def test_a_group_is_listed_left_to_right():
    pieces = listed([2, 1], TWO_CANS)
    said = "".join(piece if isinstance(piece, str) else piece.get("say", "(x,y)") for piece in pieces)
    assert said == "blue can (x,y), red can (x,y)."


def test_no_sentence_is_one_of_those_by_hand():
    """Whatever is put in for its slots, and any phrase for what is meant."""
    frames = [text for table in ("of_any", "of_many", "implied", "for") for text in strings(SENTENCES[table])]
    frames += [*strings(SENTENCES["of_kind"]), *strings(SENTENCES["many_of_kind"])]
    phrase = re.compile(
        rf"(?:the|that|those|my|this|our|all|every|each|of) (?:[\w']+ )*?(?:{'|'.join(map(names, KINDS))}|one)"
    )
    patterns = [as_pattern(frame) for frame in set(frames)]
    found = [match for text in BY_HAND for each in patterns if (match := each.fullmatch(text.lower().strip(".")))]
    assert len(found) > 10, "the patterns match at all"
    assert [match.string for match in found if not match["x"] or phrase.fullmatch(match["x"])] == []


def as_pattern(frame):
    """What the frame makes; "x" is the phrase in it."""
    pattern = re.escape(frame)
    for slot, options in WORDS["slots"].items():
        pattern = pattern.replace(f"<{slot}>", f"(?:{'|'.join(options)})")
    pattern = pattern.replace(r"\{x\}", "(?P<x>.+)").replace(r"\{c\}", r"\w+")
    return re.compile(pattern if "?P<x>" in pattern else f"{pattern}(?P<x>)")
