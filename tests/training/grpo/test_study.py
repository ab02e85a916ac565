"""The study of docs/reinforcement.md: its questions, its base's texts, its arms at tiny size, its intervals."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="offline stack not installed")
pytest.importorskip("trl", reason="offline stack not installed")

from safetensors.torch import load_file  # noqa: E402

from segzero_ros.errors import RejectedInput  # noqa: E402
from tests.training.drawn_rectangles import draw_shard  # noqa: E402
from training.demo_models.reasoner_model import SIZE, build_model, demo_profile, train_tokenizer  # noqa: E402
from training.demo_models.shards import ShardFolder, things_of  # noqa: E402
from training.evaluation.match_answer import match_answer  # noqa: E402
from training.grpo.main import grounded_settings  # noqa: E402
from training.grpo.options import NO_THINKING  # noqa: E402
from training.grpo.questions import ShardQuestions  # noqa: E402
from training.grpo.resume import checkpoints  # noqa: E402
from training.grpo.scoring import Scorer  # noqa: E402
from training.grpo.study.answers import CAUSAL, CAUSAL_FILE, FILE, ask_runs  # noqa: E402
from training.grpo.study.arms import ARMS, SETTINGS, RandomScorer, arm_arguments, true_answer  # noqa: E402
from training.grpo.study.asking import ask, open_policy  # noqa: E402
from training.grpo.study.main import ARM_NAMES, main  # noqa: E402
from training.grpo.study.measures import candidates, named_things, paired_interval, swapped  # noqa: E402
from training.grpo.study.skills import SkillBatches, direct, skills, unrelated_thinking, yes_no  # noqa: E402
from training.grpo.study.splits import held_out_part, make_data, trained_on, unseen  # noqa: E402

PROFILE = demo_profile()
TINY = (
    "--steps",
    "2",
    "--prompts-per-step",
    "2",
    "--samples",
    "2",
    "--response",
    "12",
    "--save-every",
    "2",
    "--mix",
    "",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A random model, drawn shards that ask questions of the study's kinds, and the study's data of them."""
    folder = tmp_path_factory.mktemp("study")
    for name, seed in (("train", 0), ("test", 1)):
        draw_shard(folder / name / "shard-00000", seed, 8)
        ask_spatially(folder / name / "shard-00000" / "scenes.jsonl")
    torch.manual_seed(3)
    tokenizer = train_tokenizer([PROFILE.system, PROFILE.render("the red mug")] * 3, 400)
    build_model(tokenizer).save_pretrained(folder / "model")
    tokenizer.save(str(folder / "model" / "tokenizer.json"))
    make_data(folder / "train", folder / "test", folder / "data")
    return folder


def ask_spatially(file):
    """Two questions in place of each scene's own: one that is trained on, one that is held out by a word."""
    scenes = [json.loads(line) for line in file.read_text().splitlines()]
    for scene in scenes:
        ends = {"type": "spatial", "thinking": [], "targets": [scene["objects"][0]["id"]]}
        scene["instructions"] = [ends | {"text": "the leftmost thing"}, ends | {"text": "the leftmost tin"}]
    file.write_text("".join(json.dumps(scene) + "\n" for scene in scenes))


def instruction(text, targets=(1,), kind="spatial"):
    return {"type": kind, "text": text, "targets": list(targets), "thinking": ["The answer is 1."]}


# ---- questions ----


@pytest.mark.parametrize(
    ("text", "targets", "part"),
    [
        ("the tin on the right", (1,), "words"),
        ("all the mugs", (1, 2, 3, 4), "four"),
        ("the red mug left of the lamp", (1,), "pair"),
        ("take the farthest green thing", (1,), "pair"),
        ("the red mug right of the lamp", (1,), ""),
        ("all the mugs", (1, 2, 3), ""),
        ("the tinted mug", (1,), ""),
    ],
)
def test_a_question_is_held_out_by_word_group_or_pair(text, targets, part):
    assert held_out_part(instruction(text, targets)) == part
    assert unseen(instruction(text, targets)) == bool(part)
    assert trained_on(instruction(text, targets)) == (not part)


def test_questions_of_other_kinds_are_not_asked():
    one = instruction("the tin", kind="attribute")
    assert not unseen(one) and not trained_on(one)


def test_no_question_is_in_two_of_the_study_s_folders(world):
    texts = {
        name: {ShardQuestions(world / "data" / name, PROFILE)[n].text for n in range(8)}
        for name in ("train", "in", "ood")
    }
    assert texts == {"train": {"the leftmost thing"}, "in": {"the leftmost thing"}, "ood": {"the leftmost tin"}}


def test_shards_without_a_question_of_the_study_are_refused(tmp_path):
    draw_shard(tmp_path / "train" / "shard-00000", 0, 2)
    with pytest.raises(RejectedInput, match="without a question"):
        make_data(tmp_path / "train", tmp_path / "train", tmp_path / "out")


# ---- the base's texts ----


def scene_things(world):
    _, (_, scene), *_ = ShardFolder(world / "train", SIZE)  # of three things, about which more can be asked
    return things_of(scene, SIZE)


def test_the_base_s_thinking_does_not_depend_on_what_is_asked(world):
    """Nothing reasons towards an answer: whatever is asked and meant, the same draw gives the same thinking."""
    things = scene_things(world)
    for seed in range(50):
        one = direct(instruction("the mug", (1,)), things, np.random.default_rng(seed))
        other = direct(instruction("all lamps", (2, 1), "several"), things, np.random.default_rng(seed))
        assert one["thinking"] == other["thinking"]


def test_a_fifth_of_the_base_s_direct_answers_has_an_unrelated_thinking_and_the_rest_none(world):
    things, rng = scene_things(world), np.random.default_rng(0)
    thoughts = [direct(instruction("the mug"), things, rng)["thinking"] for _ in range(1000)]
    assert 0.15 < np.mean([bool(thought) for thought in thoughts]) < 0.25
    named = {thought[1]["id"] for thought in thoughts if thought}
    assert named == set(things), "anything of the picture comes first, not only what is meant"


def test_no_text_of_the_base_is_out_of_distribution(world):
    things, rng = scene_things(world), np.random.default_rng(0)
    said = [instruction("the tin on the left"), instruction("the mug left of the lamp"), instruction("the dish")]
    made = [one for _ in range(60) for one in skills(said, things, 6, rng)]
    assert {one["type"] for one in made} == {"spatial", "caption", "yes_no"}
    assert not [one["text"] for one in made if held_out_part(one)]


def test_yes_no_says_what_the_picture_shows(world):
    things, rng = scene_things(world), np.random.default_rng(0)
    told = [one for _ in range(200) if (one := yes_no(things, rng))]
    assert {one["answer"][0] for one in told} == {"yes", "no"}
    for one in told:
        words = one["text"].removeprefix("is the ").removesuffix("?")
        for relation, sign in (("left of", -1), ("right of", 1)):
            first, found, second = words.partition(f" {relation} the ")
            if found:
                place = {f"{t.colour} {t.kind}": (t.box[0] + t.box[2]) / 2 for t in things.values()}
                assert (one["answer"] == ["yes"]) == (sign * (place[first] - place[second]) > 0)


def test_captions_answer_in_words_behind_an_empty_thinking(world):
    tokenizer = open_policy(world / "model").processor.tokenizer.backend_tokenizer
    batches = SkillBatches(ShardFolder(world / "train", SIZE), tokenizer, PROFILE, None)
    things = scene_things(world)
    thing = things[1]
    pieces = [{"say": "red mug", "id": 1}, " ", {"at": 1}, "."]
    made = batches.example({"type": "caption", "text": "what is there?", "targets": [], "answer": pieces}, things)
    text = tokenizer.decode(made.ids[made.prompt_length :], skip_special_tokens=False)
    x, y = map(round, thing.point)
    assert text == f"<think></think><answer>red mug ({x},{y}).</answer><|im_end|>"


def test_the_base_is_taught_and_can_be_asked(world, tmp_path):
    words = ["--start", str(world / "model"), "--data", str(world / "train"), "--out", str(tmp_path), "--steps", "1"]
    assert main(["base", *words]) == 0
    before, after = (load_file(f / "model.safetensors") for f in (world / "model", tmp_path / "checkpoint"))
    changed = [name for name, weight in before.items() if not torch.equal(weight, after[name])]
    assert changed and not [name for name in changed if "visual" in name]
    assert ask(open_policy(tmp_path / "checkpoint"), [ShardQuestions(world / "data" / "in", PROFILE)[0]], [""])


# ---- rewards and arms ----


def answer(box, thinking=""):
    point = [(box[0] + box[2]) // 2, (box[1] + box[3]) // 2]
    return f'<think>{thinking}</think><answer>[{{"bbox_2d": {list(box)}, "point_2d": {point}}}]</answer>'


def test_the_reward_pays_for_boxes_count_and_form_and_nothing_for_thinking(world):
    questions = ShardQuestions(world / "data" / "train", PROFILE)
    scorer = Scorer("grounded_v3", PROFILE, questions, grounded_settings(SETTINGS["v3"]))
    box = tuple(round(value) for value in questions[0].truth.boxes[0])
    long = " ".join(f"thing {n}" for n in range(60))
    texts = [answer(box), answer(box, "a red mug"), answer(box, long), answer((0, 0, 9, 9))]
    plain, short, wordy, wrong = (one.total for one in scorer.score(texts, [0] * 4, [2, 6, 300, 2], [0.0] * 4, 4))
    assert plain == short == wordy > 1.2
    assert wrong < plain - 0.5


def test_random_rewards_say_nothing_of_the_text_and_are_the_same_again(world):
    questions = ShardQuestions(world / "data" / "train", PROFILE)
    scorer = RandomScorer("grounded_v3", PROFILE, questions, grounded_settings(""), None, 4)
    first = scorer.score(["right"] * 8, [0] * 8, [1] * 8, [0.0] * 8, 8)
    second = scorer.score(["wrong"] * 8, [0] * 8, [9] * 8, [0.0] * 8, 8)
    assert [one.total for one in first] == [one.total for one in second]
    assert len({one.total for one in first}) == 8


def test_the_arms_differ_in_what_their_options_say_and_in_nothing_else(tmp_path):
    made = {name: vars(arm_arguments(name, 1, tmp_path, tmp_path, tmp_path)) for name in ARMS}
    assert {name for name, args in made.items() if not args["thinking"]} == {"empty"}
    assert len({json.dumps(args | {"thinking": None}, default=str, sort_keys=True) for args in made.values()}) == 1
    assert set(ARM_NAMES) == set(ARMS)


def test_the_answer_that_supervision_teaches_is_the_true_one(world):
    question = ShardQuestions(world / "data" / "train", PROFILE)[0]
    text = true_answer(question)
    assert text.startswith(NO_THINKING)
    assert match_answer(text, question.truth, PROFILE)["hit"]
    assert ", " not in text.partition('"bbox_2d": [')[2].partition("]")[0]


def test_a_forced_thinking_is_what_the_answer_begins_with(world):
    policy, question = open_policy(world / "model"), ShardQuestions(world / "data" / "in", PROFILE)[0]
    free, empty = ask(policy, [question, question], ["", NO_THINKING])
    assert empty.startswith(NO_THINKING)
    assert not free.startswith(NO_THINKING), "a random model begins with anything but this"


@pytest.mark.parametrize("arm", sorted(ARMS))
def test_every_arm_runs_two_steps_and_is_asked(world, arm, tmp_path):
    words = [arm, "--seed", "0", "--base", str(world / "model"), "--data", str(world / "data"), "--out", str(tmp_path)]
    assert main([*words, "--", *TINY, "--evaluate-count", "0", "--entropy", "0.1"]) == 0
    last = checkpoints(tmp_path / f"{arm}-0")[-1]
    before, after = (load_file(folder / "model.safetensors") for folder in (world / "model", last))
    changed = [name for name, weight in before.items() if not torch.equal(weight, after[name])]
    assert bool(changed) == (arm != "none")
    assert not [name for name in changed if "visual" in name], "the tower stays as it is"
    [file] = ask_runs(world / "data", tmp_path, {"ood": 3, "in": 2})
    assert file.name == FILE and len(file.read_text().splitlines()) == 5
    causal = file.with_name(CAUSAL_FILE)
    assert causal.exists() == (arm == "free")
    if arm == "free":
        told = [json.loads(line) for line in causal.read_text().splitlines()]
        assert [row["how"] for row in told] == [how for how in CAUSAL for _ in range(3)]


# ---- measures ----


def test_a_difference_between_equal_arms_is_nothing_and_a_true_one_is_found():
    rng = np.random.default_rng(0)
    right = (rng.random((2, 400)) < 0.5).astype(float)
    same = paired_interval(right, right)
    assert same == {"value": 0.0, "low": 0.0, "high": 0.0}
    better = np.maximum(right, rng.random((2, 400)) < 0.3)
    found = paired_interval(right, better)
    assert 0 < found["low"] < found["value"] < found["high"]
    assert found["value"] == pytest.approx((better - right).mean(), abs=1e-4)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    pairs = [((rng.random((2, 150)) < 0.5) * 1.0, (rng.random((2, 150)) < 0.6) * 1.0) for _ in range(25)]
    found = [paired_interval(*pair) for pair in pairs]
    assert np.mean([one["low"] <= 0.1 <= one["high"] for one in found]) > 0.85


def test_arms_with_other_questions_are_not_compared():
    with pytest.raises(ValueError, match="the same seeds and questions"):
        paired_interval(np.zeros((2, 3)), np.zeros((2, 4)))


def test_a_thinking_names_a_thing_by_colour_kind_and_place_together():
    things = [
        {"id": 1, "colour": "red", "kind": "mug", "box": [0.1, 0.1, 0.3, 0.3]},
        {"id": 2, "colour": "red", "kind": "mug", "box": [0.6, 0.6, 0.8, 0.8]},
        {"id": 3, "colour": "blue", "kind": "box", "box": [0.4, 0.1, 0.5, 0.3]},
    ]
    assert named_things("red mug (40,40), red mug (140,140).", things, 196) == {1, 2}
    assert named_things("blue mug (40,40). red mug (90,40).", things, 196) == set()
    assert candidates([1], things) == {1, 2}
    assert candidates([3], things) == {3}


def test_a_swapped_thinking_is_never_one_s_own():
    assert swapped(["a", "b", "c", "d"]) == ["c", "d", "a", "b"]


def test_thinkings_may_name_any_number_of_things_up_to_three(world):
    things, rng = scene_things(world), np.random.default_rng(0)
    counts = {sum(isinstance(p, dict) and "say" in p for p in unrelated_thinking(things, rng)) for _ in range(60)}
    assert counts == set(range(1, min(3, len(things)) + 1))
