"""`segzero export` puts self-test and spelling into the bundle by itself, or says why it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("transformers")
pytest.importorskip("mujoco")

from bench.checkpoint_of_bundle import write_checkpoints
from export.bundle import main
from segzero_ros.backends import open_pipeline
from segzero_ros.backends.self_test import check_coordinates
from segzero_ros.bundle import Bundle, open_bundle

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo() -> Bundle:
    return open_bundle(ROOT / "bundles" / "tabletop")


@pytest.fixture(scope="module")
def arguments(demo: Bundle, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command line that makes the demo bundle once more, but for --out."""
    reasoner, segmenter = write_checkpoints(demo, tmp_path_factory.mktemp("checkpoints"))
    profile = demo.profile
    words = ["--reasoner", str(reasoner), "--segmenter", str(segmenter), "--profile", profile.name]
    words += ["--prompt", profile.prompt, "--system", profile.system, "--image-size", str(profile.image_size[0])]
    return [*words, "--max-length", str(demo.reasoner.max_length), "--compare", "0"]


def note(arguments: list[str], *, ours: bool) -> None:
    """Leave, or take away, the note of our own trainings in the reasoner's checkpoint."""
    file = Path(arguments[1]) / "training.json"
    file.write_text(json.dumps({"step": 1, "recipe": {}}) if ours else "{}")


def test_a_demo_checkpoint_becomes_a_bundle_that_passes_its_own_self_test(
    arguments: list[str], demo: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note(arguments, ours=True)
    assert main([*arguments, "--out", str(tmp_path / "again")]) == 0
    assert "self-test of 3 questions" in capsys.readouterr().out
    bundle = open_bundle(tmp_path / "again")
    assert bundle.spelling == demo.spelling
    assert "self-test passed, 3 questions" in check_coordinates(open_pipeline(bundle, "onnx"), bundle)


def test_a_checkpoint_that_finds_nothing_becomes_a_bundle_without_and_it_is_said(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo model knows none of the drawn shapes, which are asked where no note says what it was trained on."""
    note(arguments, ours=False)
    assert main([*arguments, "--out", str(tmp_path / "again")]) == 0
    shown = capsys.readouterr()
    assert "the bundle goes without a self-test: again answers" in shown.err and "no self-test" in shown.out
    bundle = open_bundle(tmp_path / "again")
    assert not bundle.self_test and not bundle.spelling
    assert not (bundle.path / "self_test").exists()


def test_it_can_be_left_out(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note(arguments, ours=True)
    assert main([*arguments, "--no-self-test", "--out", str(tmp_path / "again")]) == 0
    shown = capsys.readouterr()
    assert "self-test" not in shown.err and not open_bundle(tmp_path / "again").self_test
