"""A Qwen3-VL checkpoint goes the way of every family: graphs that are the checkpoint, a bundle that answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextRotaryEmbedding  # noqa: E402

from export.checks import check_table  # noqa: E402
from export.compare import StockReasoner, compare_reasoner  # noqa: E402
from export.quantise import quantised  # noqa: E402
from export.queries import drawn_questions  # noqa: E402
from export.reasoner_onnx import FILES, export_reasoner  # noqa: E402
from segzero_ros.backends.decoding.chat_prompt import Rotary, mrope_positions  # noqa: E402
from segzero_ros.backends.decoding.families import FAMILIES, family_named  # noqa: E402
from segzero_ros.backends.decoding.generation import read_shape  # noqa: E402
from segzero_ros.backends.onnx.reasoner import Decoder  # noqa: E402
from segzero_ros.backends.onnx.session import open_session  # noqa: E402
from segzero_ros.errors import RejectedInput  # noqa: E402
from tests.export.families.small_qwen3 import SMALL, qwen3_model, save_qwen3  # noqa: E402
from tests.export.small_reasoner import small_tokenizer  # noqa: E402


def paths(folder: Path) -> dict[str, Path]:
    return {role: folder / name for role, name in FILES.items()}


@pytest.mark.parametrize(("store", "tied"), [("half", True), ("float", False)])
def test_graphs_and_greedy_text_are_the_checkpoints(tmp_path: Path, store: Any, tied: bool) -> None:
    checkpoint = save_qwen3(tmp_path / "checkpoint", tied=tied)
    export_reasoner(checkpoint, tmp_path, image_size=SMALL.image_size, max_length=400, store=store, profile=SMALL)
    checks = compare_reasoner(checkpoint, paths(tmp_path), SMALL, drawn_questions(2, seed=1), tokens=16)
    assert all(check.passed for check in checks if check.reference == "stored"), check_table(checks)
    shape = read_shape(tmp_path / "config.json")
    assert (shape.architecture, shape.hidden_size, shape.token_grid) == ("Qwen3-VL", 3 * 96, (5, 6))


def test_half_arithmetic_is_close(tmp_path: Path) -> None:
    checkpoint = save_qwen3(tmp_path / "checkpoint")
    export_reasoner(checkpoint, tmp_path, image_size=SMALL.image_size, max_length=400, arithmetic="half")
    checks = compare_reasoner(checkpoint, paths(tmp_path), SMALL, drawn_questions(1, seed=1), tokens=2)
    assert all(check.passed for check in checks if check.reference == "stored"), check_table(checks)


def test_a_decoder_of_eight_bits_is_close(tmp_path: Path) -> None:
    checkpoint = save_qwen3(tmp_path / "checkpoint")
    export_reasoner(checkpoint, tmp_path, image_size=SMALL.image_size, max_length=400, store="float")
    smaller = tmp_path / "smaller.onnx"
    smaller.write_bytes(quantised(paths(tmp_path)["decoder"], bits=8))
    shape = read_shape(tmp_path / "config.json")
    cos, sin = Rotary(32, 5e6, (6, 5, 5), interleaved=True).rows(mrope_positions(4, (2, 3), 4))
    rows = np.random.default_rng(0).normal(size=(len(cos), shape.hidden_size)).astype(np.float32)
    whole, close, without = (
        Decoder(open_session(file), shape).append(given, cos, sin, 0)[-1].copy()
        for file, given in (
            (paths(tmp_path)["decoder"], rows),
            (smaller, rows),
            (smaller, np.where(np.arange(shape.hidden_size) < 96, rows, 0)),
        )
    )
    assert 0 < np.abs(close - whole).max() < 0.05 * np.abs(whole).max()
    assert np.abs(without - whole).max() > 0.1 * np.abs(whole).max(), "the deepstack's part of a row counts, too"


def test_the_picture_reaches_the_answer_by_deepstack_too() -> None:
    """Or the parity above would hold for a model that lost it."""
    model, question = qwen3_model(), drawn_questions(1, seed=1)[0]
    stock = StockReasoner(model, small_tokenizer(), SMALL)
    with_all = stock.reply(question, 1).logits
    with torch.no_grad():
        for merger in model.model.visual.deepstack_merger_list:
            merger.linear_fc2.weight.zero_()
            merger.linear_fc2.bias.zero_()
    assert np.abs(with_all - stock.reply(question, 1).logits).max() > 0.01 * np.abs(with_all).max()


def test_interleaved_positions_are_transformers() -> None:
    positions = mrope_positions(7, (5, 6), 4)
    stock = Qwen3VLTextRotaryEmbedding(qwen3_model().config.text_config)
    cos, sin = stock(torch.zeros(1), torch.from_numpy(positions)[:, None])
    ours = Rotary(32, 5e6, (6, 5, 5), interleaved=True).rows(positions)
    for mine, theirs in zip(ours, (cos, sin), strict=True):
        assert np.abs(mine - theirs[0, :, :16].numpy()).max() < 1e-6
    blocks = Rotary(32, 5e6, (6, 5, 5)).rows(positions)
    assert np.abs(blocks[0] - ours[0]).max() > 0.1


def test_other_architectures_are_refused_with_the_families_there_are(tmp_path: Path) -> None:
    checkpoint = save_qwen3(tmp_path / "checkpoint")
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "architectures": ["LlavaForConditionalGeneration"]}))
    with pytest.raises(ValueError, match=r"Llava.*Qwen2_5_VL.* or Qwen3VL"):
        export_reasoner(checkpoint, tmp_path / "out", image_size=SMALL.image_size)
    with pytest.raises(RejectedInput, match=r"Qwen2\.5-VL, Qwen3-VL"):
        family_named("LLaVA")
    assert {family.name for family in FAMILIES.values()} == set(FAMILIES)


def test_a_picture_that_is_no_multiple_of_32_is_refused(tmp_path: Path) -> None:
    checkpoint = save_qwen3(tmp_path / "checkpoint")
    with pytest.raises(ValueError, match="multiples of 32"):
        export_reasoner(checkpoint, tmp_path / "out", image_size=(168, 168))
