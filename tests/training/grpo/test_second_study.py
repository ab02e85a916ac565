"""The second study of docs/reinforcement.md: its questions, its base's texts, its pilot, its stages at tiny size."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="offline stack not installed")
pytest.importorskip("trl", reason="offline stack not installed")

from safetensors.torch import load_file  # noqa: E402

from segzero_ros.errors import RejectedInput  # noqa: E402
from tests.training.drawn_rectangles import draw_shard  # noqa: E402
from training.demo_models.reasoner_model import build_model, demo_profile, train_tokenizer  # noqa: E402
from training.demo_models.supervised_text import Thing  # noqa: E402
from training.grpo.main import grounded_settings  # noqa: E402
from training.grpo.options import NO_THINKING  # noqa: E402
from training.grpo.questions import ShardQuestions  # noqa: E402
from training.grpo.scoring import Scorer  # noqa: E402
from training.grpo.study.answers import choose_questions  # noqa: E402
from training.grpo.study.arms import SECOND, SETTINGS, RequiredScorer, arm_arguments  # noqa: E402
from training.grpo.study.main import main  # noqa: E402
from training.grpo.study.naming import SHARES, THINKS, lesson, listed  # noqa: E402
from training.grpo.study.orders import (  # noqa: E402
    EVERY,
    NOUNS,
    SIDES,
    TYPES,
    held_out,
    make_data,
    questions,
    write_questions,
)
from training.grpo.study.pilot import behind, by_sort, sort_of  # noqa: E402

PROFILE = demo_profile()


def thing(number, colour, kind, x, foot, visible=1.0):
    return Thing(number, kind, colour, (x - 10.0, foot - 20.0, x + 10.0, foot), (float(x), foot - 10.0), visible)


THINGS = {
    1: thing(1, "red", "mug", 120, 150),
    2: thing(2, "blue", "mug", 40, 100),
    3: thing(3, "green", "mug", 80, 60),
    4: thing(4, "red", "lamp", 160, 190),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A random model, drawn shards in whose every scene two boxes stand side by side, and the questions about them."""
    folder = tmp_path_factory.mktemp("second")
    for seed, name in enumerate(("train", "test", "pilot")):
        draw_shard(folder / name / "shard-00000", seed, 6)
        twins(folder / name / "shard-00000" / "scenes.jsonl")
    torch.manual_seed(3)
    tokenizer = train_tokenizer([PROFILE.system, PROFILE.render("the red mug")] * 3, 400)
    build_model(tokenizer).save_pretrained(folder / "model")
    tokenizer.save(str(folder / "model" / "tokenizer.json"))
    make_data(*(folder / name for name in ("train", "test", "pilot")), folder / "data")
    return folder


def twins(file):
    scenes = [json.loads(line) for line in file.read_text().splitlines()]
    for scene in scenes:
        first = scene["objects"][0] | {"kind": "box", "visible": 1.0, "box": [0.1, 0.1, 0.3, 0.3], "point": [0.2, 0.2]}
        scene["objects"] = [first, first | {"id": 9, "box": [0.6, 0.5, 0.8, 0.8], "point": [0.7, 0.6]}]
    file.write_text("".join(json.dumps(scene) + "\n" for scene in scenes))


# ---- questions ----


def test_a_question_is_answered_by_the_thing_that_stands_there():
    asked = {one["text"]: one["targets"] for one in questions(THINGS)}
    assert asked["the leftmost mug"] == [2]
    assert asked["the frontmost mug"] == [1]
    assert asked["the second mug from the back"] == [2]
    assert asked["the rightmost red thing"] == [4]
    assert asked["the next mug right of the blue mug"] == [3]
    assert asked["the next mug left of the red mug"] == [3]
    assert not [text for text in asked if "lamp" in text], "a lamp alone has no order"


def test_who_is_meant_among_whom_is_said_with_the_question():
    found = {one["text"]: set(one["candidates"]) for one in questions(THINGS)}
    assert found["the leftmost mug"] == {1, 2, 3}
    assert found["the leftmost red thing"] == {1, 4}


def test_things_that_stand_abreast_or_are_hidden_are_not_asked_about():
    abreast = THINGS | {3: thing(3, "green", "mug", 44, 60)}
    assert not [one for one in questions(abreast) if "mug" in one["text"] and "left" in one["text"]]
    hidden = THINGS | {3: thing(3, "green", "mug", 80, 60, visible=0.2)}
    assert not [one for one in questions(hidden) if "mug" in one["text"]]


def test_a_quarter_of_the_pairs_is_held_out_and_every_noun_and_side_is_in_the_rest():
    pairs = {(noun, side): held_out(noun, side) for noun in NOUNS for side in SIDES}
    assert sum(pairs.values()) == pytest.approx(len(pairs) / EVERY, abs=1)
    rest = [pair for pair, out in pairs.items() if not out]
    assert {noun for noun, _ in rest} == set(NOUNS) and {side for _, side in rest} == set(SIDES)


def test_no_question_is_in_and_out_of_distribution(world):
    texts = {
        name: {one.question.text for one in choose_questions(world / "data" / name, 99)}
        for name in ("train", "pilot", "in", "ood")
    }
    assert all(texts.values())
    assert not texts["ood"] & (texts["train"] | texts["in"] | texts["pilot"])


def test_shards_without_an_order_are_refused(world, tmp_path):
    with pytest.raises(RejectedInput, match="got no question"):
        write_questions([], tmp_path, ood=False)


# ---- the base's texts ----


def test_what_the_base_lists_does_not_depend_on_what_is_asked():
    """Nothing reasons towards an answer: of a lesson with other questions the lists are as likely."""
    rng = np.random.default_rng(0)
    made = [one for _ in range(3000) for one in lesson(THINGS, 1, rng) if one["thinking"]]
    holds = {
        kind: np.mean([{1, 2, 3} <= {piece["at"] for piece in one["thinking"] if "at" in piece} for one in some])
        for kind in ("name", "first", "second", "next")
        if (some := [one for one in made if one["type"] == kind])
    }
    assert set(holds) == set(SHARES)
    assert max(holds.values()) - min(holds.values()) < 0.12, holds


def test_the_base_lists_one_kind_or_one_colour_whole_left_to_right():
    rng = np.random.default_rng(0)
    lists = {tuple(piece["at"] for piece in listed(THINGS, rng) if "at" in piece) for _ in range(200)}
    assert lists == {(2, 3, 1), (1, 4), (2,), (3,), (4,)}


def test_the_base_thinks_as_often_as_it_says_and_never_out_of_distribution():
    rng = np.random.default_rng(0)
    made = [one for _ in range(400) for one in lesson(THINGS, 4, rng)]
    assert np.mean([bool(one["thinking"]) for one in made]) == pytest.approx(THINKS, abs=0.05)
    assert not [one["text"] for one in made if one["ood"]]
    assert {one["type"] for one in made} == {"name", *TYPES}


def test_the_base_s_layers_of_language_are_new_and_its_tower_is_the_checkpoint_s(world, tmp_path):
    words = ["--start", str(world / "model"), "--data", str(world / "train"), "--out", str(tmp_path), "--steps", "1"]
    assert main(["naming", "--fresh", *words]) == 0
    before, after = (load_file(f / "model.safetensors") for f in (world / "model", tmp_path / "checkpoint"))
    assert all(torch.equal(before[name], after[name]) for name in before if "visual" in name)
    matrices = [name for name in before if ".layers." in name and before[name].ndim == 2]
    likeness = [torch.corrcoef(torch.stack([before[n].flatten(), after[n].flatten()]))[0, 1] for n in matrices]
    assert matrices and max(map(abs, likeness)) < 0.1
    [words_of] = [name for name in before if "embed_tokens" in name]
    assert (before[words_of] - after[words_of]).abs().max() < 0.1, "the vectors of the words are kept"


# ---- pilot and arms ----


def test_the_pilot_sorts_answers_by_what_their_thinking_names(world):
    one = choose_questions(world / "data" / "pilot", 1)[0]
    whole = behind(one, "candidates")
    assert sort_of(whole, one) == "names all"
    assert sort_of(NO_THINKING + "[]</answer>", one) == "empty"
    assert sort_of("<think>red mug (1,1).</think><answer>[]</answer>", one) == "names others"
    assert sort_of("<think>red mug", one) == "unreadable"
    found = by_sort([whole, whole, NO_THINKING], [one] * 3)
    assert (found["names all"]["answers"], found["empty"]["answers"]) == (2, 1)


def test_the_pilot_and_an_arm_of_the_second_study_run(world, tmp_path):
    pilot = ["pilot", "--base", str(world / "model"), "--data", str(world / "data" / "pilot"), "--count", "2"]
    assert main([*pilot, "--times", "2", "--out", str(tmp_path / "pilot.json")]) == 0
    found = json.loads((tmp_path / "pilot.json").read_text())
    assert found["questions"] == 2 and sum(some["answers"] for some in found["sampled"].values()) == 4
    words = ["none", "--second", "--seed", "0", "--base", str(world / "model"), "--data", str(world / "data")]
    assert main([*words, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "none-0" / "checkpoint-0" / "config.json").exists()


def test_the_second_study_s_arms_differ_from_the_first_s_in_size_and_questions_only(tmp_path):
    first, second = (
        vars(arm_arguments("free", 0, tmp_path, tmp_path, tmp_path, (), settings)) for settings in (SETTINGS, SECOND)
    )
    assert {name for name in first if first[name] != second[name]} <= {
        "steps",
        "samples",
        "lr",
        "warmup",
        "mix",
        "evaluate_every",
        "evaluate_count",
        "save_every",
        "per_picture",
    }


def test_an_answer_without_thinking_earns_nothing_where_thinking_is_required(world):
    data = ShardQuestions(world / "data" / "train", PROFILE)
    given = "grounded_v3", PROFILE, data, grounded_settings(SECOND["v3"])
    box = [round(value) for value in data[0].truth.boxes[0]]
    said = f'[{{"bbox_2d": {box}, "point_2d": {box[:2]}}}]</answer>'
    texts = [f"{NO_THINKING}{said}", f"<think>red mug (1,2).</think><answer>{said}"]
    plain, paid = (kind(*given).score(texts, [0, 0], [5, 9], [0.0, 0.0], 2) for kind in (Scorer, RequiredScorer))
    assert [one.total for one in paid] == [0.0, plain[1].total] and plain[0].total > 1
