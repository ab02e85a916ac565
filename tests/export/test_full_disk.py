"""A disk that is full: one line that says where and what to do, nothing half-written, nothing lost.

The disk is the process' own limit of a file's size, which the kernel enforces: writes beyond it fail as on a full one.
"""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("transformers")
pytest.importorskip("mujoco")

from export.bundle import main as export
from export.quantise import main as quantise
from export.self_test.main import main as add_self_test
from segzero_ros.backends.self_test import read_self_test
from segzero_ros.bundle import MANIFEST, hash_file, open_bundle
from segzero_ros.cli.main import main as segzero
from tests.export.small_reasoner import save_checkpoint
from training.demo_models.segmenter_model import demo_config

ROOT = Path(__file__).parents[2]
TEST = read_self_test(open_bundle(ROOT / "bundles" / "tabletop"))


@contextlib.contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may become larger than ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder: Path) -> dict[str, str]:
    """Every file below ``folder`` and its hash."""
    return {str(file.relative_to(folder)): hash_file(file) for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The demo bundle, alone in a folder."""
    return shutil.copytree(ROOT / "bundles" / "tabletop", tmp_path / "bundles" / "tabletop")


def one_line(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    lines = capsys.readouterr().err.splitlines()
    said = [line for line in lines if "could not write" in line]
    assert len(said) == 1 and str(place) in said[0] and "make room" in said[0], lines
    assert not any("Traceback" in line for line in lines)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    from transformers import Sam2Model

    folder = tmp_path_factory.mktemp("checkpoints")
    Sam2Model(demo_config(64)).save_pretrained(folder / "segmenter")
    return str(save_checkpoint(folder / "reasoner")), str(folder / "segmenter")


@pytest.mark.parametrize("size", [0, 40_000, 1_000_000])
def test_an_export_leaves_the_old_bundle_and_no_part_of_the_new(checkpoints, bundle, size, capsys) -> None:
    before = contents(bundle.parent)
    reasoner, segmenter = checkpoints
    options = ["--profile", "abstaining_v2", "--image-size", "168", "--max-length", "1024", "--compare", "0"]
    with room_for(size):
        status = export(["--reasoner", reasoner, "--segmenter", segmenter, "--out", str(bundle), "--replace", *options])
    assert status == 2
    one_line(capsys, bundle)
    assert contents(bundle.parent) == before


def test_a_quantisation_leaves_nothing(bundle, capsys) -> None:
    before = contents(bundle.parent)
    smaller = bundle.parent / "smaller"
    with room_for(100_000):
        assert quantise([str(bundle), "--out", str(smaller), "--bits", "8"]) == 2
    one_line(capsys, smaller)
    assert contents(bundle.parent) == before
    assert [path.name for path in bundle.parent.iterdir()] == ["tabletop"]


@pytest.mark.parametrize("had_one", [True, False])
def test_a_self_test_that_cannot_be_written_leaves_the_bundle_as_it_was(bundle, had_one, capsys, monkeypatch) -> None:
    if not had_one:
        manifest = json.loads((bundle / MANIFEST).read_text("utf-8"))
        del manifest["self_test"], manifest["files"]["self_test/picture.png"]
        (bundle / MANIFEST).write_text(json.dumps(manifest), "utf-8")
        shutil.rmtree(bundle / "self_test")
    monkeypatch.setattr("export.self_test.main.choose", lambda *_: TEST)
    before = contents(bundle)
    with room_for(1000):
        assert add_self_test([str(bundle)]) == 2
    one_line(capsys, bundle)
    assert contents(bundle) == before
    open_bundle(bundle)


def test_an_evaluation_keeps_its_samples_and_goes_on_with_them(tmp_path: Path, capsys) -> None:
    samples, figures = tmp_path / "run.jsonl", tmp_path / "figures.json"
    words = ["eval", "--backend", "fake", "--count", "4", "--samples", str(samples), "--out", str(figures)]
    with room_for(4000):
        assert segzero(words) == 2
    said = capsys.readouterr().err
    assert "make room, then --resume" in said and said.count("\n") == 1
    done = samples.read_text().count("\n")
    assert done >= 1 and not figures.exists()
    assert segzero([*words, "--resume"]) == 0
    assert json.loads(figures.read_text())["count"] == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures.json", "run.jsonl"]


def test_figures_that_do_not_fit_are_said_and_the_samples_are_whole(tmp_path: Path, capsys) -> None:
    samples, figures = tmp_path / "run.jsonl", tmp_path / "figures.json"
    words = ["eval", "--backend", "fake", "--count", "1", "--samples", str(samples), "--out", str(figures)]
    with room_for(2200):
        status = segzero(words)
    assert status == 2 and "make room" in capsys.readouterr().err
    assert segzero([*words, "--resume"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures.json", "run.jsonl"]


def test_standard_output_on_a_full_disk_is_one_line(capfd) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "segzero_ros.cli", "engines", "list"]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "No space left on device" in done.stderr and done.stderr.count("\n") == 1
