"""A checkpoint is opened for the bundle that was exported from it, and for no other."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="offline stack not installed")
from safetensors.torch import load_file, save_file  # noqa: E402

from export.parent.main import main  # noqa: E402
from segzero_ros.backends.torch_cuda.parentage import INDEX, NOTE, check_parentage, weight_hashes  # noqa: E402
from segzero_ros.bundle import Bundle, hash_file, open_bundle  # noqa: E402
from segzero_ros.errors import Code, RejectedInput  # noqa: E402

ROOT = Path(__file__).parents[3]


def save(folder: Path, seed: int, **config: object) -> Path:
    """A checkpoint as far as this looks: a vision tower's and a language model's weights."""
    draw = torch.Generator().manual_seed(seed)
    names = ("model.visual.patch", "model.visual.norm", "model.language_model.up")
    folder.mkdir(parents=True)
    save_file({name: torch.randn(4, 4, generator=draw) for name in names}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def full(tmp_path: Path) -> Path:
    return save(tmp_path / "full", 1)


@pytest.fixture
def quantised(tmp_path: Path, full: Path) -> Path:
    """The same file name, the language model in fewer bits, the vision tower as it was."""
    folder = tmp_path / "full-fp8"
    folder.mkdir()
    weights = load_file(full / "model.safetensors")
    small = {name: value if "visual" in name else value.to(torch.float8_e4m3fn) for name, value in weights.items()}
    save_file(small, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "modelopt"}}))
    return folder


def bundle_of(checkpoint: Path) -> Bundle:
    """The demo bundle, as if exported from ``checkpoint``."""
    files = {file.name: hash_file(file) for file in checkpoint.glob("*.safetensors")}
    return replace(open_bundle(ROOT / "bundles" / "tabletop"), provenance={"reasoner": {"sha256": files}})


def refusal(bundle: Bundle, checkpoint: Path) -> str:
    with pytest.raises(RejectedInput) as caught:
        check_parentage(bundle, checkpoint)
    assert caught.value.code is Code.BUNDLE_BACKEND and "\n" not in caught.value.detail
    return caught.value.detail


def test_the_checkpoint_itself_and_a_copy_under_another_name_are_taken(full: Path, tmp_path: Path) -> None:
    check_parentage(bundle_of(full), full)
    check_parentage(bundle_of(full), shutil.copytree(full, tmp_path / "copy"))


def test_another_checkpoint_is_refused_with_both_hashes_and_what_to_do(full: Path, tmp_path: Path) -> None:
    other = save(tmp_path / "other", 2)
    said = refusal(bundle_of(full), other)
    assert hash_file(full / "model.safetensors") in said and hash_file(other / "model.safetensors") in said
    assert "--model DIR" in said and "segzero export" in said


def test_safetensors_that_are_not_the_models_do_not_count(full: Path) -> None:
    save_file({"head": torch.zeros(2)}, full / "training_heads.safetensors")
    bundle = bundle_of(full)
    (full / "training_heads.safetensors").unlink()
    check_parentage(bundle, full)


def test_of_shards_each_one_counts(full: Path) -> None:
    weights = load_file(full / "model.safetensors")
    names = {name: f"model-0000{n}-of-00003.safetensors" for n, name in enumerate(sorted(weights), 1)}
    for name, file in names.items():
        save_file({name: weights[name]}, full / file)
    (full / "model.safetensors").unlink()
    (full / INDEX).write_text(json.dumps({"weight_map": names}))
    bundle = bundle_of(full)
    check_parentage(bundle, full)
    last = full / "model-00003-of-00003.safetensors"
    save_file({"model.visual.patch": torch.ones(4, 4)}, last)
    assert last.name in refusal(bundle, full)
    last.unlink()
    assert "cannot be read" in refusal(bundle, full)


def test_a_bundle_that_does_not_say_goes_on_with_a_caution(full: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_parentage(replace(bundle_of(full), provenance={}), full)
    (said,) = caplog.messages
    assert "does not say which checkpoint it was exported from" in said and str(full) in said


def test_a_quantised_one_is_taken_once_it_says_what_it_was_made_of(full: Path, quantised: Path, tmp_path: Path) -> None:
    bundle = bundle_of(full)
    assert "python -m export.parent" in refusal(bundle, quantised)
    assert main([str(quantised), "--of", str(full)]) == 0
    check_parentage(bundle, quantised)
    assert "was exported from one with" in refusal(bundle_of(save(tmp_path / "other", 2)), quantised)


def test_a_note_counts_for_the_weights_it_was_written_for_only(full: Path, quantised: Path) -> None:
    main([str(quantised), "--of", str(full)])
    weights = load_file(quantised / "model.safetensors")
    save_file({**weights, "model.visual.norm": torch.zeros(4, 4)}, quantised / "model.safetensors")
    assert "not those that its" in refusal(bundle_of(full), quantised)


def test_a_full_checkpoint_is_never_taken_by_a_note(full: Path, tmp_path: Path) -> None:
    other = save(tmp_path / "other", 2)
    (other / NOTE).write_text(json.dumps({"parent": weight_hashes(full), "weights": weight_hashes(other)}))
    assert "was exported from one with" in refusal(bundle_of(full), other)


def test_parents_names_differ_with_the_version_that_saved_them(full: Path, quantised: Path) -> None:
    weights = load_file(full / "model.safetensors")
    save_file({name.removeprefix("model."): value for name, value in weights.items()}, full / "model.safetensors")
    assert main([str(quantised), "--of", str(full)]) == 0


def test_what_was_not_made_of_it_gets_no_note(full: Path, quantised: Path, tmp_path: Path, capsys) -> None:
    other = save(tmp_path / "other", 2)
    assert main([str(quantised), "--of", str(other)]) == 1
    assert "was not made of" in capsys.readouterr().out
    for one, parent, said in (
        (full, other, "is not quantised"),
        (quantised, quantised, "name the full checkpoint"),
        (quantised, tmp_path, "want a folder with model.safetensors"),
    ):
        assert main([str(one), "--of", str(parent)]) == 2
        assert said in capsys.readouterr().err
    assert not (quantised / NOTE).exists()
