"""The reasoner's training learns from pictures of the rich world, alone or beside the simple one's."""

import json
import shutil

import pytest

torch = pytest.importorskip("torch", reason="offline stack not installed")

from safetensors.torch import load_file  # noqa: E402

from segzero_ros.errors import RejectedInput  # noqa: E402
from segzero_ros.tabletop.language.lexicon import lexicon  # noqa: E402
from segzero_ros.tabletop.things import KINDS  # noqa: E402
from tests.training.drawn_rectangles import draw_shard  # noqa: E402
from training.demo_models.device.clock import Schedule  # noqa: E402
from training.demo_models.pretrain_reasoner import Batches, main  # noqa: E402
from training.demo_models.reasoner.learner import Learner, Optimiser  # noqa: E402
from training.demo_models.reasoner_model import build_model, demo_profile, learn_tokenizer, train_tokenizer  # noqa: E402
from training.demo_models.recipes.reasoner import Recipe  # noqa: E402
from training.demo_models.recipes.shapes import Shape  # noqa: E402
from training.demo_models.shards import ShardFolder  # noqa: E402

SMALL = ("--vision-images", "3", "--images-per-step", "2", "--questions", "2", "--spoken", "0.4")


@pytest.fixture(scope="module")
def mixed(rich_data, tmp_path_factory):
    """A shard of each world in train/, the simple one first."""
    folder = tmp_path_factory.mktemp("mixed")
    draw_shard(folder / "train" / "shard-00000", 0, 8)
    shutil.copytree(rich_data / "train" / "shard-00000", folder / "train" / "shard-00001")
    shutil.copytree(rich_data / "val", folder / "val")
    return folder


@pytest.fixture(scope="module")
def simple(tmp_path_factory):
    """A run of the simple world: its folder of data, and where its checkpoint is."""
    folder = tmp_path_factory.mktemp("simple")
    for name in ("train", "val"):
        draw_shard(folder / name / "shard-00000", 0, 6)
    assert run(folder, folder / "out", "--steps", "3", "--vision-steps", "2") == 0
    return folder


def run(data, out, *more):
    folders = ["--data", str(data / "train"), "--val", str(data / "val"), "--out", str(out)]
    return main([*folders, *SMALL, *more])


def weights(out):
    """Of the model and of its heads, and what training.json says."""
    place = out / "checkpoint"
    said = json.loads((place / "training.json").read_text())
    return load_file(place / "model.safetensors"), load_file(place / "training_heads.safetensors"), said


def test_the_kinds_of_the_rich_world_begin_with_those_of_the_simple_one():
    assert lexicon("rich").kinds[: len(KINDS)] == lexicon("simple").kinds == KINDS


def test_the_loss_falls(rich_data):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape, recipe = Shape(112, 64, 2, 64, 2, 64, (1,)), Recipe(vision_steps=0, images=4, questions=2, spoken=0.4)
    profile, folder = demo_profile(shape), ShardFolder(rich_data / "train", shape.size)
    tokenizer = learn_tokenizer(folder, profile)
    batches = Batches(folder, tokenizer, profile, recipe, Schedule(60))
    learner = Learner(build_model(tokenizer, shape), tokenizer, profile, "rich")
    optimiser = Optimiser(learner, recipe)

    def asked():
        with torch.no_grad():
            return {name: value.item() for name, value in learner.losses(batches.make(1000)).items()}

    before = asked()
    for step in range(30):
        learner.losses(batches.make(step))["total"].backward()
        optimiser.step(100 + step)
    after = asked()
    torch.set_num_threads(threads)
    for name in ("kind", "speak", "total"):
        assert after[name] < 0.85 * before[name], (name, before, after)
    assert after["token_right"] > before["token_right"] + 0.1


def test_a_run_of_both_worlds_resumes_exactly(mixed, tmp_path):
    assert run(mixed, tmp_path / "whole", "--steps", "4", "--vision-steps", "1", "--decay-from", "1") == 0
    assert run(mixed, tmp_path / "parts", "--steps", "2", "--vision-steps", "1", "--decay-from", "1") == 0
    assert run(mixed, tmp_path / "parts", "--steps", "4", "--vision-steps", "1", "--decay-from", "1", "--resume") == 0
    (whole, heads, said), (parts, other, _) = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert said["world"] == "rich" and len(heads["heads.kind.weight"]) == 27
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    assert all(torch.equal(value, other[name]) for name, value in heads.items())


def test_pictures_of_both_worlds_are_learned_from(mixed):
    folder = ShardFolder(mixed / "train", 196)
    recipe = Recipe(vision_steps=0, images=8, questions=2, recoloured=1.0, spoken=0.5)
    batches = Batches(folder, train_tokenizer([], 400), demo_profile(), recipe, Schedule(9))
    kinds = torch.cat([batch.things.kind[batch.things.visible > 0] for batch in map(batches.make, range(4))])
    assert (kinds < len(KINDS)).any() and (kinds >= len(KINDS)).any()


def test_a_rich_run_begins_from_a_simple_checkpoint(rich_data, simple, tmp_path):
    start = ("--start", str(simple / "out" / "checkpoint"))
    assert run(rich_data, tmp_path / "as-it-was", "--steps", "0", *start) == 0
    (before, old, said), (after, new, grown) = weights(simple / "out"), weights(tmp_path / "as-it-was")
    assert (said["world"], grown["world"]) == ("simple", "rich")
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    for name in ("heads.kind.weight", "heads.kind.bias"):
        assert torch.equal(old[name][:-1], new[name][: len(KINDS)])
        assert torch.equal(old[name][-1], new[name][-1]), "nothing is the last one in both"
    assert torch.equal(old["heads.colour.weight"], new["heads.colour.weight"])
    assert run(rich_data, tmp_path / "on", "--steps", "2", "--vision-steps", "1", *start) == 0


def test_a_simple_run_begins_from_a_rich_checkpoint(rich_data, simple, tmp_path):
    assert run(rich_data, tmp_path / "rich", "--steps", "0") == 0
    start = ("--start", str(tmp_path / "rich" / "checkpoint"))
    assert run(simple, tmp_path / "simple", "--steps", "0", *start) == 0
    (_, old, _), (_, new, _) = weights(tmp_path / "rich"), weights(tmp_path / "simple")
    assert torch.equal(old["heads.kind.weight"][: len(KINDS)], new["heads.kind.weight"][:-1])
    assert torch.equal(old["heads.kind.weight"][-1], new["heads.kind.weight"][-1])


def test_a_simple_run_takes_no_rich_pictures_when_it_goes_on(mixed, simple, tmp_path, capsys):
    shutil.copytree(simple / "out", tmp_path / "out")
    assert run(mixed, tmp_path / "out", "--steps", "5", "--vision-steps", "2", "--resume") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "got pictures of the rich world, but this run is of the simple one" in line


def test_a_folder_of_simple_pictures_takes_no_rich_ones_that_appear(mixed, tmp_path):
    shutil.copytree(mixed / "train" / "shard-00000", tmp_path / "shard-00000")
    folder = ShardFolder(tmp_path, 196)
    shutil.copytree(mixed / "train" / "shard-00001", tmp_path / "shard-00001")
    with pytest.raises(RejectedInput, match="shard-00001: got pictures of the rich world"):
        folder.refresh()
    assert ShardFolder(tmp_path, 196).world == "rich"


def test_rich_pictures_that_appear_in_a_simple_run_with_workers_end_it_in_one_line(mixed, simple, tmp_path, capsys):
    folder = tmp_path / "data"
    shutil.copytree(simple / "train", folder / "train")
    shutil.copytree(simple / "val", folder / "val")
    real = Schedule.at

    def late(self, step):
        if not (folder / "train" / "shard-00001").exists():
            shutil.copytree(mixed / "train" / "shard-00001", folder / "part")
            (folder / "part").rename(folder / "train" / "shard-00001")
        return real(self, step)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Schedule, "at", late)
        patched.setattr("training.demo_models.device.store.WAIT_S", 0.01)
        tiny = ("--vision-images", "1", "--vision-steps", "400", "--steps", "400", "--workers", "1")
        assert run(folder, tmp_path / "out", *tiny) == 2
    assert "this run is of the simple one" in capsys.readouterr().err.splitlines()[-1]


def test_a_world_nobody_knows_is_refused_in_one_line(simple, tmp_path, capsys):
    folder = tmp_path / "data"
    shutil.copytree(simple, folder)
    file = folder / "train" / "shard-00000" / "scenes.jsonl"
    file.write_text("".join(json.dumps({"world": "poor"} | json.loads(line)) + "\n" for line in file.open()))
    assert run(folder, tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "got pictures of the world 'poor', know simple, rich" in line


def test_a_tokenizer_of_either_world_spells_the_others_words(rich_data, simple):
    profile = demo_profile()
    rich, plain = (learn_tokenizer(ShardFolder(data / "train", 196), profile) for data in (rich_data, simple))
    text = "<think>In it: silver teapot (12,34).</think>"
    lengths = [len(tokenizer.encode(text, add_special_tokens=False).ids) for tokenizer in (rich, plain)]
    assert lengths[0] < lengths[1]
    for tokenizer in (rich, plain):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text
