"""Questions about the rich world: their truth holds up against a second reading of their words and of the triangles."""

from collections import Counter

import pytest

from segzero_ros.tabletop import TYPES, instructions
from segzero_ros.tabletop.language.lexicon import lexicon
from segzero_ros.tabletop.language.phrases import form_of
from segzero_ros.tabletop.language.placed import APART
from segzero_ros.tabletop.language.query import EveryPlaced, Holding, Noun, Placed
from segzero_ros.tabletop.language.speaker import At, Mention
from segzero_ros.tabletop.rich.palette import RICH_HELD_OUT
from tests.tabletop.rich import oracle_placed


def asked(views, split, grammar):
    return [(view, i) for seed, view in enumerate(views) for i in instructions(view, seed, split, grammar=grammar)]


@pytest.fixture(scope="module")
def questions(rich_views):
    """By split and grammar."""
    return {
        (split, grammar): asked(views, split, grammar)
        for split, views in rich_views.items()
        for grammar in ("plain", "composed")
    }


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("grammar", ["plain", "composed"])
def test_the_truth_is_what_a_second_reader_finds(kind, grammar, questions) -> None:
    some = [(v, i) for split in ("train", "test") for v, i in questions[split, grammar] if i.type == kind]
    assert len(some) > 8
    for view, i in some:
        assert oracle_placed.answer(view, kind, i.text, grammar) == set(i.targets), i.text


def test_each_of_in_on_and_under_is_asked_about_in_each_way(questions) -> None:
    queries = [i.query for (split, _), some in questions.items() for _, i in some if split == "train"]
    counts = Counter((type(q), q.how) for q in queries if isinstance(q, Placed | EveryPlaced | Holding))
    for query in (Placed, Holding):
        assert all(counts[query, how] >= 3 for how in ("in", "on", "under")), counts
    assert sum(counts[EveryPlaced, how] for how in ("in", "on", "under")) >= 3
    absent = [i.query for _, i in questions["train", "plain"] if i.type == "absent"]
    assert sum(isinstance(query, Placed | Holding) for query in absent) >= 5


def test_training_joins_and_names_nothing_that_is_held_out(questions) -> None:
    for grammar in ("plain", "composed"):
        for _, i in questions["train", grammar]:
            assert not i.unseen_pair and not i.unseen_wording
            nouns = [value for name in i.query.__slots__ if isinstance(value := getattr(i.query, name), Noun)]
            assert not {(c, noun.kind) for noun in nouns for c in (noun.colour, noun.without)} & RICH_HELD_OUT
            if isinstance(i.query, Placed):
                assert (i.query.how, form_of(i.query.noun)) not in APART
    tested = [i for grammar in ("plain", "composed") for _, i in questions["test", grammar]]
    assert any(i.unseen_pair for i in tested) and any(i.unseen_wording for i in tested)


def test_targets_are_clear_and_thought_of_before_they_are_pointed_at(questions) -> None:
    for view, i in questions["train", "plain"]:
        assert all(view.thing(number).clear for number in i.targets)
        assert i.targets_in(view) == i.targets
        named = set()
        for piece in i.thinking:
            if isinstance(piece, Mention):
                named.add(piece.id)
            assert not isinstance(piece, At) or piece.id in named
        assert set(i.targets) <= named


def test_every_word_and_use_of_the_world_has_wordings_and_a_purpose() -> None:
    known = lexicon("rich")
    assert set(known.kind_words) == set(known.kinds)
    assert set(known.uses) == set(known.use_wordings) == set(known.purposes)
    assert set(lexicon("simple").uses) <= set(known.uses)
    for wordings in known.use_wordings.values():
        for texts in (wordings.seen, wordings.unseen):
            assert any("?" not in text for text in texts), "a colour is said after a sentence only"
