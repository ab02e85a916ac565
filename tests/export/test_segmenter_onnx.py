"""SAM 2 to ONNX: the graphs say what torch says for any prompts, and the runtime's masks are torch's masks."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import nn
from transformers import Sam2Model

from export.onnx_storage import save_graph, store_half
from export.segmenter_onnx import FEATURES, export_segmenter
from segzero_ros.answer import Target
from segzero_ros.backends import EngineOptions
from segzero_ros.backends.onnx.segmenter import OnnxSegmenter
from segzero_ros.backends.sam2 import MAX_BATCH
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from training.demo_models.evaluate_segmenter import predict
from training.demo_models.segmenter_model import SIDE, build_model

TARGETS = (
    Target((40.0, 30.0, 140.0, 120.0), ((90.0, 75.0),)),
    Target((10.0, 100.0, 60.0, 200.0), ((30.0, 150.0),)),
    Target((200.0, 20.0, 300.0, 220.0), ((250.0, 100.0),)),
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The demo's architecture with random weights that let the picture through (a fresh one has a neck of zeros)."""
    model = build_model(0)
    for lateral in model.vision_encoder.neck.convs:
        lateral.reset_parameters()
    for mlp in model.mask_decoder.output_hypernetworks_mlps:
        nn.init.normal_(mlp.proj_out.weight, std=1.0)  # masks with edges, not one grey
    folder = tmp_path_factory.mktemp("checkpoint")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(checkpoint):
    return Sam2Model.from_pretrained(checkpoint).eval()


@pytest.fixture(scope="module")
def graphs(checkpoint, tmp_path_factory):
    return export_segmenter(checkpoint, tmp_path_factory.mktemp("graphs"), store="float")


@pytest.fixture(scope="module")
def segmenter(graphs):
    return OnnxSegmenter(graphs, (SIDE, SIDE), EngineOptions(threads=1))


def picture(seed=0, size=(320, 240)):
    rng = np.random.default_rng(seed)
    rgb = np.full((size[1], size[0], 3), rng.integers(60, 200, 3), np.uint8)
    rgb[30:120, 40:140], rgb[100:200, 10:60], rgb[20:220, 200:300] = rng.integers(0, 255, (3, 3))
    return Frame(np.clip(rgb + rng.normal(0, 8, rgb.shape), 0, 255).astype(np.uint8), 0)


def prompts(objects, points, side=SIDE):
    rng = np.random.default_rng(objects * 10 + points)
    corners = np.sort(rng.uniform(0, side, (objects, 2, 2)), axis=1).reshape(objects, 4)
    places = rng.uniform(0, side, (objects, points, 2))
    labels = rng.choice([1, 0, -10], (objects, points)).astype(np.int64)
    return {"boxes": corners.astype(np.float32), "points": places.astype(np.float32), "point_labels": labels}


def run_both(model, graphs, pixels, asked):
    """Mask logits and scores of torch and of the two graphs."""
    sessions = [onnxruntime.InferenceSession(str(graphs[role])) for role in ("encoder", "decoder")]
    features = dict(zip(FEATURES, sessions[0].run(list(FEATURES), {"pixels": pixels}), strict=True))
    boxes, points, labels = (torch.from_numpy(value)[None] for value in asked.values())
    with torch.inference_mode():
        out = model(pixel_values=torch.from_numpy(pixels), input_boxes=boxes, input_points=points, input_labels=labels)
    theirs = out.pred_masks[0].numpy(), out.iou_scores[0].numpy()
    return theirs, sessions[1].run(["logits", "scores"], {**features, **asked})


@pytest.mark.parametrize(("objects", "points"), [(1, 1), (1, 2), (5, 1), (7, 3)])
def test_the_graphs_agree_with_torch_for_any_number_of_objects_and_points(model, graphs, objects, points):
    pixels = np.random.default_rng(0).standard_normal((1, 3, SIDE, SIDE), dtype=np.float32)
    (logits, scores), (our_logits, our_scores) = run_both(model, graphs, pixels, prompts(objects, points))
    assert our_logits.shape == (objects, 3, SIDE // 4, SIDE // 4)
    assert np.abs(our_logits - logits).max() < 1e-4 * max(1.0, np.abs(logits).max())
    assert np.abs(our_scores - scores).max() < 1e-4


def test_the_runtime_gives_the_masks_of_torch(model, segmenter):
    frame = picture()
    segmenter.set_image(frame)
    ours = segmenter.predict(TARGETS)
    scale = np.array([SIDE / 320, SIDE / 240], np.float32)
    boxes = np.array([target.box for target in TARGETS], np.float32) * np.tile(scale, 2)
    points = np.array([target.points for target in TARGETS], np.float32) * scale
    masks, scores = predict(model, frame.rgb, boxes, points)
    assert ours.masks.shape == masks.shape == (3, 240, 320)
    assert (ours.masks != masks).mean() < 1e-4
    assert 0.02 < ours.masks.mean() < 0.98
    assert np.allclose(ours.scores, scores, atol=1e-4)


def test_points_off_the_object_are_given_as_such(segmenter, monkeypatch):
    on, off = Target((40.0, 30.0, 140.0, 120.0), ((90.0, 75.0),)), ((45.0, 35.0), (130.0, 110.0))
    asked, decode = [], segmenter._engine.decode
    monkeypatch.setattr(segmenter._engine, "decode", lambda prompts: asked.append(prompts) or decode(prompts))
    segmenter.set_image(picture())
    corrected, box_alone = segmenter.predict((Target(on.box, on.points, off), Target(on.box, ()))).masks
    assert [prompts["point_labels"].tolist() for prompts in asked] == [[[-10]], [[1, 0, 0]]]
    scale = np.array([SIDE / 320, SIDE / 240], np.float32)
    assert np.allclose(asked[1]["points"], np.array([[*on.points, *off]], np.float32) * scale)
    assert (corrected != segmenter.predict((on,)).masks[0]).any() and corrected.shape == box_alone.shape


def test_the_encoder_sees_the_picture_as_sam2_wants_it(graphs, monkeypatch):
    """As Sam2ImageProcessor: antialiased bilinear to the square, / 255, ImageNet's mean and deviation."""
    segmenter = OnnxSegmenter(graphs, (SIDE, SIDE), EngineOptions(threads=1))
    seen = {}

    class Watching:
        def run(self, names, inputs):
            seen.update(inputs)
            return [np.zeros(1, np.float32)] * len(names)

    monkeypatch.setattr(segmenter._engine, "_encoder", Watching())
    frame = picture(4, size=(640, 360))
    segmenter.set_image(frame)
    small = np.asarray(Image.fromarray(frame.rgb).resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float64)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = ((small / 255 - mean) / deviation).transpose(2, 0, 1)[None]
    level = 1 / 255 / deviation.min()
    assert seen["pixels"].shape == (1, 3, SIDE, SIDE)
    assert np.abs(seen["pixels"] - expected).max() < 1.01 * level


def test_a_batch_gives_what_its_targets_give_one_by_one(segmenter):
    mixed = (*TARGETS, Target((100.0, 60.0, 180.0, 160.0), ((120.0, 90.0), (150.0, 120.0))))
    segmenter.set_image(picture(1))
    together = segmenter.predict(mixed)
    for index, target in enumerate(mixed):
        alone = segmenter.predict((target,))
        assert (alone.masks[0] != together.masks[index]).mean() < 1e-4
        assert abs(float(alone.scores[0] - together.scores[index])) < 1e-5


def test_more_targets_than_one_batch_holds_keep_their_order(segmenter):
    segmenter.set_image(picture(1))
    many = (TARGETS * MAX_BATCH)[: MAX_BATCH + 2]
    found = segmenter.predict(many)
    assert len(found.scores) == MAX_BATCH + 2
    assert np.allclose(found.scores, np.resize(segmenter.predict(TARGETS).scores, MAX_BATCH + 2), atol=1e-5)


def test_no_targets_give_no_masks(segmenter):
    segmenter.set_image(picture())
    found = segmenter.predict(())
    assert (found.masks.shape, found.scores.shape) == ((0, 240, 320), (0,))


def test_one_frame_is_encoded_once_and_another_one_again(graphs, monkeypatch):
    segmenter = OnnxSegmenter(graphs, (SIDE, SIDE), EngineOptions(threads=1))
    runs, encoder = [], segmenter._engine._encoder

    class Counting:
        def run(self, *arguments):
            runs.append(1)
            return encoder.run(*arguments)

    monkeypatch.setattr(segmenter._engine, "_encoder", Counting())
    first, second = picture(0), picture(2)
    for frame in (first, first, second, second, first):
        segmenter.set_image(frame)
    assert len(runs) == 3


def test_a_picture_that_failed_leaves_no_old_features_behind(graphs, monkeypatch):
    segmenter = OnnxSegmenter(graphs, (SIDE, SIDE), EngineOptions(threads=1))
    segmenter.set_image(picture(0))
    monkeypatch.setattr(segmenter._engine, "_encoder", None)
    with pytest.raises(AttributeError):
        segmenter.set_image(picture(2))
    with pytest.raises(RuntimeError, match="set_image first"):
        segmenter.predict(TARGETS)


def test_half_storage_halves_the_files_and_barely_moves_the_masks(checkpoint, segmenter, graphs, tmp_path):
    half = {}
    for role, path in graphs.items():
        graph = onnx.load(path)
        store_half(graph)
        save_graph(graph, tmp_path / path.name)
        half[role] = tmp_path / path.name
    assert sum(p.stat().st_size for p in half.values()) < 0.6 * sum(p.stat().st_size for p in graphs.values())
    halved = OnnxSegmenter(half, (SIDE, SIDE), EngineOptions(threads=1))
    for one in (segmenter, halved):
        one.set_image(picture(3))
    full, rounded = segmenter.predict(TARGETS), halved.predict(TARGETS)
    both, either = (full.masks & rounded.masks).sum(), (full.masks | rounded.masks).sum()
    assert both / either > 0.97
    assert np.allclose(full.scores, rounded.scores, atol=0.01)


def test_a_bundle_of_another_size_is_refused_by_name(graphs):
    with pytest.raises(RejectedInput, match=r"\[1, 3, 512, 512\]") as refused:
        OnnxSegmenter(graphs, (512, 512), EngineOptions(threads=1))
    assert refused.value.code is Code.BUNDLE_FORMAT


def test_a_graph_says_nothing_of_the_machine_it_was_made_on(graphs):
    for path in graphs.values():
        content = path.read_bytes()
        assert b"/site-packages/" not in content
        assert b".py" not in content


def test_a_weight_beyond_fp16_is_refused():
    weight = numpy_helper.from_array(np.full((32, 32), 1e5, np.float32), "huge")
    graph = helper.make_graph([], "g", [], [], [weight])
    with pytest.raises(ValueError, match="store='float'"):
        store_half(helper.make_model(graph))


def test_vectors_and_small_weights_stay_exact():
    arrays = {
        "vector": np.ones(4096, np.float32),
        "small": np.ones((4, 4), np.float32),
        "ids": np.ones((64, 64), np.int64),
    }
    graph = helper.make_graph([], "g", [], [], [numpy_helper.from_array(a, name) for name, a in arrays.items()])
    model = helper.make_model(graph)
    assert store_half(model) == 0
    assert TensorProto.FLOAT16 not in {weight.data_type for weight in model.graph.initializer}
