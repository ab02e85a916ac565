"""The torch engine is the same model: transformers' logits, the ONNX graphs' texts, whatever way the rows come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch

from export.reasoner_onnx import FILES, export_reasoner, load_checkpoint
from segzero_ros.backends import EngineOptions, torch_cuda
from segzero_ros.backends.decoding.generation import LocalReasoner
from segzero_ros.backends.decoding.preprocess import patchify
from segzero_ros.backends.onnx.reasoner import OnnxEngine
from segzero_ros.backends.torch_cuda.engine import CAPTURED_ROWS, LOGIT_ROWS, TorchEngine
from segzero_ros.backends.torch_cuda.layers import DeviceDtype
from segzero_ros.backends.torch_cuda.parentage import weight_hashes
from segzero_ros.backends.torch_cuda.vision import FixedGridVision, FusedLayers, VisionGrid
from segzero_ros.bundle import Bundle, open_bundle
from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.reasoner import Request
from segzero_ros.tabletop.samples import samples
from tests.export.small_reasoner import random_model, save_checkpoint, small_config, small_tokenizer

ROOT = Path(__file__).parents[3]
CHECKPOINT = ROOT / "checkpoints" / "tabletop"
CPU = DeviceDtype(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("reasoner") / "checkpoint")


@pytest.fixture(scope="module")
def model(checkpoint: Path):
    return load_checkpoint(checkpoint)


@pytest.fixture
def engine(model) -> TorchEngine:
    return TorchEngine(model, image_size=(168, 168), max_length=512, device="cpu")


def close(got: np.ndarray, want: np.ndarray) -> bool:
    return got.shape == want.shape and float(np.abs(got - want).max()) <= 1e-4 * float(np.abs(want).max())


def rows(engine: TorchEngine, count: int, seed: int = 0):
    """Random ids and their text rotary rows from position 0 on."""
    ids = np.random.default_rng(seed).integers(0, engine.shape.vocabulary, count)
    half = engine.shape.head_dim // 2
    frequency = engine.shape.rope_theta ** (-np.arange(half) / half)
    angles = np.arange(count)[:, None] * frequency
    return ids.astype(np.int64), np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


@pytest.mark.parametrize("size", [(168, 168), (196, 196), (112, 224), (28, 28)])
def test_the_tower_is_transformers_own(model, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).standard_normal((3, size[1], size[0])).astype(np.float32)
    grid = torch.tensor([[1, size[1] // 14, size[0] // 14]])
    with torch.inference_mode():
        want = model.model.visual(torch.from_numpy(patchify(pixels)), grid_thw=grid).pooler_output
        tower = FixedGridVision(VisionGrid(model.config.vision_config, size), FusedLayers(model.model.visual, CPU), CPU)
        got = tower(torch.from_numpy(pixels)[None])[0]
    assert torch.allclose(got, want, atol=2e-4 * float(want.abs().max()))


def test_a_text_has_transformers_own_logits(model, engine: TorchEngine) -> None:
    ids, cos, sin = rows(engine, 40)
    with torch.inference_mode():
        want = model(input_ids=torch.from_numpy(ids)[None]).logits[0, -LOGIT_ROWS:].numpy()
    assert close(engine.append(ids, cos, sin, 0), want)


@pytest.mark.parametrize("cut", [(1,), (39,), (7, 8, 20), tuple(range(1, 40))])
def test_rows_in_pieces_are_rows_at_once(engine: TorchEngine, cut: tuple[int, ...]) -> None:
    ids, cos, sin = rows(engine, 40)
    whole = engine.append(ids, cos, sin, 0).copy()
    for start, end in zip((0, *cut), (*cut, 40), strict=True):
        logits = engine.append(ids[start:end], cos[start:end], sin[start:end], start)
        assert len(logits) == min(end - start, LOGIT_ROWS)
    assert close(logits[-1], whole[-1])


def test_rows_written_once_can_be_written_over(engine: TorchEngine) -> None:
    """What a guess left behind, or padding, is gone when the next pass writes there."""
    ids, cos, sin = rows(engine, 20)
    fresh = engine.append(ids, cos, sin, 0).copy()
    engine.append(rows(engine, 20, seed=1)[0], cos, sin, 0)
    engine.append(ids[:10], cos[:10], sin[:10], 0)
    assert close(engine.append(ids[10:], cos[10:], sin[10:], 10), fresh)


@pytest.mark.parametrize("dtype, limit", [(torch.float16, 0.01), (torch.bfloat16, 0.05)])
def test_in_16_bits_logits_differ_by_rounding_only(model, engine: TorchEngine, dtype, limit: float) -> None:
    ids, cos, sin = rows(engine, 40)
    half = TorchEngine(model, image_size=(168, 168), max_length=512, device="cpu", dtype=dtype)
    for start, end in ((0, 30), (30, 40)):
        part = slice(start, end)
        got, want = (each.append(ids[part], cos[part], sin[part], start).copy() for each in (half, engine))
    assert float(np.abs(got - want).max()) <= limit * float(np.abs(want).max())


def test_rows_beyond_the_cache_are_a_defect(engine: TorchEngine) -> None:
    with pytest.raises(ValueError, match="513"):
        engine.append(*rows(engine, 33), 480)


def test_an_image_that_is_no_multiple_of_a_token_is_refused(model) -> None:
    with pytest.raises(ValueError, match="multiples of 28"):
        TorchEngine(model, image_size=(170, 168), max_length=64, device="cpu")


def test_the_model_is_left_alone(model, checkpoint: Path) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    engine = TorchEngine(model, image_size=(168, 168), max_length=64, device="cpu")
    engine.append(*rows(engine, 8), 0)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_an_untied_head_is_used() -> None:
    untied = random_model(small_config(small_tokenizer(), tied=False), seed=3)
    other = TorchEngine(untied, image_size=(168, 168), max_length=64, device="cpu")
    ids, cos, sin = rows(other, 9)
    with torch.inference_mode():
        want = untied(input_ids=torch.from_numpy(ids)[None]).logits[0, -LOGIT_ROWS:].numpy()
    assert close(other.append(ids, cos, sin, 0), want)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory):
    """The demo's checkpoint, twice: as ONNX graphs and in torch. Its answers are sure, so rounding changes none."""
    folder = tmp_path_factory.mktemp("demo")
    export_reasoner(CHECKPOINT, folder, image_size=(196, 196), max_length=512, store="single")
    onnx = OnnxEngine({role: folder / name for role, name in FILES.items()}, EngineOptions(threads=1))
    return onnx, TorchEngine(load_checkpoint(CHECKPOINT), image_size=(196, 196), max_length=512, device="cpu")


@pytest.mark.parametrize("constrained", [False, True])
def test_it_says_what_the_onnx_graphs_say(demo, constrained: bool) -> None:
    profile = open_bundle(ROOT / "bundles" / "tabletop").profile
    tokenizer = (CHECKPOINT / "tokenizer.json").read_text("utf-8")
    options = EngineOptions(constrained=constrained, draft_tokens=4)
    reasoners = [LocalReasoner(engine, tokenizer, profile, options) for engine in demo]
    for sample in samples("test", seed=3, count=4):
        frame, command = Frame(sample.view.rgb, 0, ""), Command("1", sample.instruction.text)
        one, other = (reasoner.reason(Request(frame, command, 64)) for reasoner in reasoners)
        assert one.text == other.text and one.finish == other.finish and "</answer>" in one.text
        assert one.confidence == pytest.approx(other.confidence, abs=1e-3)


# ---- recorded passes ----


class Recording:
    """Stands in for a CUDA graph: run again, with the result left in the same place."""

    def __init__(self, run) -> None:
        self.run, self.result, self.replays = run, run(), 0

    def replay(self) -> None:
        self.result.copy_(self.run())
        self.replays += 1


@pytest.fixture
def recorded(model) -> tuple[TorchEngine, list[Recording]]:
    recordings: list[Recording] = []

    def record(run):
        recordings.append(Recording(run))
        return recordings[-1], recordings[-1].result

    engine = TorchEngine(model, image_size=(168, 168), max_length=600, device="cpu")
    engine._capture(record)
    return engine, recordings


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 20, 32])
def test_a_padded_recorded_pass_says_what_an_exact_one_says(recorded, engine: TorchEngine, count: int) -> None:
    ids, cos, sin = rows(engine, 60)
    last = slice(40, 40 + count) if count <= 20 else slice(28, 60)
    for each in (recorded[0], engine):
        each.append(ids[:40], cos[:40], sin[:40], 0)
    got, want = (each.append(ids[last], cos[last], sin[last], last.start).copy() for each in (recorded[0], engine))
    assert sum(recording.replays for recording in recorded[1]) == 1
    assert close(got, want)


def test_padding_is_never_seen(recorded, engine: TorchEngine) -> None:
    """Two rows are padded to eight: the six after them are written anew by the next passes."""
    ids, cos, sin = rows(engine, 40)
    want = engine.append(ids, cos, sin, 0)[-1].copy()
    recorded[0].append(ids[:33], cos[:33], sin[:33], 0)
    for start, end in ((33, 35), (35, 38), (38, 39), (39, 40)):
        got = recorded[0].append(ids[start:end], cos[start:end], sin[start:end], start)
    assert close(got[-1], want)


def test_at_the_caches_end_rows_are_not_padded_beyond_it(recorded) -> None:
    engine, recordings = recorded
    assert len(engine.append(*rows(engine, 3), 597)) == 3
    assert not any(recording.replays for recording in recordings)


def test_a_recorded_picture_is_kept_when_the_next_is_looked_at(recorded, engine: TorchEngine) -> None:
    pictures = np.random.default_rng(1).standard_normal((2, 3, 168, 168)).astype(np.float32)
    first, second = (recorded[0].encode_image(picture) for picture in pictures)
    assert torch.equal(first, engine.encode_image(pictures[0])) and torch.equal(
        second, engine.encode_image(pictures[1])
    )


def test_there_is_a_recording_for_every_row_count_and_length(recorded) -> None:
    assert set(recorded[0]._graphs) == {(count, length) for count in CAPTURED_ROWS for length in (512, 600)}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_graphs_on_a_gpu_say_what_launched_passes_say(model) -> None:
    single = {"image_size": (168, 168), "max_length": 600, "dtype": torch.float32}
    captured, launched = TorchEngine(model, **single), TorchEngine(model, graphs=False, **single)
    ids, cos, sin = rows(captured, 60)
    for start, end in ((0, 40), (40, 41), (41, 43), (43, 51), (51, 60)):
        part = slice(start, end)
        got, want = (each.append(ids[part], cos[part], sin[part], start).copy() for each in (captured, launched))
        assert close(got, want)


# ---- opening ----


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """The demo bundle, as if it were CHECKPOINT's; it is one of a later step of that training."""
    bundle = open_bundle(ROOT / "bundles" / "tabletop")
    return replace(bundle, provenance={"reasoner": {"sha256": weight_hashes(CHECKPOINT)}})


def test_another_checkpoint_than_the_bundles_is_refused() -> None:
    with pytest.raises(RejectedInput, match="was exported from one with") as caught:
        torch_cuda.open_reasoner(open_bundle(ROOT / "bundles" / "tabletop"), EngineOptions(model=str(CHECKPOINT)))
    assert caught.value.code is Code.BUNDLE_BACKEND


def test_a_bundle_is_opened_with_the_checkpoint_that_is_named(bundle: Bundle) -> None:
    reasoner = torch_cuda.open_reasoner(bundle, EngineOptions(model=str(CHECKPOINT)))
    frame = Frame(np.zeros((48, 64, 3), np.uint8), 0, "camera")
    answer = reasoner.reason(Request(frame, Command("1", "the red mug"), 32))
    assert "</answer>" in answer.text


def test_what_torch_cannot_open_is_one_clear_line(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((CHECKPOINT / "config.json").read_text())
    for model in ("", str(tmp_path / "nowhere"), str(tmp_path)):
        with pytest.raises(RejectedInput) as caught:
            torch_cuda.open_reasoner(bundle, EngineOptions(model=model))
        assert caught.value.code is Code.BUNDLE_BACKEND and "\n" not in caught.value.detail


def test_without_a_gpu_it_says_so(bundle: Bundle) -> None:
    why = torch_cuda.why_unavailable(bundle, EngineOptions(model=str(CHECKPOINT)))
    assert why == "" if torch.cuda.is_available() else "no CUDA device" in why
