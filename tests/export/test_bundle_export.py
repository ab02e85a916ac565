"""A bundle is written whole or not at all, opens as the robot opens it, and says how it was made."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from export.bundle import NotEqual, export_bundle, main
from export.compare import Check
from segzero_ros.backends import EngineOptions
from segzero_ros.backends.onnx.reasoner import OnnxReasoner
from segzero_ros.bundle import open_bundle
from tests.export.small_reasoner import PROFILE, save_checkpoint


@pytest.fixture(scope="module")
def reasoner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkpoint = save_checkpoint(tmp_path_factory.mktemp("reasoner") / "checkpoint")
    (checkpoint / "training.json").write_text('{"step": 7}')
    return checkpoint


@pytest.fixture
def segmenter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a checkpoint directory whose export is two files: the real one has tests of its own."""
    checkpoint = tmp_path / "sam2"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text('{"prompt_encoder_config": {"image_size": 256}}')
    (checkpoint / "model.safetensors").write_bytes(b"weights")

    def export(_: Path, out_dir: Path, *, store: str, arithmetic: str) -> dict[str, Path]:
        out_dir.mkdir(parents=True)
        files = {role: out_dir / f"{role}.onnx" for role in ("encoder", "decoder")}
        for role, file in files.items():
            file.write_text(f"{role} {store} {arithmetic}")
        return files

    monkeypatch.setattr("export.segmenter_onnx.export_segmenter", export)
    return checkpoint


@pytest.fixture
def make(reasoner: Path, segmenter: Path, tmp_path: Path) -> Callable[..., Any]:
    def call(**options: Any) -> Any:
        return export_bundle(
            reasoner, segmenter, tmp_path / "bundles" / "table", PROFILE, **{"max_length": 512, "compare": 0, **options}
        )

    return call


def status_of(arguments: list[str]) -> object:
    """The status a shell would see."""
    try:
        return main(arguments)
    except SystemExit as leaving:
        return leaving.code


def left_over(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "bundles").iterdir())


def test_the_robot_opens_what_was_written(make: Callable[..., Any], tmp_path: Path) -> None:
    made = make(evaluation={"box_iou": 0.9})
    bundle = open_bundle(tmp_path / "bundles" / "table")
    assert bundle == made
    assert bundle.profile == PROFILE
    assert bundle.name == "table" and bundle.evaluation["box_iou"] == 0.9
    assert bundle.reasoner.max_length == 512 and bundle.segmenter.image_size == (256, 256)
    assert bundle.versions["torch"] and bundle.versions["onnx"]
    assert bundle.provenance["reasoner"]["training"] == {"step": 7}
    assert set(bundle.provenance["segmenter"]["sha256"]) == {"model.safetensors"}
    OnnxReasoner(bundle.reasoner.files, bundle.profile, EngineOptions(threads=1))
    assert left_over(tmp_path) == ["table"]


def test_a_bundle_that_is_there_is_replaced_only_when_told(make: Callable[..., Any], tmp_path: Path) -> None:
    make(evaluation={"run": 1})
    (tmp_path / "bundles" / "table" / "README.md").write_text("mine")
    with pytest.raises(FileExistsError, match="--replace"):
        make(evaluation={"run": 2})
    assert open_bundle(tmp_path / "bundles" / "table").evaluation == {"run": 1}
    assert make(evaluation={"run": 2}, replace_old=True).evaluation == {"run": 2}
    assert (tmp_path / "bundles" / "table" / "README.md").read_text() == "mine"
    assert left_over(tmp_path) == ["table"]


def test_a_failure_leaves_the_old_bundle_and_nothing_else(
    make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(evaluation={"run": 1})
    monkeypatch.setattr("export.compare.compare_reasoner", lambda *_: [Check("vision", "stored", 1.0, 0.1)])
    monkeypatch.setattr("export.compare.compare_segmenter", lambda *_: [])
    with pytest.raises(NotEqual, match="FAIL  vision"):
        make(compare=1, replace_old=True)
    assert open_bundle(tmp_path / "bundles" / "table").evaluation == {"run": 1}
    assert left_over(tmp_path) == ["table"]


def test_a_passed_comparison_is_part_of_the_evaluation(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "export.compare.compare_segmenter", lambda *_: [Check("masks", "checkpoint", 1.0, 0.9, more=True)]
    )
    monkeypatch.setattr("export.compare.compare_reasoner", lambda *_: [Check("vision", "stored", 0.0, 0.1)])
    parity = make(compare=1).evaluation["parity"]
    assert [entry["what"] for entry in parity] == ["vision", "masks"] and all(entry["passed"] for entry in parity)


def test_the_command_line_takes_the_profile_and_its_own_prompt(
    reasoner: Path, segmenter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--reasoner", str(reasoner), "--segmenter", str(segmenter), "--out", str(tmp_path / "bundles" / "mine")]
    own = ["--image-size", "168", "--prompt", 'Where is "{question}"?', "--system", "Be brief."]
    assert main([*given, *own, "--profile", "abstaining_v2", "--compare", "0", "--max-length", "512"]) == 0
    bundle = open_bundle(tmp_path / "bundles" / "mine")
    assert bundle.profile == replace(PROFILE, prompt='Where is "{question}"?', system="Be brief.")
    shown = capsys.readouterr()
    assert "MB" in shown.out and "no self-test" in shown.out
    assert (
        "the bundle goes without a self-test: got encoder.onnx, which" in shown.err
    )  # this segmenter's graphs are none


def test_the_command_line_says_what_is_wrong(
    reasoner: Path, segmenter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--segmenter", str(segmenter), "--out", str(tmp_path / "bundles" / "mine"), "--compare", "0"]
    for options, complaint in (
        (["--reasoner", str(reasoner), "--profile", "abstaining"], "abstaining_v2"),
        (["--reasoner", str(tmp_path), "--profile", "abstaining_v2"], "tokenizer.json"),
        (["--reasoner", str(reasoner), "--profile", "abstaining_v2", "--image-size", "170"], "multiples of 28"),
    ):
        assert status_of([*given, *options]) == 2
        assert complaint in capsys.readouterr().err
    assert not (tmp_path / "bundles" / "mine").exists()


def test_the_manifest_is_for_people_too(make: Callable[..., Any], tmp_path: Path) -> None:
    make()
    manifest = json.loads((tmp_path / "bundles" / "table" / "bundle.json").read_text())
    assert manifest["provenance"]["store"] == "half" and "commit" in manifest["provenance"]
    assert manifest["provenance"]["arithmetic"] == "float"
    assert sorted(manifest["files"]) == [
        "reasoner/config.json",
        "reasoner/decoder.onnx",
        "reasoner/embeddings.onnx",
        "reasoner/tokenizer.json",
        "reasoner/vision.onnx",
        "segmenter/decoder.onnx",
        "segmenter/encoder.onnx",
    ]
