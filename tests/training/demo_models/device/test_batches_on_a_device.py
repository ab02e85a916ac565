"""Batches whose pixels are changed on the device are those that are made whole, and worker processes make the same."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="offline stack not installed")

from segzero_ros.errors import RejectedInput  # noqa: E402
from tests.training.drawn_rectangles import draw_shard  # noqa: E402
from training.demo_models.device.ahead import prepared_ahead  # noqa: E402
from training.demo_models.device.clock import Schedule  # noqa: E402
from training.demo_models.device.store import Announced, AnnouncedFolder, PictureStore  # noqa: E402
from training.demo_models.pretrain_reasoner import Batches, main  # noqa: E402
from training.demo_models.reasoner import evaluation  # noqa: E402
from training.demo_models.reasoner_model import demo_profile, train_tokenizer  # noqa: E402
from training.demo_models.recipes.reasoner import Recipe  # noqa: E402
from training.demo_models.shards import ShardFolder  # noqa: E402
from training.packed_decoding import Samples  # noqa: E402

RECIPE = Recipe(vision_steps=2, steps=4, vision_images=5, images=4, questions=2, recoloured=0.7)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    draw_shard(folder / "train" / "shard-00000", 5, 6)
    draw_shard(folder / "train" / "shard-00001", 6, 6)
    draw_shard(folder / "val" / "shard-00000", 7, 2)
    return folder


@pytest.fixture(scope="module")
def whole(data):
    tokenizer, schedule = train_tokenizer([], 400), Schedule(RECIPE.steps)
    return Batches(ShardFolder(data / "train", 196), tokenizer, demo_profile(), RECIPE, schedule)


def tensors(record):
    """Every tensor of a record and of those in it, by its path."""
    found = {}
    for name in record.__dataclass_fields__:
        value = getattr(record, name)
        if isinstance(value, torch.Tensor):
            found[name] = value
        elif hasattr(value, "__dataclass_fields__"):
            found |= {f"{name}.{inner}": tensor for inner, tensor in tensors(value).items()}
    return found


@pytest.mark.parametrize("step", range(4))
def test_a_step_filled_on_the_device_is_the_step_made_whole(data, whole, step):
    store = PictureStore(data / "train", 196, 100, CPU).open()
    prepared = whole.of(AnnouncedFolder(data / "train", 196, store.announced)).prepare(step)
    pictures = store.pictures(prepared)
    batch = whole.make(step)
    assert (pictures.short() - batch.rgb.short()).abs().max() <= 1
    assert len(batch.rgb) == (5 if step < 2 else 4) and (batch.words is None) == (step < 2)
    for name, value in tensors(batch.things).items():
        assert torch.equal(value, tensors(prepared.things)[name]), name
    for name, value in tensors(batch.words).items() if batch.words else ():
        assert torch.equal(value, tensors(prepared.words)[name]), name


def test_the_changes_reach_every_kind(data, whole):
    """Else the test above would compare pictures that nothing was done to."""
    looks = [look for step in range(4) for _, look in whole.draw(step).pictures]
    swaps = [look.swap for look in looks if look.swap is not None]
    assert any(swap.whole for swap in swaps) and any(not swap.whole for swap in swaps)
    assert any(isinstance(change, str) for swap in swaps for change in swap.changes.values())
    assert {look.mirrored for look in looks} == {True, False} and any(look.shift != (0, 0) for look in looks)


def test_worker_processes_make_the_same_steps_in_order(data, whole):
    store = PictureStore(data / "train", 196, 100, CPU).open()
    asked = whole.of(AnnouncedFolder(data / "train", 196, store.announced))
    with prepared_ahead(asked, 1, 2, pinned=False) as steps, store.watching():
        made = [next(steps) for _ in range(2)]
    here = [whole.of(AnnouncedFolder(data / "train", 196, store.announced)).prepare(step) for step in (1, 2)]
    for one, other in zip(made, here, strict=True):
        for name, value in tensors(other).items():
            assert torch.equal(value, tensors(one)[name]), name


def test_shards_that_appear_later_are_taken_until_the_memory_is_full(data, tmp_path, capsys):
    draw_shard(tmp_path / "shard-00000", 1, 3)
    store = PictureStore(tmp_path, 196, 8, CPU).open()
    folder = AnnouncedFolder(tmp_path, 196, store.announced)
    assert folder.refresh() == 3
    for number in (1, 2):
        draw_shard(tmp_path / f"shard-0000{number}", number, 3)
    store.take_new()
    assert folder.refresh() == 6 == store.count
    assert "6 pictures are on cpu; there is room for no more" in capsys.readouterr().out
    picked = folder.pick(np.random.default_rng(0))
    assert np.array_equal(store._pictures[folder.slot(picked)].numpy(), ShardFolder(tmp_path, 196).image(picked))


def test_a_name_that_does_not_fit_is_refused():
    with pytest.raises(RejectedInput, match="at most"):
        Announced().add("shard-" + 50 * "0")


SMALL = ["--vision-images", "2", "--images-per-step", "2", "--questions", "1", "--evaluate-count", "2"]


def trained(data, out, *more):
    """What a training says of itself at its end, and the last line of its log if it has one."""
    folders = ["--data", str(data / "train"), "--val", str(data / "val"), "--out", str(out)]
    assert main([*folders, *SMALL, "--workers", "1", *more]) == 0
    log = out / "log.jsonl"
    said = json.loads((out / "checkpoint" / "training.json").read_text())
    return said, json.loads(log.read_text().splitlines()[-1]) if log.exists() else None


def test_a_training_with_workers_makes_its_steps(data, tmp_path):
    said, _ = trained(data, tmp_path, "--steps", "2", "--vision-steps", "1")
    assert (said["step"], said["seconds"]) == (2, 0)


def test_a_training_by_the_clock_ends_in_time_and_evaluates(data, tmp_path, monkeypatch):
    silent = Samples([[]] * 6, [0.0] * 6)  # answers of a model take seconds
    monkeypatch.setattr(evaluation, "sample", lambda *_: silent)
    said, last = trained(data, tmp_path, "--seconds", "1", "--steps", "100", "--vision-steps", "30")
    assert said["seconds"] >= 1
    assert last["step"] == said["step"] and last["held_out"]["all"]["count"] == 6
