"""The exported graphs are the checkpoint: small ones in every variant, and the real widths of the 3B and 7B."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration  # noqa: E402

from export import reasoner_onnx  # noqa: E402
from export.checks import check_table  # noqa: E402
from export.compare import compare_reasoner  # noqa: E402
from export.onnx_graph import stored  # noqa: E402
from export.queries import drawn_questions  # noqa: E402
from export.reasoner_onnx import FILES, export_reasoner  # noqa: E402
from export.vision_tower import checkpoint_tower  # noqa: E402
from segzero_ros.backends.decoding.chat_prompt import Rotary, mrope_positions  # noqa: E402
from segzero_ros.backends.decoding.generation import read_shape  # noqa: E402
from segzero_ros.backends.onnx.reasoner import Decoder  # noqa: E402
from segzero_ros.backends.onnx.session import open_session  # noqa: E402
from tests.export.small_reasoner import (  # noqa: E402
    PROFILE,
    random_model,
    save_checkpoint,
    small_config,
    small_tokenizer,
)

# Widths of Qwen/Qwen2.5-VL-{3B,7B}-Instruct/config.json. One layer of the language model and one of the vision tower:
# with full attention in the 3B, by windows in the 7B. The vocabulary is cut, because its rows are all alike.
ROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
LANGUAGE = {
    "3B": {"hidden_size": 2048, "intermediate_size": 11008, "num_attention_heads": 16, "num_key_value_heads": 2},
    "7B": {"hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_key_value_heads": 4},
}
VISION_LAYERS = {"3B": {"depth": 1, "fullatt_block_indexes": [0]}, "7B": {"depth": 1, "fullatt_block_indexes": []}}


def paths(folder: Path) -> dict[str, Path]:
    return {role: folder / name for role, name in FILES.items()}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("store", ["half", "float"])
def test_graphs_and_greedy_text_are_the_checkpoints(tmp_path: Path, store: Any, tied: bool) -> None:
    checkpoint = save_checkpoint(tmp_path / "checkpoint", tied=tied, seed=3)
    export_reasoner(checkpoint, tmp_path, image_size=(168, 168), max_length=512, store=store)
    checks = compare_reasoner(checkpoint, paths(tmp_path), PROFILE, drawn_questions(1, seed=1), tokens=16)
    assert all(check.passed for check in checks if check.reference == "stored"), check_table(checks)
    kinds = {
        weight.data_type for weight in onnx.load(tmp_path / "decoder.onnx").graph.initializer if len(weight.dims) == 2
    }
    assert kinds == {onnx.TensorProto.FLOAT16 if store == "half" else onnx.TensorProto.FLOAT}


def test_half_arithmetic_is_close_and_fp16_where_the_time_goes(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "checkpoint")
    export_reasoner(checkpoint, tmp_path, image_size=(168, 168), max_length=512, arithmetic="half")
    checks = compare_reasoner(checkpoint, paths(tmp_path), PROFILE, drawn_questions(1, seed=1), tokens=2)
    assert all(check.passed for check in checks if check.reference == "stored"), check_table(checks)
    half, full = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    for name, products in (("vision", 4 * 4 + 2), ("decoder", 4 * 4 + 1)):
        graph = onnx.load(tmp_path / f"{name}.onnx").graph
        types = {weight.name: weight.data_type for weight in graph.initializer}
        by_type = [types[node.input[1]] for node in graph.node if node.op_type == "Gemm"]
        assert by_type.count(half) == products and by_type.count(full) == (name == "vision")  # the patches
        assert {types[node.input[1]] for node in graph.node if node.op_type == "RMSNormalization"} == {full}
        ends = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
        caches = {end for end in ends if end.startswith(("past", "present"))}
        assert {ends[end] for end in caches} == ({half} if name == "decoder" else set())
        assert half not in {ends[end] for end in ends.keys() - caches}
    # Channels of large models pass FP16's 65504 in the residual stream, which is FP32 for that reason.
    decoder = Decoder(open_session(tmp_path / "decoder.onnx", threads=1), read_shape(tmp_path / "config.json"))
    large = np.random.default_rng(0).normal(0, 1e6, (5, 128)).astype(np.float32)
    angles = np.zeros((5, 16), np.float32)
    assert np.isfinite(decoder.append(large, np.cos(angles), np.sin(angles), 0)).all()


def test_large_weights_go_beside_the_graphs_and_a_tied_table_is_stored_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = save_checkpoint(tmp_path / "checkpoint")
    monkeypatch.setattr(reasoner_onnx, "INLINE_BYTES", 1000)
    names = export_reasoner(checkpoint, tmp_path / "out", image_size=(168, 168), max_length=512)
    assert "weights.bin" in names
    weights = sum(parameter.numel() for parameter in random_model(small_config(small_tokenizer())).parameters())
    assert (tmp_path / "out" / "weights.bin").stat().st_size < 2.4 * weights
    checks = compare_reasoner(checkpoint, paths(tmp_path / "out"), PROFILE, drawn_questions(1, seed=1), tokens=8)
    assert all(check.passed for check in checks if check.reference == "stored"), check_table(checks)


def test_what_the_graphs_cannot_express_is_refused_by_name(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "checkpoint")
    config = json.loads((checkpoint / "config.json").read_text())
    config["text_config"]["use_sliding_window"] = True
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="use_sliding_window"):
        export_reasoner(checkpoint, tmp_path / "out", image_size=(168, 168))


def test_a_checkpoint_without_tokenizer_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "checkpoint")
    bare = shutil.copytree(checkpoint, tmp_path / "bare")
    (bare / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        export_reasoner(bare, tmp_path / "out", image_size=(168, 168))
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "architectures": ["LlamaForCausalLM"]}))
    with pytest.raises(ValueError, match="LlamaForCausalLM"):
        export_reasoner(checkpoint, tmp_path / "out", image_size=(168, 168))


def test_a_weight_beyond_half_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="65504"):
        stored(torch.full((2, 2), 1e5), "half")
    assert stored(torch.full((2,), 1e5), "half").dtype == torch.float32


@pytest.fixture(params=["3B", "7B"])
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Qwen2_5_VLForConditionalGeneration]]:
    """Yield a checkpoint of real widths in bfloat16, as the released ones are, and the model in float32."""
    language, tokenizer = LANGUAGE[request.param], small_tokenizer()
    rest = {"num_hidden_layers": 1, "vocab_size": 512, "rms_norm_eps": 1e-6, "bos_token_id": None, "eos_token_id": None}
    vision = {"hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "window_size": 112}
    config = Qwen2_5_VLConfig(
        tie_word_embeddings=request.param == "3B",
        text_config={**language, **rest, "rope_parameters": ROPE},
        vision_config={**vision, **VISION_LAYERS[request.param], "out_hidden_size": language["hidden_size"]},
        image_token_id=tokenizer.token_to_id("<|image_pad|>"),
    )
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration._from_config(config, dtype=torch.bfloat16).eval()
    model.save_pretrained(tmp_path / "checkpoint")
    tokenizer.save(str(tmp_path / "checkpoint" / "tokenizer.json"))
    yield tmp_path, model.float()
    shutil.rmtree(tmp_path)


def test_the_real_widths_export_unchanged_and_agree(real: tuple[Path, Qwen2_5_VLForConditionalGeneration]) -> None:
    folder, model = real
    export_reasoner(folder / "checkpoint", folder / "out", image_size=(840, 840), max_length=1200)
    files = paths(folder / "out")

    pixels = np.random.default_rng(0).normal(size=(1, 3, 840, 840)).astype(np.float32)
    tokens = open_session(files["vision"]).run(None, {"pixels": pixels})[0]
    with torch.inference_mode():
        expected = checkpoint_tower(model.model.visual, (840, 840))(torch.from_numpy(pixels))[0]
    assert tokens.shape == (900, model.config.text_config.hidden_size)
    assert _relative(tokens, expected.numpy()) < 2e-3

    image, before, after = (8, 8), 10, 26  # a part of the picture: S is dynamic, 900 rows would only take longer
    embeds = torch.randn(1, 100, tokens.shape[1]) * 0.02
    embeds[0, before : before + 64] = torch.from_numpy(tokens[:64])
    positions = mrope_positions(before, image, after)
    with torch.inference_mode():
        hidden = model.model.language_model(inputs_embeds=embeds, position_ids=torch.from_numpy(positions)[:, None])[0]
        logits = model.lm_head(hidden[0, -2:]).numpy()
    shape = read_shape(files["config"])
    decoder = Decoder(open_session(files["decoder"]), shape)
    cos, sin = Rotary(shape.head_dim, shape.rope_theta, shape.mrope_section).rows(positions)
    rows = embeds[0].numpy()
    prefilled = decoder.append(rows[:99], cos[:99], sin[:99], 0)[-1].copy()
    decoded = decoder.append(rows[99:], cos[99:], sin[99:], 99)[-1]
    assert _relative(prefilled, logits[0]) < 2e-3
    assert _relative(decoded, logits[1]) < 2e-3


def _relative(ours: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(ours - expected).max() / np.abs(expected).max())
