"""SAM 2's memory as graphs: frame by frame what transformers says; what does not fit is refused."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from transformers import Sam2Config, Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from bench.checkpoint_of_bundle import segmenter_of
from export.segmenter_onnx import export_segmenter, trace
from export.tracker import modules
from export.tracker.graphs import export_tracker, load_tracker, signature
from export.tracker.join import add_tracker
from segzero_ros.backends import open_pipeline
from segzero_ros.backends.decoding.preprocess import IMAGENET_MEAN, IMAGENET_STD, normalise, resize_to
from segzero_ros.backends.onnx.segmenter import OnnxSegmenter
from segzero_ros.backends.sam2_memory import GRAPHS, Sam2MemoryTracker
from segzero_ros.backends.tracker import make_tracker
from segzero_ros.bundle import hash_file, open_bundle, resolve_bundle
from segzero_ros.errors import RejectedInput
from segzero_ros.frame import Frame
from training.demo_models.segmenter_model import build_model, demo_config
from training.tracker.model import build_tracker

Graphs = dict[str, Path]
SIDE, WIDTH, FRAMES = 128, 128, 50  # a width of 64, the memory's own, transformers cannot run


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other take many times as long on a machine that has other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def wide_config() -> Sam2Config:
    """The demo's shape, twice as wide: the pointers are split, as the real ones are."""
    config = demo_config(SIDE)
    config.vision_config.fpn_hidden_size = WIDTH
    config.prompt_encoder_config.hidden_size = WIDTH
    config.mask_decoder_config.hidden_size = WIDTH
    return config


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A segmenter and a tracker around it, random weights that see the picture."""
    folder = tmp_path_factory.mktemp("sam2")
    segmenter = build_model(3, wide_config())
    for lateral in segmenter.vision_encoder.neck.convs:
        lateral.reset_parameters()
    tracker = build_tracker(segmenter, 5)
    with torch.no_grad():
        tracker.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(3.0)
    segmenter.save_pretrained(folder / "segmenter")
    tracker.save_pretrained(folder / "tracker")
    return folder / "segmenter", folder / "tracker"


@pytest.fixture(scope="module")
def graphs(checkpoints: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Graphs, Graphs]:
    """Those of the segmenter and those of its memory."""
    out = tmp_path_factory.mktemp("graphs")
    return export_segmenter(checkpoints[0], out, store="float"), export_tracker(checkpoints[1], out, store="float")


@pytest.fixture(scope="module")
def segmenter(graphs: tuple[Graphs, Graphs]) -> OnnxSegmenter:
    return OnnxSegmenter(graphs[0] | graphs[1], (SIDE, SIDE))


def memory_of(segmenter: OnnxSegmenter) -> Sam2MemoryTracker:
    """SAM 2's memory as it is, whatever the size."""
    assert segmenter.memory is not None
    return Sam2MemoryTracker(segmenter, segmenter.memory, segmenter.image_size)


def clip(count: int) -> list[Frame]:
    """A camera that moves over a picture of soft noise."""
    rng = np.random.default_rng(2)
    scene = resize_to(rng.integers(0, 256, (60, 60, 3), np.uint8), (400, 400))
    return [
        Frame(np.ascontiguousarray(scene[40 + k : 40 + k + SIDE, 30 + 2 * k : 30 + 2 * k + SIDE]), k)
        for k in range(count)
    ]


def first_masks() -> np.ndarray:
    masks = np.zeros((2, SIDE, SIDE), bool)
    masks[0, 20:70, 30:80] = masks[1, 70:110, 60:120] = True
    return masks


def stock_logits(checkpoint: Path, frames: list[Frame], starts: dict[int, np.ndarray]) -> list[np.ndarray]:
    """What Sam2VideoModel says: per frame the logits (N, S/4, S/4) of the objects that were given masks so far."""
    model = Sam2VideoModel.from_pretrained(checkpoint, attn_implementation="eager").eval()
    pixels = [normalise(resize_to(frame.rgb, (SIDE, SIDE)), IMAGENET_MEAN, IMAGENET_STD) for frame in frames]
    session = Sam2VideoInferenceSession(
        video=torch.from_numpy(np.stack(pixels)), video_height=SIDE, video_width=SIDE, dtype=torch.float32
    )
    said = []
    for index in range(len(frames)):
        for mask in starts.get(index, []):
            number = len(session.obj_ids) + 1
            session.add_mask_inputs(session.obj_id_to_idx(number), index, torch.from_numpy(mask)[None, None].float())
            session.obj_with_new_inputs.append(number)
        with torch.inference_mode():
            out = model(session, frame_idx=index)
        said.append(out.pred_masks[:, 0].numpy())
    return said


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 1.0


def test_fifty_frames_are_those_of_transformers(checkpoints: tuple[Path, Path], segmenter: OnnxSegmenter) -> None:
    frames = clip(FRAMES)
    stock = stock_logits(checkpoints[1], frames, {0: first_masks()})
    tracker = memory_of(segmenter)
    assert tracker.start(frames[0], first_masks()) == (1, 2)
    seen = 0
    for frame, logits in zip(frames[1:], stock[1:], strict=True):
        tracks = tracker.step(frame)
        low = torch.nn.functional.interpolate(torch.from_numpy(logits)[None], (SIDE, SIDE), mode="bilinear")[0]
        for mask, expected in zip(tracks.masks, low.numpy() > 0, strict=True):
            assert overlap(mask, expected) >= 0.99
            seen += bool(expected.any())
    assert seen > FRAMES, "the random weights show something in most frames"


@pytest.mark.parametrize("queries", [1, 24, 64])
def test_scores_written_out_in_parts_are_those_written_out_at_once(
    checkpoints: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, queries: int
) -> None:
    attention = modules.MemoryAttention(Sam2VideoModel.from_pretrained(checkpoints[1])).eval()
    cells = (SIDE // 16) ** 2
    inputs = (
        torch.randn(1, WIDTH, SIDE // 16, SIDE // 16),
        torch.randn(2, 3, cells, 64),
        torch.tensor([[0, 2, 1], [0, modules.ABSENT, 1]]),
        torch.randn(2, 4, WIDTH),
        torch.ones(2, 4),
    )
    seen = []
    for most in (10 * cells, queries):
        monkeypatch.setattr(modules, "QUERIES", most)
        with torch.inference_mode():
            seen.append(attention(*inputs))
    assert torch.allclose(*seen, atol=1e-5)


def test_no_product_of_the_attention_has_more_rows_than_are_written_out_at_once(
    checkpoints: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(modules, "QUERIES", 16)
    model = load_tracker(checkpoints[1])
    inputs, outputs, dynamic = signature(model, "memory_attention", torch.float32)
    graph = onnx.shape_inference.infer_shapes(trace(modules.MemoryAttention(model), inputs, outputs, dynamic)).graph
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in graph.value_info}
    softmaxed = [shapes[node.input[0]] for node in graph.node if node.op_type == "Softmax"]
    assert len(softmaxed) == 2 * 2 * 4, "two layers of two attentions over 64 places"
    assert {shape[-2] for shape in softmaxed} == {16}


def test_objects_that_join_later_are_in_the_same_batch_and_equal(
    checkpoints: tuple[Path, Path], segmenter: OnnxSegmenter
) -> None:
    frames = clip(14)
    late = first_masks()[::-1][:1]
    stock = stock_logits(checkpoints[1], frames, {0: first_masks()[:1], 5: late})
    tracker = memory_of(segmenter)
    tracker.start(frames[0], first_masks()[:1])
    for index, frame in enumerate(frames[1:], 1):
        tracks = tracker.step(frame)
        if index == 5:
            tracker.start(frame, late)
        low = torch.nn.functional.interpolate(torch.from_numpy(stock[index])[None], (SIDE, SIDE), mode="bilinear")[0]
        for mask, expected in zip(tracks.masks, low.numpy() > 0, strict=False):
            assert overlap(mask, expected) >= 0.98
    assert tracks.ids == (1, 2)


def test_what_is_forgotten_leaves_the_others_as_they_are(segmenter: OnnxSegmenter) -> None:
    frames = clip(10)
    both, alone = memory_of(segmenter), memory_of(segmenter)
    both.start(frames[0], first_masks())
    alone.start(frames[0], first_masks()[:1])
    both.step(frames[1])
    alone.step(frames[1])
    both.forget(2)
    for frame in frames[2:]:
        one, other = both.step(frame), alone.step(frame)
        assert one.ids == other.ids == (1,)
        assert overlap(one.masks[0], other.masks[0]) >= 0.99


def test_memory_is_bounded_however_long_something_is_followed(segmenter: OnnxSegmenter) -> None:
    frames = clip(20)
    tracker = memory_of(segmenter)
    tracker.start(frames[0], first_masks())
    for step in range(40):
        tracker.step(frames[step % 20])
    (first, _) = tracker._objects
    assert (len(first.recent), len(first.pointers)) == (6, 15)


def test_a_checkpoint_whose_grid_is_not_its_encoders_is_refused(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    model = Sam2VideoModel.from_pretrained(checkpoints[1])
    model.config.memory_attention_rope_feat_sizes = [4, 4]
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="memory_attention_rope_feat_sizes"):
        export_tracker(tmp_path, tmp_path / "out")


def test_half_precision_graphs_say_nearly_the_same(
    checkpoints: tuple[Path, Path], segmenter: OnnxSegmenter, tmp_path: Path
) -> None:
    files = export_segmenter(checkpoints[0], tmp_path, arithmetic="half")
    files |= export_tracker(checkpoints[1], tmp_path, arithmetic="half")
    half, full = memory_of(OnnxSegmenter(files, (SIDE, SIDE))), memory_of(segmenter)
    frames = clip(6)
    half.start(frames[0], first_masks())
    full.start(frames[0], first_masks())
    for frame in frames[1:]:
        one, other = half.step(frame), full.step(frame)
        assert np.abs(one.scores - other.scores).max() < 0.02
        assert min(overlap(*pair) for pair in zip(one.masks, other.masks, strict=True)) > 0.9


def test_one_checkpoint_with_memory_gives_segmenter_and_tracker(
    checkpoints: tuple[Path, Path], graphs: tuple[Graphs, Graphs], segmenter: OnnxSegmenter, tmp_path: Path
) -> None:
    """As Facebook's are."""
    files = export_segmenter(checkpoints[1], tmp_path, store="float")
    both = OnnxSegmenter(files | graphs[1], (SIDE, SIDE))
    one, other = memory_of(both), memory_of(segmenter)
    for tracker in (one, other):
        tracker.start(clip(1)[0], first_masks())
    for frame in clip(3)[1:]:
        assert np.array_equal(one.step(frame).masks, other.step(frame).masks)


def test_a_segmenter_without_the_graphs_gives_the_prompted_tracker(graphs: tuple[Graphs, Graphs]) -> None:
    assert make_tracker(OnnxSegmenter(graphs[0], (SIDE, SIDE))).kind == "prompted"


def test_a_bundle_gets_the_memory_of_a_tracker_with_its_encoder_and_of_no_other(
    checkpoints: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copytree(resolve_bundle("tabletop"), tmp_path / "tabletop")
    before = open_bundle(tmp_path / "tabletop")
    build_tracker(segmenter_of(before), 0).save_pretrained(tmp_path / "tracker")

    with pytest.raises(RejectedInput, match="128 x 128"):
        add_tracker(tmp_path / "tabletop", checkpoints[1])
    other = build_model(9)
    for lateral in other.vision_encoder.neck.convs:
        lateral.reset_parameters()
    build_tracker(other, 0).save_pretrained(tmp_path / "other")
    with pytest.raises(RejectedInput, match="encoder"):
        add_tracker(tmp_path / "tabletop", tmp_path / "other")

    after = add_tracker(tmp_path / "tabletop", tmp_path / "tracker")
    assert set(GRAPHS) <= set(after.segmenter.files)
    assert after.provenance["tracker"]["sha256"]
    assert open_pipeline(after, "onnx").new_tracker().kind == "memory"
    assert {name: hash_file(file) for name, file in before.reasoner.files.items()} == {
        name: hash_file(file) for name, file in after.reasoner.files.items()
    }
