"""What the reasoner's losses ask for is right; shapes by name; its evaluation ends when asked to."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="offline stack not installed")

from safetensors.torch import load_file  # noqa: E402

from segzero_ros.errors import RejectedInput  # noqa: E402
from tests.training.drawn_rectangles import draw_shard  # noqa: E402
from training.demo_models.device.clock import Schedule, arithmetic  # noqa: E402
from training.demo_models.grounding_losses import Grid  # noqa: E402
from training.demo_models.pretrain_reasoner import Batches, main  # noqa: E402
from training.demo_models.reasoner import evaluation  # noqa: E402
from training.demo_models.reasoner.batch import to_device  # noqa: E402
from training.demo_models.reasoner.learner import Learner, Optimiser  # noqa: E402
from training.demo_models.reasoner.pieces import Pieces  # noqa: E402
from training.demo_models.reasoner_model import (  # noqa: E402
    begin_from,
    build_model,
    demo_profile,
    save,
    train_tokenizer,
)
from training.demo_models.recipes.reasoner import Recipe  # noqa: E402
from training.demo_models.recipes.shapes import WIDE, Shape  # noqa: E402
from training.demo_models.shards import ShardFolder  # noqa: E402
from training.packed_decoding import Samples  # noqa: E402
from training.saving import Stop  # noqa: E402

SMALL = Shape(56, 64, 3, 64, 2, 64, (1,))


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    draw_shard(folder / "shard-00000", 8, 6)
    recipe, shards = Recipe(vision_steps=0, images=2, questions=1), ShardFolder(folder, SMALL.size)
    return Batches(shards, train_tokenizer([], 400), demo_profile(SMALL), recipe, Schedule(10))


@pytest.fixture(scope="module")
def learner(batches):
    torch.manual_seed(0)
    return Learner(build_model(batches.tokenizer, SMALL), batches.tokenizer, batches.profile)


def test_a_run_of_the_simple_world_draws_what_it_always_drew(batches):
    """Pictures, exchanged colours, looks and words of four steps: else runs of old could not be repeated."""
    recipe = replace(batches.recipe, vision_steps=1, images=5, questions=3, recoloured=0.7, spoken=0.5, seed=3)
    some = Batches(batches.folder, batches.tokenizer, batches.profile, recipe, batches.schedule)
    said = hashlib.sha256()
    for drawn in map(some.draw, range(4)):
        looks = [
            (look.swap and look.swap.names, look.shift, look.gain.tolist(), look.mirrored) for _, look in drawn.pictures
        ]
        things = [thing for scene in drawn.scenes for thing in scene.values()]
        said.update(repr((looks, things, [example.ids for example in drawn.examples])).encode())
    assert said.hexdigest()[:16] == "41862d2d7dbf41e1"


def owner_of(column, row, boxes, points, cell):
    """Which thing a token belongs to, thing by thing: the nearest of those whose wider box holds its centre."""
    under = [n for n, (x, y) in enumerate(points) if (x // cell, y // cell) == (column, row)]
    x, y = (column + 0.5) * cell, (row + 0.5) * cell
    near = []
    for n, ((x0, y0, x1, y1), point) in enumerate(zip(boxes, points, strict=True)):
        mx, my = 0.15 * (x1 - x0) + 3, 0.15 * (y1 - y0) + 3
        if x0 - mx <= x < x1 + mx and y0 - my <= y < y1 + my:
            near.append(((x - point[0]) ** 2 + (y - point[1]) ** 2, n))
    return under[-1] if under else min(near)[1] if near else -1


def test_every_token_belongs_to_the_thing_it_lies_on():
    rng, grid = np.random.default_rng(0), Grid(7, 28)
    low = rng.uniform(0, 150, (4, 5, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 45, (4, 5, 2))], -1)
    points = low + rng.uniform(0, 1, (4, 5, 2)) * (boxes[..., 2:] - low)
    there = rng.random((4, 5)) < 0.7
    found = grid.owners(torch.from_numpy(boxes), torch.from_numpy(points), torch.from_numpy(there)).view(4, 7, 7)
    for b in range(4):
        kept = np.flatnonzero(there[b])
        for row in range(7):
            for column in range(7):
                n = owner_of(column, row, boxes[b][kept], points[b][kept], 28)
                assert found[b, row, column] == (kept[n] if n >= 0 else -1)


def test_a_box_covers_the_tokens_it_fills_by_a_fifth_and_the_one_under_its_point():
    cover = Grid(3, 10).cover(torch.tensor([[5.0, 8.5, 12.0, 20.0]]), torch.tensor([[25.0, 1.0]]))
    assert cover.view(3, 3).tolist() == [[False, False, True], [True, True, False], [False, False, False]]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: CPUs take minutes for bfloat16")
def test_losses_in_bfloat16_on_a_gpu_are_those_of_float32_on_a_cpu_and_weights_stay_float32(batches, learner):
    batch, there = batches.make(1), torch.device("cuda")
    exact = learner.losses(batch)
    on_gpu = Learner(build_model(batches.tokenizer, SMALL).to(there), batches.tokenizer, batches.profile)
    on_gpu.load_state_dict(learner.state_dict())
    with arithmetic(there):
        rough = on_gpu.losses(to_device(batch, there))
    rough["total"].backward()
    for name in ("total", "speak", "guide", "place", "kind"):
        assert rough[name].item() == pytest.approx(exact[name].item(), rel=0.02), name
    assert {parameter.grad.dtype for parameter in on_gpu.parameters() if parameter.grad is not None} == {torch.float32}


def says_nothing(reasoner, visual, prompts, images, times, most, stops, temperature):
    """In place of the model's answers, which take seconds: none."""
    return Samples([list(stops) for _ in prompts], [0.0 for _ in prompts])


def test_an_evaluation_goes_through_several_rounds_and_is_cut_short(batches, learner, monkeypatch):
    monkeypatch.setattr(evaluation, "PICTURES", 1)
    monkeypatch.setattr(evaluation, "sample", says_nothing)
    asked = learner, batches.tokenizer, batches.profile, batches.folder
    stop = Stop()
    assert evaluation.evaluate(*asked, 4, stop)["all"]["count"] >= 4
    stop.set()
    assert 1 <= evaluation.evaluate(*asked, 100, stop)["all"]["count"] <= 3


def test_the_wide_shape_learns_and_is_written_as_it_is(tmp_path):
    draw_shard(tmp_path / "train" / "shard-00000", 9, 3)
    draw_shard(tmp_path / "val" / "shard-00000", 10, 1)
    folders = ["--data", str(tmp_path / "train"), "--val", str(tmp_path / "val"), "--shape", "wide"]
    tiny = ["--vision-steps", "1", "--vision-images", "1", "--images-per-step", "1", "--questions", "1"]
    assert main([*folders, *tiny, "--steps", "2", "--out", str(tmp_path / "out")]) == 0
    place = tmp_path / "out" / "checkpoint"
    config = json.loads((place / "config.json").read_text())
    assert (config["text_config"]["hidden_size"], config["vision_config"]["depth"]) == (192, 8)
    assert WIDE.size % 28 == 0 and sum(value.numel() for value in load_file(place / "model.safetensors").values()) > 6e6
    assert json.loads((place / "training.json").read_text())["shape"] == "wide"


def test_a_start_of_another_shape_is_refused_in_one_line(tmp_path, batches):
    learner = Learner(build_model(batches.tokenizer, SMALL), batches.tokenizer, batches.profile)
    save(tmp_path, learner, Optimiser(learner, batches.recipe), batches.tokenizer, batches.recipe, 0)
    other = Learner(build_model(batches.tokenizer, replace(SMALL, inner=96)), batches.tokenizer, batches.profile)
    with pytest.raises(RejectedInput, match="64 wide, have another shape; give the --shape they have"):
        begin_from(tmp_path / "checkpoint", other)


@pytest.mark.parametrize(("layers", "kept"), [(4, [0, 1, 2]), (6, [0, 2, 4])])
def test_a_deeper_model_begins_as_the_shallower_one_and_all_of_it_learns(tmp_path, batches, learner, layers, kept):
    save(tmp_path, learner, Optimiser(learner, batches.recipe), batches.tokenizer, batches.recipe, 0)
    deeper = Learner(build_model(batches.tokenizer, replace(SMALL, layers=layers)), batches.tokenizer, batches.profile)
    begin_from(tmp_path / "checkpoint", deeper)
    batch = batches.make(1)
    losses = deeper.losses(batch)
    assert losses["speak"].item() == pytest.approx(learner.losses(batch)["speak"].item(), abs=1e-6)
    losses["total"].backward()
    optimiser = Optimiser(deeper, batches.recipe)
    for step in (50, 51):  # what adds nothing passes no gradient on before the first step
        optimiser.step(step)
        deeper.losses(batch)["total"].backward()
    theirs = [layer.mlp.gate_proj.weight for layer in learner.reasoner.text.layers]
    for layer in deeper.reasoner.text.layers:
        assert layer.mlp.down_proj.weight.grad.abs().sum() > 0
        assert layer.mlp.gate_proj.weight.grad.abs().sum() > 0
    begin_from(tmp_path / "checkpoint", deeper)
    for own, old in zip(kept, theirs, strict=True):
        assert torch.equal(deeper.reasoner.text.layers[own].mlp.gate_proj.weight, old)


def gradients(learner, pieces, threads):
    learner.zero_grad(set_to_none=True)
    shared = Pieces(learner, threads)
    losses = shared.backward(pieces)
    shared.close()
    return losses, {name: p.grad for name, p in learner.named_parameters() if p.grad is not None}


def test_threads_share_the_pictures_and_each_sum_stays_the_same(batches, learner):
    recipe = replace(batches.recipe, images=6)
    pieces = Batches(batches.folder, batches.tokenizer, batches.profile, recipe, batches.schedule).pieces(3, 2)
    losses, alone = gradients(learner, pieces, 1)
    shared_losses, shared = gradients(learner, pieces, 2)
    assert losses["total"].item() == pytest.approx(shared_losses["total"].item())
    assert alone.keys() == shared.keys()
    for name, value in alone.items():
        torch.testing.assert_close(shared[name], value, rtol=1e-4, atol=1e-6)
    again = gradients(learner, pieces, 2)[1]
    assert all(torch.equal(shared[name], again[name]) for name in shared)


def test_pictures_in_which_no_thing_is_seen_leave_every_loss_a_number(batches, learner):
    batch = batches.make(3)
    batch.things.visible.zero_()
    batch.words.at, batch.words.at_image, batch.words.at_thing = (torch.zeros(0, dtype=torch.int64) for _ in range(3))
    losses = gradients(learner, [batch], 1)[0]
    assert all(torch.isfinite(value) for value in losses.values()), losses


def test_pieces_hold_every_picture_and_question_once(batches):
    whole = batches.draw(3)
    first, second = whole.shared_out(2)
    assert [first.images, second.images] == [[0], [0]]
    assert [first.examples[0].text, second.examples[0].text] == [example.text for example in whole.examples]
    assert [len(piece.pictures) for piece in whole.shared_out(9)] == [1, 1], "no piece is empty"
