"""On a GPU: TensorRT's engines say what ONNX Runtime says of the same graphs, and 200 requests cost no memory.

Every test also runs on the fake GPU of tests/core, so that where there is a real one the tests are not the problem.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segzero_ros.backends import EngineOptions, onnx, tensorrt
from segzero_ros.backends.tensorrt import store as tensorrt_store
from segzero_ros.backends.tensorrt.builder import build_engines
from segzero_ros.backends.tensorrt.library import Gpu, Library, find_cuda, find_gpu, find_library
from segzero_ros.backends.tensorrt.profiles import ROLES
from segzero_ros.backends.tracker import make_tracker
from segzero_ros.bundle import Bundle, open_bundle
from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Pipeline
from tests.backends.tensorrt.fake_tensorrt import FakeCuda, fake_tensorrt

BUNDLE = Path(__file__).parents[2] / "bundles" / "tabletop"
COMMANDS = ("the red block", "the blue mug", "something to drink from", "the leftmost thing")
REQUESTS = {"fake": 6, "gpu": 200}
LEFT = {"fake": 1 << 18, "gpu": 4 << 20}  # bytes of a full GPU; the real one gives memory by 2 MiB
# Of the largest magnitude; the engines are built without TF32, so only the order of FP32 sums differs.
CLOSE = 2e-3


@dataclass(frozen=True, slots=True)
class Machine:
    """What engines run on."""

    kind: str
    library: Library
    cuda: Any
    gpu: Gpu


def real_machine() -> Machine:
    try:
        cuda = find_cuda()
        return Machine("gpu", find_library(), cuda, find_gpu(cuda))
    except RejectedInput as error:
        pytest.skip(error.detail)


def fake_machine() -> Machine:
    cuda = FakeCuda(memory=1 << 28)
    library = Library("tensorrt_rtx", "1.7.1", fake_tensorrt("tensorrt_rtx", cuda))
    return Machine("fake", library, cuda, Gpu("Fake GPU", "8.9", "CUDA 13.0"))


@pytest.fixture(scope="module", params=["fake", pytest.param("gpu", marks=pytest.mark.gpu)])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    found = real_machine() if request.param == "gpu" else fake_machine()
    with pytest.MonkeyPatch.context() as patch:
        for module in (tensorrt, tensorrt_store):
            patch.setattr(module, "find_library", lambda: found.library)
            patch.setattr(module, "find_cuda", lambda: found.cuda)
            patch.setattr(module, "find_gpu", lambda _: found.gpu)
            patch.setattr(module, "installed", lambda _: True, raising=False)
        yield found


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(BUNDLE)


@pytest.fixture(scope="module")
def options(machine: Machine, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> EngineOptions:
    folder = str(tmp_path_factory.mktemp("engines"))
    build_engines(bundle, list(ROLES), folder, machine.library, machine.gpu)
    assert tensorrt_store.verify(bundle, folder)
    return EngineOptions(engine_dir=folder, threads=1, encode_ahead=False)


@pytest.fixture(scope="module")
def both(machine: Machine, bundle: Bundle, options: EngineOptions) -> tuple[Pipeline, Pipeline]:
    """The pipeline on TensorRT and the one on ONNX Runtime's CPU provider."""
    ours, theirs = (
        Pipeline(bundle.profile, module.open_reasoner(bundle, options), module.open_segmenter(bundle, options))
        for module in (tensorrt, onnx)
    )
    return ours, theirs


def picture(seed: int) -> Frame:
    rng = np.random.default_rng(seed)
    rgb = np.full((480, 640, 3), rng.integers(60, 200, 3), np.uint8)
    for _ in range(6):
        x, y = rng.integers(0, (560, 400))
        rgb[y : y + 70, x : x + 70] = rng.integers(0, 255, 3)
    return Frame(rgb, seed)


def largest_difference(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.abs(got - want).max() / np.abs(want).max())


def test_logits_of_every_kind_of_pass_are_close(both: tuple[Pipeline, Pipeline]) -> None:
    frame, command, reply = picture(0), Command("1", "the red block"), list(range(40, 70))
    got, want = (pipeline.reasoner.score(frame, command, reply) for pipeline in both)
    assert largest_difference(got, want) < CLOSE


@pytest.mark.parametrize("rows", [1, 2, 8, 9, 100])
def test_rows_by_graph_and_by_prefill_are_close(both: tuple[Pipeline, Pipeline], rows: int) -> None:
    engines = [pipeline.reasoner._engine for pipeline in both]
    rng = np.random.default_rng(rows)
    angles = rng.uniform(0, 6, (rows, engines[0].shape.head_dim // 2)).astype(np.float32)
    for _ in range(3):  # plainly, recorded, as a graph
        ids = rng.integers(0, 800, rows)
        got, want = (engine.append(ids, np.cos(angles), np.sin(angles), 0).copy() for engine in engines)
        assert largest_difference(got, want) < CLOSE


@pytest.mark.parametrize("objects", [1, 3, 16])
def test_features_and_mask_logits_are_close(both: tuple[Pipeline, Pipeline], objects: int) -> None:
    engines = [pipeline.segmenter._engine for pipeline in both]
    rng = np.random.default_rng(objects)
    pixels = rng.standard_normal((1, 3, 256, 256), dtype=np.float32)
    corners = np.sort(rng.uniform(0, 256, (objects, 2, 2)), axis=1).reshape(objects, 4).astype(np.float32)
    prompts = {
        "boxes": corners,
        "points": ((corners[:, :2] + corners[:, 2:]) / 2)[:, None],
        "point_labels": np.ones((objects, 1), np.int64),
    }
    outputs = []
    for engine in engines:
        engine.encode(pixels)
        outputs.append([value.copy() for value in engine.decode(prompts)])
    for got, want in zip(*outputs, strict=True):
        assert largest_difference(got, want) < CLOSE


@pytest.mark.parametrize("words", COMMANDS)
def test_whole_answers_are_the_same(both: tuple[Pipeline, Pipeline], words: str) -> None:
    frame = picture(len(words))
    got, want = (pipeline.ground(frame, Command("1", words)) for pipeline in both)
    assert got.code == want.code and got.reasoning == want.reasoning
    assert [instance.box for instance in got.instances] == [instance.box for instance in want.instances]
    assert (got.labels != want.labels).mean() < 1e-3


def test_what_is_followed_by_memory_is_the_same(both: tuple[Pipeline, Pipeline]) -> None:
    first = picture(3)
    height, width = first.rgb.shape[:2]
    masks = np.zeros((5, height, width), bool)
    for number, mask in enumerate(masks):
        mask[20 + 30 * number : 60 + 30 * number, 40:90] = True
    trackers = [make_tracker(pipeline.segmenter) for pipeline in both]
    assert [tracker.kind for tracker in trackers] == ["memory", "memory"]
    for tracker in trackers:
        tracker.start(first, masks)
    for step in range(1, 4):
        moved = Frame(np.ascontiguousarray(np.roll(first.rgb, 4 * step, axis=1)), step)
        got, want = (tracker.step(moved) for tracker in trackers)
        assert got.ids == want.ids
        assert (got.masks != want.masks).mean() < 1e-3
        assert largest_difference(got.presence, want.presence) < CLOSE


def test_requests_cost_no_memory(machine: Machine, both: tuple[Pipeline, Pipeline]) -> None:
    free = []
    for request in range(REQUESTS[machine.kind]):
        both[0].ground(picture(request % 5), Command("1", COMMANDS[request % len(COMMANDS)]))
        free.append(machine.cuda.cudaMemGetInfo()[1])
    half = len(free) // 2
    assert free[-1] == free[half], "memory went away after the first half of the requests"


def test_a_full_gpu_is_a_refusal_and_the_next_opening_works(
    machine: Machine, bundle: Bundle, options: EngineOptions
) -> None:
    error, hog = machine.cuda.cudaMalloc(machine.cuda.cudaMemGetInfo()[1] - LEFT[machine.kind])
    assert int(error) == 0
    try:
        with pytest.raises(RejectedInput) as refusal:
            tensorrt.open_reasoner(bundle, options)
        assert refusal.value.code is Code.BUNDLE_BACKEND
    finally:
        machine.cuda.cudaFree(hog)
    tensorrt.open_reasoner(bundle, options)
