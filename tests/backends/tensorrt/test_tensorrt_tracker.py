"""The memory on TensorRT, on a fake GPU: it follows as the ONNX backend does, or by prompts where it was not built."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segzero_ros.backends import EngineOptions, onnx, open_pipeline, tensorrt
from segzero_ros.backends.sam2_memory import GRAPHS
from segzero_ros.backends.tensorrt.builder import build_engines
from segzero_ros.backends.tensorrt.library import Gpu, Library
from segzero_ros.backends.tensorrt.profiles import ATTENDED, MEMORY_ROLES
from segzero_ros.backends.tensorrt.store import roles_of
from segzero_ros.backends.tracker import make_tracker
from segzero_ros.bundle import Bundle
from segzero_ros.frame import Frame
from tests.backends.tensorrt.fake_tensorrt import FakeCuda

GPU = Gpu("Fake GPU", "8.9", "CUDA 13.0")


def build(bundle: Bundle, library: Library, folder: Path, roles: tuple[str, ...]) -> EngineOptions:
    build_engines(bundle, roles, str(folder), library, GPU, report=lambda _: None)
    return EngineOptions(engine_dir=str(folder), threads=1, encode_ahead=False)


def frame(number: int) -> Frame:
    """Blocks on a table, and a camera that goes by."""
    rng = np.random.default_rng(1)
    rgb = np.full((300, 400, 3), 120, np.uint8)
    for row in range(2):
        for column in range(3):
            x, y = 40 + 120 * column, 40 + 120 * row
            rgb[y : y + 60, x : x + 60] = rng.integers(0, 255, 3)
    return Frame(np.ascontiguousarray(rgb[4 * number : 240 + 4 * number, 6 * number : 320 + 6 * number]), number)


def starts(count: int) -> Any:
    """Masks of the blocks of frame 0, ``count`` of them, some twice."""
    masks = np.zeros((count, 240, 320), bool)
    for number, mask in enumerate(masks):
        x, y = 40 + 120 * (number % 2), 40 + 120 * (number // 2 % 2)
        mask[y : y + 60, x : x + 60] = True
    return masks


@pytest.mark.parametrize("objects", [2, ATTENDED + 1])
def test_it_follows_as_the_onnx_backend_does(
    machine: tuple[Library, FakeCuda], bundle: Bundle, tmp_path: Path, objects: int
) -> None:
    options = build(bundle, machine[0], tmp_path, roles_of(bundle, "segmenter"))
    ours, theirs = (make_tracker(module.open_segmenter(bundle, options)) for module in (tensorrt, onnx))
    assert ours.kind == theirs.kind == "memory"
    for tracker in (ours, theirs):
        tracker.start(frame(0), starts(objects))
    for number in range(1, 5):
        if number == 3:
            for tracker in (ours, theirs):
                tracker.forget(1)
                assert tracker.start(frame(2), starts(1)) == (objects + 1,)
        got, want = ours.step(frame(number)), theirs.step(frame(number))
        assert got.ids == want.ids
        np.testing.assert_array_equal(got.masks, want.masks)
        np.testing.assert_allclose(got.presence, want.presence, atol=1e-5)
    assert want.masks.any(), "something is seen, so that equal masks mean something"


def test_steps_cost_no_memory_and_everything_is_given_back(
    machine: tuple[Library, FakeCuda], bundle: Bundle, tmp_path: Path
) -> None:
    options = build(bundle, machine[0], tmp_path, roles_of(bundle, "segmenter"))
    segmenter = tensorrt.open_segmenter(bundle, options)
    tracker = make_tracker(segmenter)
    tracker.start(frame(0), starts(2))
    tracker.step(frame(1))
    before = set(machine[1].live)
    for number in range(2, 6):
        tracker.step(frame(number))
    assert set(machine[1].live) == before
    del segmenter, tracker
    gc.collect()
    assert not machine[1].live


def test_what_was_built_before_there_was_a_memory_is_used_and_the_log_says_what_to_build(
    machine: tuple[Library, FakeCuda], bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = tuple(role for role in roles_of(bundle) if role not in MEMORY_ROLES)
    options = build(bundle, machine[0], tmp_path, old)
    opened = open_pipeline(bundle, "tensorrt", options=options)
    assert "following prompted" in opened.engines and opened.new_tracker().kind == "prompted"
    assert "no engine for segmenter.mask_prompt: not built" in caplog.text
    assert f"segzero engines build {bundle.path}" in caplog.text
    build(bundle, machine[0], tmp_path, MEMORY_ROLES)
    assert open_pipeline(bundle, "tensorrt", options=options).engines.endswith("following memory")


def test_a_bundle_has_the_roles_of_its_graphs(bundle: Bundle) -> None:
    assert set(MEMORY_ROLES) < set(roles_of(bundle, "segmenter")) < set(roles_of(bundle))
    assert {role.split(".")[1] for role in MEMORY_ROLES} == set(GRAPHS)
