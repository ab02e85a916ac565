"""TensorRT-RTX builds a real engine from every exported graph, FP32 and FP16; FP16 says what FP32 says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")

from bench.checkpoint_of_bundle import segmenter_of, write_checkpoints
from export.bundle import export_bundle
from export.tracker.join import add_tracker
from segzero_ros.backends import EngineOptions, onnx, tensorrt
from segzero_ros.backends.tensorrt.builder import BuildFailed, build_engines, build_network
from segzero_ros.backends.tensorrt.device import Device
from segzero_ros.backends.tensorrt.engine import Engine
from segzero_ros.backends.tensorrt.library import FLAVOURS, Gpu, Library, find_library
from segzero_ros.backends.tensorrt.store import engine_folder, notes, open_engine, precision, roles_of
from segzero_ros.backends.tracker import make_tracker
from segzero_ros.bundle import Bundle, open_bundle
from segzero_ros.cli.main import main as segzero
from segzero_ros.command import read_command
from segzero_ros.errors import RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.matching import box_iou
from segzero_ros.pipeline import Pipeline
from segzero_ros.segmenter import Tracker, Tracks
from segzero_ros.tabletop.samples import samples
from tests.backends.tensorrt.fake_tensorrt import FakeCuda, fake_tensorrt
from training.tracker.model import build_tracker

FULL = Path(__file__).parents[3] / "bundles" / "tabletop"
GPU = Gpu("NVIDIA GeForce RTX 4090", "8.9", "580.95.05 (CUDA 13.0)")
QUESTIONS = 6


@pytest.fixture(scope="module")
def rtx() -> Library:
    pytest.importorskip(FLAVOURS["tensorrt_rtx"])
    return find_library()


def real_gpu() -> bool:
    return Path("/proc/driver/nvidia").exists()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """The demo bundle in FP32 arithmetic and the same weights exported in FP16, with a memory of random ones."""
    folder = tmp_path_factory.mktemp("half")
    full = open_bundle(FULL)
    reasoner, segmenter = write_checkpoints(full, folder)
    half = export_bundle(
        reasoner, segmenter, folder / "tabletop-half", full.profile,
        max_length=full.reasoner.max_length, arithmetic="half", compare=0,
    )  # fmt: skip
    build_tracker(segmenter_of(full), 0).save_pretrained(folder / "tracker")
    half = add_tracker(half.path, folder / "tracker")
    return {"float": full, "half": half}


def open_onnx(bundle: Bundle) -> Pipeline:
    options = EngineOptions(threads=1)
    return Pipeline(bundle.profile, onnx.open_reasoner(bundle, options), onnx.open_segmenter(bundle, options))


def questions() -> list[Any]:
    return list(samples("test", 3, QUESTIONS))


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def test_boxes_and_masks_in_half_are_those_in_full(bundles: dict[str, Bundle]) -> None:
    full, half = (open_onnx(bundles[name]) for name in ("float", "half"))
    assert precision(bundles["half"]) == "half" and precision(bundles["float"]) == "float"
    compared = 0
    for sample in questions():
        frame, command = Frame(np.ascontiguousarray(sample.view.rgb), 0), read_command(sample.instruction.text, "1")
        want, got = full.ground(frame, command), half.ground(frame, command)
        assert got.code == want.code and len(got.instances) == len(want.instances)
        for ours, theirs in zip(got.instances, want.instances, strict=True):
            assert box_iou(ours.box, theirs.box) > 0.9
        if want.instances:
            assert iou(got.labels > 0, want.labels > 0) > 0.95
            compared += 1
    assert compared >= 3


@pytest.mark.parametrize("arithmetic", ["float", "half"])
def test_every_graph_becomes_an_engine(
    arithmetic: str, bundles: dict[str, Bundle], rtx: Library, tmp_path: Path
) -> None:
    bundle, said = bundles[arithmetic], []
    files = build_engines(bundle, roles_of(bundle), str(tmp_path), rtx, GPU, report=said.append)
    folder = engine_folder(str(tmp_path), bundle)
    assert len(files) == len(roles_of(bundle)) == len(list(notes(folder))), said
    for role in roles_of(bundle):
        with open_engine(bundle, role, folder, rtx, GPU) as plan:
            assert len(plan) > 100_000
            if not real_gpu():
                with pytest.raises(RejectedInput, match=r"TensorRT does not take the engine: .*[Cc]uda"):
                    Engine(rtx, Device(FakeCuda()), plan)
    assert {note.identity.precision for _, note in notes(folder)} == {arithmetic}


def test_the_runtime_runs_half_graphs_with_half_caches(
    bundles: dict[str, Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, cuda = bundles["half"], FakeCuda()
    library = Library("tensorrt_rtx", "1.7.1", fake_tensorrt("tensorrt_rtx", cuda))
    monkeypatch.setattr(tensorrt, "_machine", lambda: (library, cuda, GPU))
    build_engines(bundle, roles_of(bundle), str(tmp_path), library, GPU, report=lambda _: None)
    options = EngineOptions(engine_dir=str(tmp_path))
    ours = Pipeline(bundle.profile, tensorrt.open_reasoner(bundle, options), tensorrt.open_segmenter(bundle, options))
    theirs = open_onnx(bundle)
    sample = questions()[0]
    frame, command = Frame(np.ascontiguousarray(sample.view.rgb), 0), read_command(sample.instruction.text, "1")
    got, want = ours.ground(frame, command), theirs.ground(frame, command)
    assert got.reasoning == want.reasoning
    np.testing.assert_array_equal(got.labels, want.labels)
    followed = [make_tracker(pipeline.segmenter) for pipeline in (ours, theirs)]
    (got_tracks, want_tracks) = (_second(tracker, frame, want.labels > 0) for tracker in followed)
    assert [tracker.kind for tracker in followed] == ["memory", "memory"]
    np.testing.assert_array_equal(got_tracks.masks, want_tracks.masks)
    buffers = ours.reasoner._engine._decoder.buffers
    assert buffers["past_key_0"].dtype == np.float16 and buffers["present_key_0"] is buffers["past_key_0"]


def _second(tracker: Tracker, frame: Frame, mask: np.ndarray) -> Tracks:
    """What the tracker says of the frame's mirror image."""
    tracker.start(frame, mask[None])
    return tracker.step(Frame(np.ascontiguousarray(frame.rgb[:, ::-1]), 1))


def test_a_broken_graph_is_refused_in_tensorrts_words(rtx: Library, tmp_path: Path) -> None:
    (tmp_path / "graph.onnx").write_bytes(b"no graph")
    with pytest.raises(BuildFailed, match=r"graph.onnx: not parsed"):
        build_network(rtx, tmp_path / "graph.onnx", (), GPU)


def test_the_command_builds_for_a_named_machine(
    rtx: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = ["--target", f"{GPU.name}:{GPU.capability}:{GPU.driver}", "--engine-dir", str(tmp_path)]
    build = ["engines", "build", str(FULL)]
    assert segzero([*build, "--only", "reasoner", *target]) == 0
    assert "reasoner.decoder" in capsys.readouterr().out
    found = [json.loads(file.read_text())["identity"] for file in tmp_path.glob("*/*.json")]
    assert {(entry["gpu"], entry["driver"], entry["flavour"]) for entry in found} == {
        (GPU.name, GPU.driver, "tensorrt_rtx")
    }
    assert segzero([*build, "--target", "4090"]) == 2
    refusal = capsys.readouterr().err
    assert "CONFIG_VALUE" in refusal and "NAME:CAPABILITY:DRIVER" in refusal
