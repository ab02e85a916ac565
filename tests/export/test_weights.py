"""A checkpoint is exported, trained and compared whole, or refused in a line that names what is wrong with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("transformers")

import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2_5_VLForConditionalGeneration, Sam2Model

from export import bundle, reasoner_edgellm, reasoner_onnx, segmenter_onnx
from segzero_ros.backends.torch_cuda.weights import check_cache, check_whole, load_whole
from segzero_ros.errors import RejectedInput
from tests.export.small_reasoner import PROFILE, random_model, save_checkpoint, small_config, small_tokenizer
from training.demo_models.segmenter_model import build_model
from training.grpo import main as grpo
from training.grpo.masks import TorchSegmenter

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reasoner's checkpoint in half precision, which every exporter takes."""
    folder, tokenizer = tmp_path_factory.mktemp("checkpoint") / "whole", small_tokenizer()
    random_model(small_config(tokenizer)).half().save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def sam2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "sam2"
    build_model(0).save_pretrained(folder)
    return folder


def changed(source: Path, place: Path, change: Callable[[Tensors], Tensors]) -> Path:
    """A copy of a checkpoint with other tensors."""
    shutil.copytree(source, place)
    tensors = change(load_file(source / "model.safetensors"))
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, place / "model.safetensors", {"format": "pt"})
    return place


def without(part: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if part not in name}


def prefixed(prefix: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()}


def poisoned(part: str, value: float) -> Callable[[Tensors], Tensors]:
    def change(tensors: Tensors) -> Tensors:
        name = next(name for name in sorted(tensors) if part in name)
        tensors[name].view(-1)[0] = value
        return tensors

    return change


def cut_rows(part: str) -> Callable[[Tensors], Tensors]:
    def change(tensors: Tensors) -> Tensors:
        name = next(name for name in sorted(tensors) if part in name)
        return {**tensors, name: tensors[name][:-1]}

    return change


def stored(part: str, kind: torch.dtype) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: tensor.to(kind) if part in name else tensor for name, tensor in tensors.items()}


def opened_by_grpo(words: list[str]) -> None:
    args = grpo.parse(words)
    grpo._check_model(args)
    grpo._model(args)


REASONERS = [
    (without("layers.1.self_attn.k_proj"), r"2 missing \(.*layers\.1\.self_attn\.k_proj\.bias, .*weight\)"),
    (without("visual.blocks.3"), r"\d+ missing \(.*blocks\.3\..* and \d+ more\)"),
    (prefixed("module."), r"missing .* and \d+ more\); \d+ unexpected \(module\."),
    (lambda t: {**t, "model.layers.4.mlp.up_proj.weight": torch.zeros(2, 2).half()}, r"1 unexpected \(.*layers\.4"),
    (cut_rows("o_proj"), r"1 of another shape \(.*o_proj"),
    (stored("down_proj", torch.int32), r"12 weights in I32 \(.*down_proj.* and 9 more\)"),
    (stored("up_proj", torch.float8_e4m3fn), r"\d+ weights in F8_E4M3 \("),
    (poisoned("down_proj", float("nan")), r"NaN or infinity in 1 weights \(.*down_proj"),
    (poisoned("patch_embed", float("-inf")), r"NaN or infinity in 1 weights \(.*patch_embed"),
]


@pytest.mark.parametrize(("change", "said"), REASONERS)
def test_every_way_in_refuses_a_reasoner_that_is_not_whole(
    whole: Path, tmp_path: Path, change: Callable[[Tensors], Tensors], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = changed(whole, tmp_path / "broken", change)
    with pytest.raises(RejectedInput, match=said):
        reasoner_onnx.export_reasoner(broken, tmp_path / "graphs", image_size=(168, 168), max_length=512)
    with pytest.raises(RejectedInput, match=said):
        reasoner_edgellm.check_checkpoint(broken)
    words = ["--model", str(broken), "--segmenter", "", "--out", str(tmp_path / "run"), "--data", str(tmp_path)]
    for profile in ("demo", "vision_reasoner_v2"):
        with pytest.raises(RejectedInput, match=said):
            opened_by_grpo([*words, "--profile", profile])
    capsys.readouterr()
    assert reasoner_onnx.main([str(broken), str(tmp_path / "graphs"), "--image-size", "168"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(broken) in error
    assert not (tmp_path / "graphs").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("mask_decoder.iou_token"), r"1 missing \(mask_decoder\.iou_token"),
        (prefixed("_orig_mod."), r"unexpected \(_orig_mod\."),
        (poisoned("neck", float("inf")), "NaN or infinity in 1 weights"),
    ],
)
def test_every_way_in_refuses_a_segmenter_that_is_not_whole(
    sam2: Path, tmp_path: Path, change: Callable[[Tensors], Tensors], said: str
) -> None:
    broken = changed(sam2, tmp_path / "broken", change)
    with pytest.raises(RejectedInput, match=said):
        segmenter_onnx.export_segmenter(broken, tmp_path / "graphs")
    with pytest.raises(RejectedInput, match=said):
        TorchSegmenter(str(broken), "cpu")
    assert segmenter_onnx.main([str(broken), str(tmp_path / "graphs")]) == 2


def test_whole_checkpoints_are_taken_tied_or_not(whole: Path, sam2: Path, tmp_path: Path) -> None:
    for checkpoint in (whole, save_checkpoint(tmp_path / "untied", tied=False)):
        check_whole(Qwen2_5_VLForConditionalGeneration, checkpoint)
        load_whole(Qwen2_5_VLForConditionalGeneration, checkpoint)
    load_whole(Sam2Model, sam2)


def test_an_untied_head_without_weights_is_missing(whole: Path, tmp_path: Path) -> None:
    headless = changed(whole, tmp_path / "headless", lambda tensors: tensors)
    config = json.loads((headless / "config.json").read_text())
    (headless / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    with pytest.raises(RejectedInput, match=r"1 missing \(lm_head\.weight\)"):
        check_whole(Qwen2_5_VLForConditionalGeneration, headless)


def test_a_quantised_checkpoint_goes_to_edgellm_alone_and_with_all_its_layers(whole: Path, tmp_path: Path) -> None:
    def packed(tensors: Tensors) -> Tensors:
        return {name.replace("_proj.weight", "_proj.qweight"): tensor for name, tensor in tensors.items()}

    quantised = changed(whole, tmp_path / "awq", packed)
    config = json.loads((quantised / "config.json").read_text())
    (quantised / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "awq"}}))
    reasoner_edgellm.check_checkpoint(quantised)
    with pytest.raises(RejectedInput, match="quantised by awq, want plain"):
        load_whole(Qwen2_5_VLForConditionalGeneration, quantised)
    lost = changed(quantised, tmp_path / "lost", without("layers.2.mlp.up_proj"))
    with pytest.raises(RejectedInput, match=r"1 missing \(layers\.2\.mlp\.up_proj\)"):
        reasoner_edgellm.check_checkpoint(lost)


def pointer(file: Path) -> None:
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:11\nsize 12345\n")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])


BROKEN = [
    ("model.safetensors", pointer, "git lfs pull"),
    ("model.safetensors", cut, "cut short"),
    ("model.safetensors", lambda file: file.rename(file.with_name("pytorch_model.bin")), "pickled weights"),
    ("model.safetensors", Path.unlink, "no weights"),
    ("tokenizer.json", pointer, "git lfs pull"),
    ("tokenizer.json", cut, "is no tokenizer"),
    ("tokenizer.json", lambda file: file.write_text("[]"), "is no tokenizer"),
    ("config.json", cut, "config.json: could not be read"),
    ("config.json", lambda file: file.write_text("[1]"), "want a JSON object"),
    ("config.json", lambda file: file.write_text("[" * 100_000), "config.json: could not be read"),
]


@pytest.mark.parametrize(("name", "harm", "said"), BROKEN)
def test_a_broken_file_ends_an_export_in_one_line_and_leaves_nothing(
    whole: Path, tmp_path: Path, name: str, harm: Callable[[Path], None], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    harm(shutil.copytree(whole, tmp_path / "broken") / name)
    words = ["--reasoner", str(tmp_path / "broken"), "--segmenter", str(tmp_path / "none"), "--compare", "0"]
    out = ["--profile", "abstaining_v2", "--image-size", "168", "--out", str(tmp_path / "b" / "out")]
    status = bundle.main([*words, *out])
    error = capsys.readouterr().err
    assert status == 2 and error.count("\n") == 1 and said in error
    assert not list((tmp_path / "b").iterdir())


@pytest.mark.parametrize("settings", [{"num_hidden_layers": 1}, {"num_hidden_layers": "two"}, {"hidden_size": None}])
@pytest.mark.parametrize("profile", ["demo", "vision_reasoner_v2"])
def test_settings_that_contradict_each_other_end_a_training_in_one_line(
    whole: Path, tmp_path: Path, settings: dict[str, object], profile: str
) -> None:
    file = shutil.copytree(whole, tmp_path / "broken") / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "text_config": {**config["text_config"], **settings}}))
    with pytest.raises(RejectedInput, match="broken"):
        opened_by_grpo(
            ["--model", str(file.parent), "--segmenter", "", "--data", ".", "--out", "x", "--profile", profile]
        )


@pytest.mark.parametrize(
    ("side", "length", "enough"),
    [(168, 36, False), (168, -1, False), (168, 250, False), (168, 512, True), (1260, 2048, False), (1260, 2560, True)],
)
def test_a_cache_holds_picture_prompt_and_answer_or_is_refused_with_the_numbers(
    whole: Path, side: int, length: int, enough: bool
) -> None:
    def check() -> None:
        check_cache(whole / "tokenizer.json", (side, side), length, PROFILE)

    if enough:
        check()
        return
    with pytest.raises(RejectedInput, match=rf"got --max-length {length}, want at least \d+: {(side // 28) ** 2} "):
        check()


def test_no_exporter_writes_graphs_with_a_cache_too_small(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = ["--image-size", "168", "--max-length", "120"]
    assert reasoner_onnx.main([str(whole), str(tmp_path / "graphs"), *size]) == 2
    edge = ["--environment", str(tmp_path / "env"), "--profile", "abstaining_v2", *size]
    assert reasoner_edgellm.main([str(whole), str(tmp_path / "edge"), *edge]) == 1
    words = ["--reasoner", str(whole), "--segmenter", str(whole), "--profile", "abstaining_v2", *size]
    assert bundle.main([*words, "--out", str(tmp_path / "bundle")]) == 2
    assert capsys.readouterr().err.count("got --max-length 120, want at least") == 3
    assert not list(tmp_path.iterdir())
