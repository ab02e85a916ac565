"""The tracker's training: what is drawn of clips, that it learns, and that it resumes as if it had not been stopped."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Sam2VideoModel

from export.segmenter_onnx import export_segmenter
from segzero_ros.errors import RejectedInput
from training.demo_models.segmenter_model import build_model, demo_config
from training.tracker import features, pretrain
from training.tracker.features import ClipFeatures, roughened
from training.tracker.follow import Past
from training.tracker.pretrain import Recipe, Training, clip_losses, main, rate_factor, train

SIDE, FRAMES, CLIPS = 64, 5, 6
RECIPE = Recipe(steps=4, clips_per_step=2, objects_per_clip=2, frames=(2, 4), until=(0.5, 1.0))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_clips(path: Path, seed: int) -> None:
    """Squares of two colours that move over noise; the second leaves in the fourth frame."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(90, 110, (CLIPS, FRAMES, SIDE, SIDE, 3)).astype(np.uint8)
    ids = np.zeros((CLIPS, FRAMES, SIDE, SIDE), np.uint8)
    for clip in range(CLIPS):
        for thing, colour in ((1, (250, 20, 20)), (2, (20, 20, 250))):
            x, y, step = int(rng.integers(4, 20)), 6 + 28 * (thing - 1), int(rng.integers(1, 4))
            for at in range(FRAMES - 2 * (thing - 1)):
                window = np.s_[y : y + 18, x + step * at : x + step * at + 18]
                frames[clip, at][window], ids[clip, at][window] = colour, thing
    path.mkdir(parents=True)
    np.save(path / "frames.npy", frames)
    np.save(path / "ids.npy", ids)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmenter")
    model = build_model(0, demo_config(SIDE))
    for lateral in model.vision_encoder.neck.convs:
        lateral.reset_parameters()
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    write_clips(folder / "clips-00000", 0)
    return folder


@pytest.fixture(scope="module")
def encoder(segmenter, tmp_path_factory):
    return export_segmenter(segmenter, tmp_path_factory.mktemp("graphs"))["encoder"]


@pytest.fixture(autouse=True)
def exported_once(segmenter, encoder, monkeypatch):
    """Each run asks for the graph of its segmenter's encoder: here always the same, and tracing it takes longest."""

    def export(checkpoint, out_dir):
        return {"encoder": encoder} if checkpoint == segmenter else export_segmenter(checkpoint, out_dir)

    monkeypatch.setattr(pretrain, "export_segmenter", export)


def weights(training):
    return torch.cat([parameter.detach().flatten() for parameter in training.model.parameters()])


def test_what_is_drawn_is_what_the_clips_show(data, encoder, monkeypatch):
    monkeypatch.setattr(features, "BACKWARDS", 0.0)
    monkeypatch.setattr(features, "SKIPPING", 0.0)
    monkeypatch.setattr(features, "CUT", 0.0)
    drawn = ClipFeatures(data, encoder).draw(np.random.default_rng(0), 3, 2, FRAMES)
    ids = np.load(data / "clips-00000" / "ids.npy")
    shown = {(clip, thing): ids[clip] == thing for clip in range(CLIPS) for thing in (1, 2)}
    for row in range(drawn.masks.shape[1]):
        assert any(np.array_equal(drawn.masks[:, row].numpy(), true) for true in shown.values())
        assert torch.equal(drawn.visible[:, row], drawn.masks[:, row].flatten(1).sum(1) >= features.SEEN)
    assert drawn.frames == FRAMES and not drawn.visible.all(), "the second square leaves"


def test_an_interrupted_clip_shows_another_in_between_where_the_object_is_not(data, encoder, monkeypatch):
    monkeypatch.setattr(features, "BACKWARDS", 0.0)
    monkeypatch.setattr(features, "SKIPPING", 0.0)
    clips = ClipFeatures(data, encoder)
    monkeypatch.setattr(features, "CUT", 1.0)
    cut = clips.draw(np.random.default_rng(3), 3, 2, FRAMES)
    seen = clips._shards["clips-00000"].features["embedding"].astype(np.float32)
    interrupted = 0
    for row in range(cut.masks.shape[1]):
        embeddings = cut.features["embedding"][:, row].numpy()
        clip = next(n for n in range(CLIPS) if np.array_equal(seen[n, 0], embeddings[0]))
        foreign = [t for t in range(FRAMES) if not np.array_equal(seen[clip, t], embeddings[t])]
        interrupted += bool(foreign)
        assert all(any((embeddings[t] == seen[n]).all((1, 2, 3)).any() for n in range(CLIPS)) for t in foreign)
        assert not cut.masks[foreign, row].any() and 0 not in foreign
        assert not cut.visible[foreign, row].any()
    assert interrupted


def test_an_object_that_is_hidden_in_between_is_drawn_more_often(data, encoder, monkeypatch):
    monkeypatch.setattr(features, "CUT", 0.0)
    monkeypatch.setattr(features, "SKIPPING", 0.0)
    monkeypatch.setattr(features, "BACKWARDS", 0.0)
    drawn = ClipFeatures(data, encoder).draw(np.random.default_rng(0), 200, 1, FRAMES)
    hidden = (~drawn.visible.all(0)).float().mean()
    assert 0.7 < hidden < 0.9, "of two things in each clip one leaves, and is taken four times as often"


def test_a_frame_without_the_object_is_not_remembered():
    past = Past(torch.zeros(3, 2, 2), torch.zeros(3, 5))
    for n, seen in enumerate(([1, 1, 0], [0, 1, 0], [1, 1, 0]), 1):
        past.recent.append(torch.full((3, 2, 2), float(n)))
        past.pointers.append(torch.full((3, 5), float(n)))
        past.seen.append(torch.tensor(seen) > 0)
    memories, ages = past.memories()
    pointers, pointer_ages = past.all_pointers()
    assert ages.tolist() == [[0, -1, 2, 1], [0, 3, 2, 1], [0, -1, -1, -1]]
    assert memories[0, 2:, 0, 0].tolist() == pointers[0, 2:, 0].tolist() == [1, 3]
    assert memories[1, :, 0, 0].tolist() == [0, 1, 2, 3]
    assert pointer_ages.tolist() == [[3, -1, 2, 1], [4, 3, 2, 1], [1, -1, -1, -1]]


def test_the_same_seed_draws_the_same_and_clips_that_appear_are_taken_in(data, encoder, tmp_path):
    clips = ClipFeatures(data, encoder)
    one, other = (clips.draw(np.random.default_rng(4), 2, 2, 3) for _ in range(2))
    assert torch.equal(one.masks, other.masks) and torch.equal(one.start, other.start)
    write_clips(tmp_path / "clips-00000", 1)
    growing = ClipFeatures(tmp_path, encoder)
    write_clips(tmp_path / "clips-00001", 2)
    assert len(growing) == CLIPS
    growing.rescan()
    assert len(growing) == 2 * CLIPS


def test_a_folder_without_clips_is_refused(encoder, tmp_path):
    with pytest.raises(ValueError, match="render some"):
        ClipFeatures(tmp_path, encoder)


def test_a_rough_start_is_near_the_mask_and_never_empty():
    masks = torch.zeros(40, 32, 32)
    masks[:39, 8:20, 8:24] = 1
    masks[39, 5, 5] = 1
    rough = roughened(masks, np.random.default_rng(0))
    both, either = (rough * masks).flatten(1).sum(1), ((rough + masks) > 0).flatten(1).sum(1)
    assert (both / either)[:39].min() > 0.5 and (both / either)[:39].min() < 1
    assert rough.flatten(1).sum(1).min() > 0


def test_some_steps_lower_the_loss_and_leave_the_encoder_as_it_is(data, segmenter):
    training = Training(Recipe(**{**vars_of(RECIPE), "steps": 40}), data, segmenter)
    frozen = {
        name: weight.clone()
        for name, weight in training.model.named_parameters()
        if name.startswith(("vision_encoder.", "mask_decoder.conv_s", "no_memory_embedding"))
    }
    drawn = training.clips.draw(np.random.default_rng(9), 4, 2, 3)
    with torch.no_grad():
        before = clip_losses(training.follower, drawn, RECIPE)
    for _ in range(12):
        training.step()
    with torch.no_grad():
        after = clip_losses(training.follower, drawn, RECIPE)
    assert after["mask"] < 0.8 * before["mask"]
    now = dict(training.model.named_parameters())
    assert frozen and all(torch.equal(weight, now[name]) for name, weight in frozen.items())


def vars_of(recipe):
    return {name: getattr(recipe, name) for name in recipe.__dataclass_fields__}


def test_a_resumed_run_ends_with_the_very_weights_of_an_uninterrupted_one(data, segmenter, tmp_path):
    whole = Training(RECIPE, data, segmenter)
    for _ in range(RECIPE.steps):
        whole.step()
    first = Training(RECIPE, data, segmenter)
    first.step()
    first.step()
    first.save(tmp_path)
    second = Training.resume(tmp_path, data, segmenter)
    assert second.steps_done == 2
    while second.progress < 1:
        second.step()
    assert torch.equal(weights(whole), weights(second))


def test_a_finished_run_leaves_a_checkpoint_its_note_and_a_curve(data, segmenter, tmp_path):
    train(Training(RECIPE, data, segmenter), tmp_path, save_every=2)
    model = Sam2VideoModel.from_pretrained(tmp_path / "checkpoint")
    assert model.config.image_size == SIDE
    note = json.loads((tmp_path / "checkpoint" / "training.json").read_text())
    assert note["step"] == RECIPE.steps and note["recipe"]["frames"] == [2, 4] and note["clips"] == CLIPS
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [2, 4]


def test_the_rate_rises_holds_and_falls_to_nothing():
    recipe = Recipe(warm_up=0.1, decay_from=0.5)
    rates = [rate_factor(at, recipe) for at in (0.0, 0.05, 0.2, 0.5, 0.75, 1.0)]
    assert rates == pytest.approx([0.02, 0.5, 1.0, 1.0, 0.5, 0.0])


def test_a_state_of_another_format_and_none_at_all_are_refused(data, segmenter, tmp_path, capsys):
    common = ["--data", str(data), "--segmenter", str(segmenter), "--out", str(tmp_path / "run")]
    assert main([*common, "--resume"]) == 2
    assert "start without --resume" in capsys.readouterr().err
    (tmp_path / "run").mkdir(exist_ok=True)
    torch.save({"format": 99}, tmp_path / "run" / "state.pt")
    assert main([*common, "--resume"]) == 2
    assert "format 99" in capsys.readouterr().err


def test_a_checkpoint_that_is_no_segmenter_is_refused(data, tmp_path):
    with pytest.raises((RejectedInput, OSError)):
        Training(RECIPE, data, tmp_path)
