"""Questions that join several things: their truth, what is kept apart for testing, and that the plain ones stayed."""

from dataclasses import replace

import pytest

from segzero_ros.tabletop import TYPES, instructions, meaning, sample_scene, samples
from segzero_ros.tabletop.language.composed import MAX_THINKING_TOKENS
from segzero_ros.tabletop.language.composed_wordings import ORDINALS
from segzero_ros.tabletop.language.phrases import KEPT_APART, form_of
from segzero_ros.tabletop.language.query import Beside, Between, Every, For, Most, Nearest, Noun, Nth, One, Sized
from segzero_ros.tabletop.language.speaker import At, Mention, spell, thinking_tokens
from segzero_ros.tabletop.language.wordings import plural
from segzero_ros.tabletop.things import HELD_OUT
from tests.tabletop import oracle_composed
from tests.tabletop.drawn_views import asked_of_drawn, drawn_view

SEEDS = 150


def asked(split, grammar="composed", seeds=SEEDS):
    views = [(seed, drawn_view(sample_scene(seed, split, grammar=grammar))) for seed in range(seeds)]
    return [(view, i) for seed, view in views for i in instructions(view, seed, split, grammar=grammar)]


@pytest.fixture(scope="module")
def asked_in_training():
    return asked("train")


@pytest.fixture(scope="module")
def asked_in_test():
    return asked("test")


ASKED = {
    ("train", "plain"): "4ee00ec09a678cf3",
    ("val", "plain"): "f1353178fc188748",
    ("test", "plain"): "7c8d2bcfffa1aa00",
    ("train", "composed"): "4c524de934afe014",
    ("val", "composed"): "c5cfea707a7d4dec",
    ("test", "composed"): "05e57ecec2cdbd68",
}
"""Of 80 scenes each; the plain ones were taken before there was another grammar."""


@pytest.mark.parametrize(("split", "grammar"), ASKED)
def test_seeds_keep_their_meaning(split, grammar) -> None:
    """Who changes what a seed asks makes old figures incomparable: give what is new a grammar of its own."""
    assert asked_of_drawn(split, grammar) == ASKED[split, grammar]


@pytest.mark.parametrize("kind", TYPES)
def test_the_truth_is_what_a_second_reader_finds(kind, asked_in_training, asked_in_test) -> None:
    some = [(v, i) for v, i in asked_in_training + asked_in_test if i.type == kind]
    assert len(some) > 120
    for view, i in some:
        assert oracle_composed.answer(view, kind, i.text) == set(i.targets), i.text


@pytest.mark.parametrize("query", [One, Every, Most, Nth, Between, Beside, Nearest, Sized, For])
def test_every_kind_of_meaning_is_asked_in_many_ways(query, asked_in_training) -> None:
    assert len({i.text for _, i in asked_in_training if isinstance(i.query, query)}) >= 15


def test_each_question_joins_what_the_plain_ones_do_not(asked_in_training) -> None:
    """Place, size and number: with colour, "not" or any kind; nothing plain but in a clause of other words."""
    for _, i in asked_in_training:
        match i.query:
            case Most(noun) | Sized(noun) | Every(noun) | Beside(noun) | Nearest(noun):
                assert form_of(noun) != "kind" or i.type == "absent"
            case For():
                assert i.query.colour
            case One(noun):
                assert noun.without or len(i.text.split()) > 3


def patterns(query) -> set:
    """What is joined, and with which form of noun."""
    match query:
        case Most(noun, which) | Sized(noun, which) | Beside(noun, which):
            return {(which, form_of(noun))}
        case Nth(noun, rank, side):
            return {(f"{ORDINALS[rank]} {side}", form_of(noun))}
        case Between(noun) | Nearest(noun):
            return {(type(query).__name__.lower(), form_of(noun))}
    return set()


def test_training_joins_nothing_that_is_kept_apart(asked_in_training) -> None:
    for _, i in asked_in_training:
        assert not i.unseen_pair
        assert not i.unseen_wording
        assert not patterns(i.query) & KEPT_APART or i.type == "absent"


def test_what_is_kept_apart_is_asked_in_the_test_split_and_said_to_be_unseen(asked_in_test) -> None:
    apart = [i for _, i in asked_in_test if i.type != "absent" and patterns(i.query) & KEPT_APART]
    rare = {("between", "without"), ("third leftmost", "colour")}
    assert {p for i in apart for p in patterns(i.query)} >= KEPT_APART - rare
    assert all(i.unseen_wording for i in apart)


def test_no_held_out_pair_is_named_in_training(asked_in_training) -> None:
    for view, i in asked_in_training:
        said = i.text + spell(i.thinking, view)
        assert not [f"{colour} {kind}" for colour, kind in HELD_OUT if f"{colour} {kind}" in said]


def test_what_there_is_none_of_is_nearly_there(asked_in_training) -> None:
    """The thinking names a thing that is: of that kind, of that colour, for that use, or on another side."""
    absent = [i for _, i in asked_in_training if i.type == "absent"]
    assert absent
    assert all(i.targets == () and any(isinstance(p, Mention) for p in i.thinking) for i in absent)


def test_thinking_is_short_and_points_at_what_it_has_named(asked_in_training, asked_in_test) -> None:
    for view, i in asked_in_training + asked_in_test:
        assert thinking_tokens(i.thinking, view) <= MAX_THINKING_TOKENS
        named = set()
        for piece in i.thinking:
            if isinstance(piece, Mention):
                named.add(piece.id)
            assert not isinstance(piece, At) or piece.id in named
        assert set(i.targets) <= named


def test_several_are_counted_and_numbered_left_to_right() -> None:
    several = [(v, i) for v, i in asked("train", "mixed", 60) if i.type == "several"]
    assert len(several) > 40
    for view, i in several:
        spots = [f"{n} {view.thing(t).name} (" for n, t in enumerate(i.targets, 1)]
        thinking = spell(i.thinking, view)
        assert thinking.startswith(f"{len(spots)}: 1 ")
        assert [thinking.index(spot) for spot in spots] == sorted(thinking.index(spot) for spot in spots)


def test_the_mixed_grammar_has_questions_of_both() -> None:
    clauses = [bool(i.query.noun.without) for _, i in asked("train", "mixed", 60) if isinstance(i.query, One)]
    assert 0.05 < sum(clauses) / len(clauses) < 0.5


# --- meanings, on things put where they are wanted


def row(*names: str):
    """A view of small things from left to right, one every fifth of the picture, named as "red can"."""
    scene = sample_scene(0, "train", count=len(names), grammar="composed")
    kinds = [name.split() for name in names]
    things = tuple(
        replace(thing, kind=kind, colour=colour) for thing, (colour, kind) in zip(scene.things, kinds, strict=True)
    )
    view = drawn_view(replace(scene, things=things))
    seen = {thing.id: thing for thing in view.things}
    placed = tuple(
        replace(seen[n], box=(x - 10, 100, x + 10, 120), position=(x / 100, 0.0, 0.0), clear=True, pixels=400)
        for n, x in ((n, 30 + 60 * (n - 1)) for n in range(1, len(names) + 1))
    )
    return replace(view, things=placed)


def test_one_counts_from_the_side_that_is_said() -> None:
    view = row("red can", "blue can", "red can", "green mug")
    assert meaning(Nth(Noun("can"), 2, "leftmost"), view) == (2,)
    assert meaning(Nth(Noun("can", "red"), 2, "leftmost"), view) == (3,)
    assert meaning(Nth(Noun("can"), 3, "rightmost"), view) == (1,)
    assert meaning(Nth(Noun("can", "red"), 3, "leftmost"), view) == ()
    assert meaning(Nth(Noun("mug"), 2, "leftmost"), view) is None


def test_two_at_the_same_place_cannot_be_counted() -> None:
    view = row("red can", "blue can", "red can")
    beside = replace(view, things=(view.things[0], replace(view.things[1], box=view.things[0].box), view.things[2]))
    assert meaning(Nth(Noun("can"), 2, "leftmost"), beside) is None


def test_between_is_neither_beyond_nor_one_of_the_two() -> None:
    view = row("red can", "blue mug", "green can", "white can")
    assert meaning(Between(Noun("mug"), Noun("can", "red"), Noun("can", "green")), view) == (2,)
    assert meaning(Between(Noun("can"), Noun("can", "red"), Noun("can", "white")), view) == (3,)
    assert meaning(Between(Noun("mug"), Noun("can", "green"), Noun("can", "white")), view) == ()
    assert meaning(Between(Noun(), Noun("can", "red"), Noun("can", "white")), view) is None  # two are
    assert meaning(Between(Noun("mug"), Noun("can", "red"), Noun("can", "red")), view) is None


def test_not_red_is_any_other_colour() -> None:
    view = row("red can", "blue can", "red can", "green mug")
    assert meaning(One(Noun("can", without="red")), view) == (2,)
    assert meaning(Every(Noun("can", without="blue")), view) == (1, 3)
    assert meaning(One(Noun("mug", without="green")), view) == ()


def test_a_use_and_a_colour() -> None:
    view = row("red can", "blue can", "green mug", "red ball")
    assert meaning(For("drink", "red"), view) == (1,)
    assert meaning(For("drink"), view) is None
    assert meaning(For("play", "blue"), view) == ()


def test_coloured_plurals() -> None:
    assert plural("white dish") == "white dishes"
    assert plural("red pot plant") == "red pot plants"


def test_composed_samples_are_the_same_for_the_same_seed() -> None:
    first, again = (list(samples("test", 7, 3, (160, 120), "composed")) for _ in range(2))
    assert [s.instruction for s in first] == [s.instruction for s in again]
