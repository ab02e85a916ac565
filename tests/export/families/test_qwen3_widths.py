"""The widths of the released Qwen3-VL go through the exporter unchanged, one layer of each kind."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from export.reasoner_onnx import FILES, export_reasoner, load_checkpoint  # noqa: E402
from segzero_ros.backends.decoding.chat_prompt import Rotary, mrope_positions  # noqa: E402
from segzero_ros.backends.decoding.generation import read_shape  # noqa: E402
from segzero_ros.backends.decoding.preprocess import patchify  # noqa: E402
from segzero_ros.backends.onnx.reasoner import Decoder  # noqa: E402
from segzero_ros.backends.onnx.session import open_session  # noqa: E402
from tests.export.families.small_qwen3 import save_qwen3  # noqa: E402

# Widths of Qwen/Qwen3-VL-4B-Instruct/config.json; the vocabulary is cut, because its rows are all alike.
TEXT = {
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 1,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20]},
}
VISION = {
    "depth": 1,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_heads": 16,
    "out_hidden_size": 2560,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [0],
}
SIZE = (256, 224)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    save_qwen3(tmp_path / "checkpoint", text=TEXT, vision=VISION, noise=0.0)
    yield tmp_path
    shutil.rmtree(tmp_path)


def test_the_real_widths_export_unchanged_and_agree(folder: Path) -> None:
    export_reasoner(folder / "checkpoint", folder / "out", image_size=SIZE, max_length=400)
    model = load_checkpoint(folder / "checkpoint").float()
    shape = read_shape(folder / "out" / FILES["config"])
    pixels = np.random.default_rng(0).normal(size=(3, SIZE[1], SIZE[0])).astype(np.float32)
    tokens = open_session(folder / "out" / FILES["vision"]).run(None, {"pixels": pixels[None]})[0]
    with torch.inference_mode():
        patches = torch.from_numpy(patchify(pixels, patch=16))
        seen = model.model.visual(patches, grid_thw=torch.tensor([[1, 14, 16]]))
        features = [seen.pooler_output, *seen.deepstack_features]
    assert tokens.shape == (7 * 8, shape.hidden_size) and shape.hidden_size == 2 * 2560
    assert _relative(tokens, torch.cat(features, 1).numpy()) < 2e-3

    positions = mrope_positions(10, (7, 8), 12)
    picture = torch.zeros(1, positions.shape[1], dtype=torch.bool)
    picture[0, 10:66] = True
    embeds = torch.randn(1, positions.shape[1], 2560) * 0.02
    embeds[picture] = features[0]
    with torch.inference_mode():
        hidden = model.model.language_model(
            inputs_embeds=embeds,
            position_ids=torch.from_numpy(positions)[:, None],
            visual_pos_masks=picture,
            deepstack_visual_embeds=features[1:],
        )[0]
        logits = model.lm_head(hidden[0, -2:]).numpy()
    rows = np.zeros((positions.shape[1], shape.hidden_size), np.float32)
    rows[:, :2560] = embeds[0].numpy()
    rows[10:66] = tokens
    cos, sin = Rotary(shape.head_dim, shape.rope_theta, shape.mrope_section, interleaved=True).rows(positions)
    decoder = Decoder(open_session(folder / "out" / FILES["decoder"]), shape)
    prefilled = decoder.append(rows[:-1], cos[:-1], sin[:-1], 0)[-1].copy()
    decoded = decoder.append(rows[-1:], cos[-1:], sin[-1:], len(rows) - 1)[-1]
    assert _relative(prefilled, logits[0]) < 2e-3
    assert _relative(decoded, logits[1]) < 2e-3


def _relative(ours: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(ours - expected).max() / np.abs(expected).max())
