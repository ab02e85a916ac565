"""The TensorRT backend, on a fake GPU, says what the ONNX backend says, leaks nothing, and waits before it reads."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segzero_ros.backends import EngineOptions, onnx, open_pipeline, tensorrt
from segzero_ros.backends.tensorrt.builder import build_engines
from segzero_ros.backends.tensorrt.device import Device
from segzero_ros.backends.tensorrt.engine import Engine
from segzero_ros.backends.tensorrt.library import Gpu, Library
from segzero_ros.backends.tensorrt.profiles import ROLES
from segzero_ros.backends.tensorrt.store import engine_folder, open_engine
from segzero_ros.bundle import Bundle
from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Pipeline
from tests.backends.tensorrt.fake_tensorrt import FakeCuda

GPU = Gpu("Fake GPU", "8.9", "CUDA 13.0")


@pytest.fixture
def options(machine: tuple[Library, FakeCuda], bundle: Bundle, tmp_path: Path) -> EngineOptions:
    build_engines(bundle, list(ROLES), str(tmp_path), machine[0], GPU, report=lambda _: None)
    return EngineOptions(engine_dir=str(tmp_path), threads=1)


def picture(seed: int = 0) -> Frame:
    rng = np.random.default_rng(seed)
    rgb = np.full((240, 320, 3), 90, np.uint8)
    for _ in range(5):
        x, y = rng.integers(0, (260, 180))
        rgb[y : y + 50, x : x + 50] = rng.integers(0, 255, 3)
    return Frame(rgb, seed)


def pipeline(module: Any, bundle: Bundle, options: EngineOptions) -> Pipeline:
    return Pipeline(bundle.profile, module.open_reasoner(bundle, options), module.open_segmenter(bundle, options))


@pytest.mark.parametrize("draft_tokens", [0, 4])
def test_words_and_masks_are_those_of_the_onnx_backend(
    machine: tuple[Library, FakeCuda], bundle: Bundle, options: EngineOptions, draft_tokens: int
) -> None:
    options = replace(options, draft_tokens=draft_tokens)
    ours, theirs = pipeline(tensorrt, bundle, options), pipeline(onnx, bundle, options)
    for seed in range(2):
        for words in ("the red block", "something left of the mug"):
            frame, command = picture(seed), Command("1", words)
            got, want = ours.ground(frame, command), theirs.ground(frame, command)
            assert got.code == want.code and got.reasoning == want.reasoning
            assert [instance.box for instance in got.instances] == [instance.box for instance in want.instances]
            np.testing.assert_array_equal(got.labels, want.labels)
    assert machine[1].launches > 10, "decode steps run as recorded graphs"


def test_logits_are_equal_whatever_the_number_of_rows(
    machine: tuple[Library, FakeCuda], bundle: Bundle, options: EngineOptions
) -> None:
    engines = [module.open_reasoner(bundle, options)._engine for module in (tensorrt, onnx)]
    half, rng = engines[0].shape.head_dim // 2, np.random.default_rng(0)
    place = 0
    for rows in (40, 1, 1, 1, 3, 3, 3, 8, 9, 8, 1):
        angles = rng.uniform(0, 6, (rows, half)).astype(np.float32)
        ids = rng.integers(0, 800, rows)
        got, want = (engine.append(ids, np.cos(angles), np.sin(angles), place).copy() for engine in engines)
        np.testing.assert_allclose(got, want, atol=1e-5)
        place += rows


def test_without_graphs_the_answer_is_the_same(
    machine: tuple[Library, FakeCuda], bundle: Bundle, options: EngineOptions, caplog: pytest.LogCaptureFixture
) -> None:
    machine[1].no_capture = True
    frame, command = picture(), Command("1", "the blue block")
    got, want = (pipeline(module, bundle, options).ground(frame, command) for module in (tensorrt, onnx))
    assert got.reasoning == want.reasoning and not machine[1].launches
    assert "without CUDA graphs" in caplog.text


def test_everything_is_given_back(machine: tuple[Library, FakeCuda], bundle: Bundle, options: EngineOptions) -> None:
    opened = pipeline(tensorrt, bundle, options)
    opened.ground(picture(), Command("1", "the blue block"))
    assert machine[1].live and machine[1].graphs
    del opened
    gc.collect()
    assert not machine[1].live and not machine[1].graphs


def test_a_token_allocates_nothing(machine: tuple[Library, FakeCuda], bundle: Bundle, options: EngineOptions) -> None:
    engine = tensorrt.open_reasoner(bundle, options)._engine
    row = np.zeros((1, engine.shape.head_dim // 2), np.float32)
    for place in range(3):
        engine.append(np.array([5]), row, row, place)
    before = set(machine[1].live), machine[1].runs
    for place in range(3, 40):
        engine.append(np.array([5]), row, row, place)
    assert (set(machine[1].live), machine[1].runs) == before


def test_a_gpu_that_is_too_small_is_a_refusal_and_keeps_nothing(
    machine: tuple[Library, FakeCuda], bundle: Bundle, options: EngineOptions
) -> None:
    machine[1].memory = 1 << 20
    with pytest.raises(RejectedInput, match="cudaErrorMemoryAllocation") as refusal:
        tensorrt.open_reasoner(bundle, options)
    assert refusal.value.code is Code.BUNDLE_BACKEND
    del refusal
    gc.collect()
    assert not machine[1].live


def test_what_rtx_says_of_a_header_is_passed_on(
    machine: tuple[Library, FakeCuda], bundle: Bundle, options: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = machine[0]
    if library.flavour == "tensorrt":
        return
    monkeypatch.setattr(library.api.Runtime, "verdict", (library.api.EngineValidity.INVALID, 1))
    with pytest.raises(RejectedInput, match=r"VERSION_MISMATCH.*segzero engines build"):
        tensorrt.open_segmenter(bundle, options)
    assert library.api.Runtime.deserialised == 0


def test_usable_only_with_engines_and_says_what_to_run(
    machine: tuple[Library, FakeCuda], bundle: Bundle, options: EngineOptions, tmp_path: Path
) -> None:
    assert tensorrt.why_unavailable(bundle, options) == ""
    why = tensorrt.why_unavailable(bundle, replace(options, engine_dir=str(tmp_path / "none")))
    assert "segmenter.encoder: not built" in why and f"segzero engines build {bundle.path}" in why
    machine[1].gpus = 0
    assert "no NVIDIA GPU" in tensorrt.why_unavailable(bundle, options)


def test_a_segmenter_can_be_used_without_the_reasoner(
    machine: tuple[Library, FakeCuda], bundle: Bundle, tmp_path: Path
) -> None:
    roles = [role for role in ROLES if role.startswith("segmenter")]
    build_engines(bundle, roles, str(tmp_path), machine[0], GPU, report=lambda _: None)
    options = EngineOptions(engine_dir=str(tmp_path), threads=1)
    found = open_pipeline(bundle, "auto", options=options)
    assert "segmenter tensorrt" in found.engines and "no engine for reasoner.vision" in found.engines


def test_rows_of_an_older_picture_are_not_taken_for_the_newest(
    machine: tuple[Library, FakeCuda], bundle: Bundle, options: EngineOptions
) -> None:
    engine = tensorrt.open_reasoner(bundle, options)._engine
    width, height = engine.shape.image_size
    old = engine.encode_image(np.zeros((3, height, width), np.float32))
    engine.encode_image(np.ones((3, height, width), np.float32))
    rows = np.zeros((60, engine.shape.head_dim // 2), np.float32)
    with pytest.raises(RuntimeError, match="older picture"):
        engine.append(np.zeros(60, np.int64), rows, rows, 0, (slice(2, 51), old))


def test_no_buffer_is_freed_under_a_context_whichever_profile_comes_first(
    machine: tuple[Library, FakeCuda], bundle: Bundle, options: EngineOptions
) -> None:
    """A larger profile made later gets larger outputs; the contexts before it write there too."""
    library, cuda = machine
    folder = engine_folder(options.engine_dir, bundle)
    with open_engine(bundle, "reasoner.embeddings", folder, library, GPU) as plan:
        engine = Engine(library, Device(cuda), plan)
    first = engine.execution()
    (name,) = engine.outputs
    small = engine.buffers[name]
    grown = engine.grow(name, 4 * small.elements)
    old = small.pointer
    del small
    gc.collect()
    assert first._context._addresses[name] == grown.pointer == engine.buffers[name].pointer
    assert {old, grown.pointer} <= cuda.live.keys(), "a recorded graph may still write to the old one"
    del first, engine, grown
    gc.collect()
    assert old not in cuda.live
