"""Instructions: the truth that comes with them holds up against a second, slower reading of their words."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from segzero_ros.tabletop import TYPES, instructions, meaning, sample_scene
from segzero_ros.tabletop.language.instructions import MAX_THINKING_TOKENS, SHARES
from segzero_ros.tabletop.language.query import Every, Most, Noun, One
from segzero_ros.tabletop.language.speaker import At, Mention, spell, thinking_tokens
from segzero_ros.tabletop.things import HELD_OUT
from tests.tabletop import oracle


@pytest.fixture(scope="module")
def asked_in_training(train_views):
    return [(view, i) for seed, view in enumerate(train_views) for i in instructions(view, seed, "train")]


@pytest.fixture(scope="module")
def asked_in_test(test_views):
    return [(view, i) for seed, view in enumerate(test_views) for i in instructions(view, seed, "test")]


def test_the_same_seed_asks_the_same(train_views) -> None:
    assert instructions(train_views[0], 3, "train") == instructions(train_views[0], 3, "train")
    assert instructions(train_views[0], 3, "train") != instructions(train_views[0], 4, "train")


@pytest.mark.parametrize("kind", TYPES)
def test_the_truth_is_what_a_second_reader_finds(kind, asked_in_training, asked_in_test) -> None:
    asked = [(v, i) for v, i in asked_in_training + asked_in_test if i.type == kind]
    assert len(asked) > 40
    for view, instruction in asked:
        assert oracle.answer(view, kind, instruction.text) == set(instruction.targets), instruction.text


def test_targets_are_clear_and_left_to_right(asked_in_training) -> None:
    for view, instruction in asked_in_training:
        things = [view.thing(number) for number in instruction.targets]
        assert all(thing.clear for thing in things)
        assert [t.box[0] for t in things] == sorted(t.box[0] for t in things)
        assert bool(things) == (instruction.type != "absent")
        assert instruction.targets_in(view) == instruction.targets


def test_every_type_has_about_its_share(asked_in_training) -> None:
    counts = Counter(i.type for _, i in asked_in_training)
    for kind in TYPES:
        assert counts[kind] / len(asked_in_training) == pytest.approx(SHARES[kind], abs=0.06)


def test_each_type_is_worded_in_many_ways(asked_in_training) -> None:
    for kind in TYPES:
        frames = {i.text for _, i in asked_in_training if i.type == kind}
        assert len(frames) >= 20


def test_training_never_names_a_held_out_pair_nor_uses_a_test_wording(asked_in_training) -> None:
    for _, instruction in asked_in_training:
        assert not instruction.unseen_pair
        assert not instruction.unseen_wording
        assert (oracle.colour_in(instruction.text), oracle.kind_in(instruction.text)) not in HELD_OUT


def test_the_test_split_has_held_out_pairs_and_wordings(asked_in_test) -> None:
    pairs = np.mean([i.unseen_pair for _, i in asked_in_test])
    wordings = np.mean([i.unseen_wording for _, i in asked_in_test])
    assert 0.1 < pairs < 0.5
    assert 0.2 < wordings < 0.6


def test_thinking_is_short_and_names_a_thing_before_it_points_at_it(asked_in_training, asked_in_test) -> None:
    for view, instruction in asked_in_training + asked_in_test:
        assert thinking_tokens(instruction.thinking, view) <= MAX_THINKING_TOKENS
        named = set()
        for piece in instruction.thinking:
            if isinstance(piece, Mention):
                named.add(piece.id)
                assert piece.words == view.thing(piece.id).name
            if isinstance(piece, At):
                assert piece.id in named


def test_thinking_mentions_every_target(asked_in_training) -> None:
    for _, instruction in asked_in_training:
        assert set(instruction.targets) <= {p.id for p in instruction.thinking if isinstance(p, Mention)}


def test_thinking_reads_well(train_views) -> None:
    view = next(v for v in train_views if v.things[0].clear)
    thing = view.things[0]
    x, y = (int(c * 168 / s) for c, s in zip(thing.point, view.size, strict=True))
    assert spell((Mention(thing.name, thing.id), " ", At(thing.id), "."), view) == f"{thing.name} ({x},{y})."


def test_what_is_largely_hidden_makes_its_name_unclear(train_views) -> None:
    view = train_views[0]
    thing = view.things[0]
    hidden = replace(view, things=tuple(replace(t, clear=t.id != thing.id) for t in view.things))
    assert meaning(One(Noun(thing.kind, thing.colour)), hidden) is None
    assert meaning(Every(Noun(thing.kind)), hidden) is None


def test_two_that_fit_are_unclear_and_none_is_none(renderer) -> None:
    scene = sample_scene(3, "train", count=2)
    twins = tuple(replace(t, kind="can", colour="red", scale=(1, 1, 1)) for t in scene.things)
    view = renderer.render(replace(scene, things=twins))
    assert meaning(One(Noun("can")), view) is None
    assert meaning(One(Noun("lamp")), view) == ()
    assert meaning(Every(Noun("can")), view) == tuple(t.id for t in view.things)
    assert meaning(Most(Noun("can"), "leftmost"), view) in ((view.things[0].id,), None)


def test_only_the_types_asked_for_are_made(train_views) -> None:
    made = [
        i for seed, view in enumerate(train_views[:10]) for i in instructions(view, seed, "train", types=["spatial"])
    ]
    assert made
    assert {i.type for i in made} == {"spatial"}
