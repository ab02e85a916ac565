"""The reasoner's pretraining learns, resumes exactly after a kill, and judges answers by hand-computed cases."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="offline stack not installed")

from safetensors.torch import load_file, save_file  # noqa: E402

from tests.training.drawn_rectangles import draw_shard  # noqa: E402
from training.demo_models.pretrain_reasoner import main  # noqa: E402
from training.demo_models.reasoner.evaluation import truth_of  # noqa: E402
from training.demo_models.reasoner.learner import learning_rate  # noqa: E402
from training.demo_models.reasoner_model import demo_profile, train_tokenizer  # noqa: E402
from training.demo_models.recipes.reasoner import Recipe  # noqa: E402
from training.demo_models.shards import ShardFolder, flipped, shifted, things_of  # noqa: E402
from training.demo_models.supervised_text import SupervisedText, Thing, write_supervised_text  # noqa: E402
from training.demo_models.word_noise import MOST_WORDS, add_word_noise  # noqa: E402
from training.evaluation.match_answer import match_answer  # noqa: E402


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    draw_shard(folder / "train" / "shard-00000", 0, 12)
    draw_shard(folder / "val" / "shard-00000", 1, 4)
    return folder


def run(data, out, *more):
    """The weights and the state after a run; what is said in `more` counts instead of what stands here."""
    folders = ["--data", str(data / "train"), "--val", str(data / "val"), "--out", str(out)]
    main([*folders, "--vision-steps", "2", "--vision-images", "4", "--images-per-step", "2", "--questions", "2", *more])
    return load_file(out / "checkpoint" / "model.safetensors"), json.loads(
        (out / "checkpoint" / "training.json").read_text()
    )


def test_a_stopped_run_resumes_exactly(data, tmp_path):
    whole, _ = run(data, tmp_path / "whole", "--steps", "5", "--decay-from", "1.0")
    run(data, tmp_path / "parts", "--steps", "3", "--decay-from", "1.0")
    parts, state = run(data, tmp_path / "parts", "--steps", "5", "--decay-from", "1.0", "--resume")
    assert state["step"] == 5
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_run_begins_from_anothers_checkpoint(data, tmp_path):
    before, _ = run(data, tmp_path / "first", "--steps", "3")
    start = ("--start", str(tmp_path / "first" / "checkpoint"))
    after, state = run(data, tmp_path / "second", "--steps", "0", *start)
    assert state["step"] == 0
    assert all(torch.equal(before[name], after[name]) for name in before)
    heads = [load_file(tmp_path / part / "checkpoint" / "training_heads.safetensors") for part in ("first", "second")]
    assert all(torch.equal(value, heads[1][name]) for name, value in heads[0].items())


def test_a_run_begins_from_weights_without_heads(data, tmp_path):
    """As `bench/checkpoint_of_bundle.py` makes them."""
    before, _ = run(data, tmp_path / "first", "--steps", "3")
    start = tmp_path / "first" / "checkpoint"
    (start / "training_heads.safetensors").unlink()
    after, _ = run(data, tmp_path / "second", "--steps", "0", "--start", str(start))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_tower_of_rate_0_stays_as_it_is_while_the_rest_learns(data, tmp_path):
    before, _ = run(data, tmp_path / "first", "--steps", "0")
    start = ("--start", str(tmp_path / "first" / "checkpoint"))
    more = ("--steps", "2", "--vision-steps", "0", "--vision-rate", "0")
    after, _ = run(data, tmp_path / "second", *start, *more)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not [name for name in changed if ".visual." in name or name.startswith("visual.")]


def test_heads_that_have_grown_since_keep_their_first_rows(data, tmp_path):
    run(data, tmp_path / "first", "--steps", "3")
    file = tmp_path / "first" / "checkpoint" / "training_heads.safetensors"
    heads = load_file(file)
    short = {name: value[:8] if name.startswith("heads.colour") else value for name, value in heads.items()}
    save_file({name: value.contiguous() for name, value in short.items()}, file)
    run(data, tmp_path / "second", "--steps", "0", "--start", str(file.parent))
    grown = load_file(tmp_path / "second" / "checkpoint" / "training_heads.safetensors")["heads.colour.weight"]
    assert grown.shape == heads["heads.colour.weight"].shape
    assert torch.equal(grown[:8], heads["heads.colour.weight"][:8])


def test_the_loss_falls(data, tmp_path):
    run(data, tmp_path, "--steps", "100", "--vision-steps", "100", "--recoloured", "0.3")
    first, *_, last = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert last["kind"] < first["kind"]
    assert last["place"] < first["place"]


def test_the_text_is_the_robots_grammar_and_marks_where_to_look():
    tokenizer, profile = train_tokenizer([], 400), demo_profile()
    mug = Thing(3, "mug", "red", (20.4, 30, 60, 80), (40, 50), 1.0)
    instruction = {
        "type": "attribute", "text": "The red mug.", "targets": [3],
        "thinking": ["To drink: ", {"say": "red mug", "id": 3}, " ", {"at": 3}, "."],
    }  # fmt: skip
    turn = write_supervised_text(tokenizer, profile, instruction, {3: mug})
    assert tokenizer.decode(turn.ids[: turn.prompt_length], skip_special_tokens=True).startswith('Find "the red mug".')
    assert tokenizer.decode(turn.ids[turn.prompt_length :]) == (
        '<think>To drink: red mug (40,50).</think><answer>[{"bbox_2d": [20,30,60,80], "point_2d": [40,50]}]</answer>'
    )
    looked = "".join(tokenizer.decode([i]) for i, thing in zip(turn.ids, turn.objects, strict=True) if thing == 3)
    assert looked == "red mug(40,50)20,30,60,8040,50"


def test_a_moved_picture_moves_its_truth(data):
    image, scene = next(iter(ShardFolder(data / "train", 196)))
    before, after = things_of(scene, 196)[1], things_of(scene, 196, (7, -4))[1]
    assert after.point == (before.point[0] + 7, before.point[1] - 4)
    x, y = (int(v) for v in before.point)
    assert (shifted(image, (7, -4))[y - 4, x + 7] == image[y, x]).all()


def test_a_mirrored_picture_mirrors_its_truth(data):
    image, scene = next(iter(ShardFolder(data / "train", 196)))
    things = things_of(scene, 196)
    mirror, mirrored = image[:, ::-1], flipped(things, 196)
    for n, thing in things.items():
        x, y = (int(v) for v in mirrored[n].point)
        assert (mirror[y, x] == image[y, 195 - x]).all()
        assert mirrored[n].box[2] - mirrored[n].box[0] == pytest.approx(thing.box[2] - thing.box[0])
        assert mirrored[n].box[0] <= mirrored[n].point[0] < mirrored[n].box[2]


def test_made_up_words_come_between_those_that_were_said():
    rng = np.random.default_rng(3)
    said = ["the", "mug", "left", "of", "the", "bowl"]
    for _ in range(50):
        words = add_word_noise(" ".join(said), rng).split()
        rest = iter(words)
        assert all(word in rest for word in said)
        assert 1 <= len(words) - len(said) <= MOST_WORDS


@pytest.mark.parametrize(
    ("answer", "hit", "iou"),
    [
        ('[{"bbox_2d": [0,0,10,10], "point_2d": [5,5]}]', True, 1.0),
        ('[{"bbox_2d": [0,0,10,20], "point_2d": [5,5]}]', False, 0.5),
        ("[]", False, 0.0),
        ('[{"bbox_2d": [0,0,10,10], "point_2d": [5,5]}, {"bbox_2d": [50,50,60,60], "point_2d": [55,55]}]', False, 0.5),
    ],
)
def test_judging_matches_hand_computed_cases(answer, hit, iou):
    things = {1: Thing(1, "mug", "red", (0, 0, 10, 10), (5, 5), 1.0)}
    turn, profile = SupervisedText([], 0, [], "attribute", "the red mug", (1,)), demo_profile()
    row = match_answer(f"<think>x</think><answer>{answer}</answer>", truth_of(turn, things, profile), profile)
    assert (row["hit"], row["iou"]) == (hit, pytest.approx(iou))


def test_the_rate_warms_up_stays_and_falls_to_zero():
    recipe = Recipe(vision_steps=100, steps=1100, decay_from=0.5)
    rates = [learning_rate(step, recipe) for step in (0, 60, 100, 300, 600, 850, 1099)]
    assert rates == pytest.approx([0.02, 1.0, 0.01, 1.0, 1.0, 0.5, 0.002])
