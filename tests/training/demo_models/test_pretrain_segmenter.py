"""Pretraining of the segmenter: it learns, resumes exactly, stops cleanly and judges honestly."""

import json
import signal
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Sam2Model

from segzero_ros.backends.decoding.preprocess import resize_to
from tests.training.drawn_shards import write_shard
from training.demo_models import pretrain_segmenter
from training.demo_models.evaluate_segmenter import ScoredMask, evaluate, mean_with_interval, score_objects
from training.demo_models.pretrain_segmenter import Recipe, Training, main, rate_factor, train
from training.demo_models.segmenter_data import Shards, box_of, draw_batch, jitter_box
from training.demo_models.segmenter_model import (
    Batch,
    build_model,
    demo_config,
    prompt,
    prompt_blind,
    segmentation_loss,
)

SIDE = 64
RECIPE = Recipe(None, 6, images_per_step=2, prompts_per_image=3, blind=0.2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    write_shard(folder / "train" / "shard-00000", 40, seed=0)
    write_shard(folder / "val" / "shard-00000", 6, seed=1)
    return folder


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def start(data, recipe=RECIPE):
    return Training(recipe, data / "train", config=demo_config(SIDE))


def resume(out, data):
    return Training.resume(out, data / "train", config=demo_config(SIDE))


def weights(training):
    return torch.cat([parameter.detach().flatten() for parameter in training.model.parameters()])


def test_a_resumed_run_ends_with_the_very_weights_of_an_uninterrupted_one(data, tmp_path):
    straight = start(data)
    for _ in range(RECIPE.steps):
        straight.step()
    interrupted = start(data)
    for _ in range(3):  # the blind part and two steps more
        interrupted.step()
    interrupted.save(tmp_path)
    resumed = resume(tmp_path, data)
    assert resumed.steps_done == 3
    while resumed.progress < 1:
        resumed.step()
    assert torch.equal(weights(resumed), weights(straight))


def test_the_saved_checkpoint_is_a_sam2_model_that_predicts_the_same(data, tmp_path):
    training = start(data)
    training.step()
    training.save(tmp_path)
    loaded = Sam2Model.from_pretrained(tmp_path / "checkpoint").eval()
    ious = [
        [item.iou for item in score_objects(model, Shards(data / "val"), jitter=0, most=3)]
        for model in (training.model, loaded)
    ]
    assert ious[0] == ious[1]


def test_the_loss_falls_and_boxes_alone_soon_give_masks(data):
    training = start(data, replace(RECIPE, steps=120, images_per_step=4, prompts_per_image=4, blind=1.0))
    losses = [training.step()["mask"] for _ in range(120)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) / 4
    held_out = np.mean([item.iou for item in score_objects(training.model, Shards(data / "val"), jitter=0, most=6)])
    assert held_out > 0.2  # 0.05 before training


def test_two_steps_with_the_picture_move_every_weight_of_the_image_encoder(data):
    training = start(data, replace(RECIPE, blind=0.0))
    before = {name: value.detach().clone() for name, value in training.model.named_parameters()}
    for _ in range(2):  # the first moves the neck, which starts at zero and stops the gradient
        training.step()
    still = [name for name, value in training.model.named_parameters() if torch.equal(value, before[name])]
    assert not [name for name in still if name.startswith("vision_encoder")]


def test_before_training_the_picture_says_nothing_and_blind_prompting_equals_prompting(data):
    model = build_model(0, demo_config(SIDE)).eval()
    batch = Batch.of(draw_batch(Shards(data / "train"), 2, 3, SIDE, (0, 0)))
    with torch.no_grad():
        seeing, blind = prompt(model, batch, multimask=True), prompt_blind(model, batch, multimask=True)
    assert torch.allclose(seeing.logits, blind.logits, atol=1e-6)
    assert torch.allclose(seeing.scores, blind.scores, atol=1e-6)


def test_prompts_and_picture_share_one_position_code():
    model = build_model(3, demo_config(SIDE))
    shared = model.prompt_encoder.shared_embedding.positional_embedding
    assert torch.equal(model.shared_image_embedding.positional_embedding, shared)


def test_perfect_masks_cost_nothing_and_only_the_best_of_three_learns():
    masks = torch.zeros(1, 1, 32, 32)
    masks[..., 8:24, 8:24] = 1
    good = (torch.nn.functional.avg_pool2d(masks, 4) * 2 - 1) * 40
    logits = torch.stack([-good, good, torch.zeros_like(good)], dim=2).requires_grad_()
    losses = segmentation_loss(logits, torch.tensor([[[0.0, 1.0, 0.0]]]), masks)
    assert losses["mask"] < 0.25
    assert losses["iou"] == 1
    losses["mask"].backward()
    assert logits.grad[0, 0].abs().amax((1, 2)).gt(0).tolist() == [False, True, False]


def test_a_batch_is_a_function_of_its_seed(data):
    shards = Shards(data / "train")
    one, same, other = (draw_batch(shards, 2, 3, SIDE, seed) for seed in ((0, 5), (0, 5), (0, 6)))
    assert np.array_equal(one[0].rgb, same[0].rgb)
    assert np.array_equal(one[1].boxes, same[1].boxes)
    assert not np.array_equal(one[0].rgb, other[0].rgb)


def test_boxes_stay_near_their_masks_and_inside_the_picture(data):
    for sample in draw_batch(Shards(data / "train"), 20, 3, SIDE, (1, 0)):
        true = np.stack([box_of(mask) for mask in sample.masks])
        size = np.tile(true[:, 2:] - true[:, :2], 2)
        assert (np.abs(sample.boxes - true) <= 0.2 * size + 1e-4).all()
        assert sample.boxes.min() >= 0
        assert sample.boxes.max() <= SIDE
        assert (sample.masks <= (sample.ids > 0)).all()


def test_jitter_of_nothing_changes_nothing():
    box = np.array([3, 4, 20, 30], np.float32)
    assert np.array_equal(jitter_box(box, 0.0, np.random.default_rng(0), 64), box)


def test_training_pictures_are_squashed_as_the_runtime_squashes_frames(data):
    image, _ = Shards(data / "train").picture(0)
    pillow = np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    assert np.abs(resize_to(image, (SIDE, SIDE)).astype(int) - pillow).max() <= 1


def test_shards_that_appear_later_join(data, tmp_path):
    write_shard(tmp_path / "shard-00001", 3, seed=2)
    shards = Shards(tmp_path)
    write_shard(tmp_path / "shard-00000", 2, seed=3)
    (tmp_path / "shard-00002").mkdir()  # half written: not yet one
    assert shards.rescan() == 1
    assert (shards.names, len(shards)) == (["shard-00001", "shard-00000"], 5)


def test_the_rate_warms_up_holds_and_ends_at_zero():
    recipe = Recipe(warm_up=0.1, decay_from=0.5)
    assert [round(rate_factor(p, recipe), 3) for p in (0.05, 0.1, 0.5, 0.75, 1.0)] == [0.5, 1, 1, 0.5, 0]


def test_a_budget_is_minutes_or_steps_never_both():
    with pytest.raises(ValueError, match="exactly one"):
        Recipe(5.0, 5)


def test_asked_to_stop_it_saves_and_can_go_on(data, tmp_path, monkeypatch):
    training = start(data)
    step = training.step
    monkeypatch.setattr(training, "step", lambda *data: (step(*data), signal.raise_signal(signal.SIGINT))[0])
    before = signal.getsignal(signal.SIGINT)
    train(training, data / "val", tmp_path, held_out_scenes=1)
    assert signal.getsignal(signal.SIGINT) is before
    assert resume(tmp_path, data).steps_done == 1
    entry = json.loads((tmp_path / "log.jsonl").read_text())
    assert entry["step"] == 1
    assert 0 <= entry["held_out_iou"] <= 1


def test_a_clock_that_runs_out_while_a_step_is_waited_for_leaves_the_steps_before_it(data, tmp_path, monkeypatch):
    training = start(data, replace(RECIPE, steps=None, seconds=1000.0))

    def awaited():
        yield None
        yield None
        training.began -= 1000.0
        yield None

    monkeypatch.setattr(pretrain_segmenter, "_prepared", lambda *_: nullcontext(awaited()))
    train(training, None, tmp_path)
    assert training.steps_done == 2 == json.loads((tmp_path / "checkpoint" / "training.json").read_text())["step"]


def test_the_command_trains_resumes_and_evaluates(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pretrain_segmenter, "build_model", lambda seed, config: build_model(seed, demo_config(SIDE)))
    folders = ["--data", str(data / "train"), "--out", str(tmp_path)]
    assert main([*folders, "--steps", "2", "--images-per-step", "2", "--prompts-per-image", "2"]) == 0
    assert main([*folders, "--resume", "--steps", "3", "--images-per-step", "1"]) == 0
    recipe = torch.load(tmp_path / "state.pt", weights_only=True)["recipe"]
    assert (recipe["images_per_step"], recipe["prompts_per_image"]) == (1, 2)
    report = tmp_path / "eval.json"
    checkpoint = ["--evaluate", "--segmenter", str(tmp_path / "checkpoint")]
    assert main(["--data", str(data / "val"), *checkpoint, "--out", str(report), "--count", "2"]) == 0
    assert json.loads(report.read_text())["true_boxes"]["scenes"] == 2
    assert "finished after 3 steps" in capsys.readouterr().out


def test_without_a_run_to_resume_or_data_it_says_what_to_do(data, tmp_path, capsys):
    assert main(["--data", str(data / "train"), "--out", str(tmp_path), "--resume"]) == 2
    assert "start without --resume" in capsys.readouterr().err
    assert main(["--data", str(tmp_path), "--out", str(tmp_path), "--steps", "1"]) == 2
    assert "segzero train data" in capsys.readouterr().err


def test_evaluation_counts_every_object_and_names_the_weak_ones(data, tmp_path):
    build_model(0, demo_config(SIDE)).save_pretrained(tmp_path)
    report = evaluate(tmp_path, data / "val", most=4)
    objects = sum(
        len(scene.record["objects"]) for scene, _ in zip(Shards(data / "val").scenes(), range(4), strict=False)
    )
    assert report["true_boxes"]["objects"] == objects
    assert sum(kind["objects"] for kind in report["by_kind"].values()) == objects
    assert sum(size["objects"] for size in report["by_size"].values()) == objects


def test_the_interval_holds_the_mean_and_scenes_are_the_unit():
    scored = [
        ScoredMask(scene, iou, 0.5, "mug", "red", 100, 1.0) for scene in range(30) for iou in (0.6, 0.8 + scene / 300)
    ]
    summary = mean_with_interval(scored)
    low, high = summary["interval_95"]
    assert low < summary["mean_iou"] < high
    assert summary["scenes"] == 30
    assert summary["iou_above_0.75"] == 0.5
