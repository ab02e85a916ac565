"""Bundle -> transformers: the demo bundle's graphs turned back into the stock classes, the same weights on both sides.

The bundle ships no checkpoint, and a comparison of speed wants the very same weights on both sides. Every weight that
the graphs use is read from their initialisers; names are the parameters' own, but for the products that the exporter
transposed, which are found by the bias they are added to. ``tests/bench/test_checkpoint_of_bundle.py`` proves that the
outputs are equal. Not covered: the parameters that no graph uses (SAM 2's mask prompts and object score head), which
stay as they were drawn; a position embedding comes back at the size of the feature map instead of 7 x 7, with the same
values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from tokenizers import Tokenizer
from torch import nn
from transformers import Qwen2_5_VLForConditionalGeneration, Sam2Model

from segzero_ros.bundle import Bundle
from training.demo_models.reasoner_model import build_model
from training.demo_models.recipes.shapes import SHAPES, Shape
from training.demo_models.segmenter_model import demo_config

Weights = Mapping[str, NDArray[np.float32]]
# What the exporter's modules are called, and what they are in the checkpoint.
_SEGMENTER_NAMES = {"vision.": "vision_encoder.", "decoder.": "mask_decoder.", "prompts.": "prompt_encoder."}
_UNUSED = ("mask_decoder.pred_obj_score_head.", "prompt_encoder.mask_embed.")  # by a graph of boxes and points


class Unlike(Exception):
    """The graphs are no demo model's: a weight is missing or has another shape than the stock class wants."""


# ---- the reasoner ----


def reasoner_of(bundle: Bundle) -> Qwen2_5_VLForConditionalGeneration:
    """Return the bundle's reasoner as transformers' class, float32; ``Unlike`` when the graphs are no demo model's."""
    files = bundle.reasoner.files
    model = build_model(Tokenizer.from_file(str(files["tokenizer"])), _shape(files["config"]))
    weights = {
        **{f"model.visual.{name}": value for name, value in _vision(graph_weights(files["vision"])).items()},
        **{f"model.language_model.{name}": value for name, value in _language(model, files).items()},
    }
    if left := weights.keys() - model.state_dict().keys():
        raise Unlike(f"{min(left)} is in the graphs and not in the model; give the checkpoints instead")
    _fill(model, weights, unused=("lm_head.weight",))  # tied to the embeddings
    return model.eval()


def _shape(config: Path) -> Shape:
    """Which of the demo's shapes it is, by width and depth of the text."""
    said = json.loads(config.read_text("utf-8"))
    wanted = said["hidden_size"], said["layers"]
    shape = next((shape for shape in SHAPES.values() if (shape.width, shape.layers) == wanted), None)
    if shape is None:
        raise Unlike(f"{wanted[0]} wide with {wanted[1]} layers is no demo model's shape; give the checkpoints instead")
    return shape


def _vision(found: Weights) -> dict[str, NDArray[np.float32]]:
    weights = {name: value for name, value in found.items() if not name.startswith("const_")}
    both_times = weights.pop("patch_embed.weight")  # (hidden, 3 * patch^2): the sum over the filter's two times
    side = round((both_times.shape[1] // 3) ** 0.5)
    each = both_times.reshape(len(both_times), 3, 1, side, side) / 2
    weights["patch_embed.proj.weight"] = np.repeat(each, 2, axis=2)
    return _unfused(weights)


def _language(model: nn.Module, files: Mapping[str, Path]) -> dict[str, NDArray[np.float32]]:
    weights = {name: value for name, value in graph_weights(files["decoder"]).items() if not name.startswith("const_")}
    weights.pop("lm_head.weight", None)
    weights |= graph_weights(files["embeddings"])
    text = model.config.text_config
    key_value = text.num_key_value_heads * (text.hidden_size // text.num_attention_heads)
    cuts = [text.hidden_size, text.hidden_size + key_value]
    for name in [name for name in weights if ".self_attn.qkv." in name]:
        for part, value in zip("qkv", np.split(weights.pop(name), cuts), strict=True):
            weights[name.replace(".qkv.", f".{part}_proj.")] = value
    return _unfused(weights)


def _unfused(weights: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Undo the exporter's joined gate and up projections."""
    for name in [name for name in weights if ".mlp.gate_up." in name]:
        gate, up = np.split(weights.pop(name), 2)
        weights[name.replace("gate_up", "gate_proj")] = gate
        weights[name.replace("gate_up", "up_proj")] = up
    return {name.replace(".mlp.down.", ".mlp.down_proj."): value for name, value in weights.items()}


# ---- the segmenter ----


def segmenter_of(bundle: Bundle) -> Sam2Model:
    """Return the bundle's segmenter as transformers' class, float32; ``Unlike`` when the graphs are no demo model's."""
    encoder, decoder = (graph_weights(bundle.segmenter.files[role]) for role in ("encoder", "decoder"))
    config = demo_config(bundle.segmenter.image_size[0])
    positions = encoder.pop("positions")  # (1, height, width, channels), window part and background summed
    config.vision_config.backbone_config.window_positional_embedding_background_size = list(positions.shape[1:3])
    model = Sam2Model(config)
    backbone = "vision_encoder.backbone."
    embedding = decoder["prompts.shared_embedding.positional_embedding"]
    weights = {
        **_stock_names(encoder),
        **_stock_names(decoder),
        f"{backbone}pos_embed": positions.transpose(0, 3, 1, 2),
        f"{backbone}pos_embed_window": np.zeros(model.vision_encoder.backbone.pos_embed_window.shape, np.float32),
        "no_memory_embedding": encoder["no_memory"].reshape(1, 1, -1),
        "shared_image_embedding.positional_embedding": embedding,
        **_folded(decoder),
    }
    _fill(model, weights, unused=_UNUSED)
    return model.eval()


def _stock_names(weights: Weights) -> dict[str, NDArray[np.float32]]:
    renamed = {}
    for name, value in weights.items():
        for ours, stock in _SEGMENTER_NAMES.items():
            if name.startswith(ours):
                renamed[stock + name.removeprefix(ours)] = value
    return renamed


def _folded(decoder: Weights) -> dict[str, NDArray[np.float32]]:
    """Parameters that the exporter joined to constants: the tokens before the prompts, the missing mask."""
    tokens = [value for value in decoder.values() if value.ndim == 4 and value.shape[:2] == (1, 1)]
    missing = [value for value in decoder.values() if value.ndim == 4 and value.shape[1] == tokens[0].shape[3]]
    flat = [value for value in missing if np.ptp(value, axis=(2, 3)).max() == 0]
    if len(tokens) != 1 or len(flat) != 1:
        raise Unlike(f"got {len(tokens)} constants like output tokens and {len(flat)} like no mask, want one of each")
    score, iou, masks = np.split(tokens[0][0, 0], [1, 2])
    return {
        "mask_decoder.obj_score_token.weight": score,
        "mask_decoder.iou_token.weight": iou,
        "mask_decoder.mask_tokens.weight": masks,
        "prompt_encoder.no_mask_embed.weight": flat[0][:, :, 0, 0],
    }


# ---- graphs ----


def graph_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return a graph's float initialisers by parameter name, float32, products (in, out) turned back to (out, in)."""
    graph = onnx.load(path).graph
    values = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
    stored = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}
    product = {node.output[0]: node.input[1] for node in graph.node if node.op_type == "MatMul"}
    turned = {}
    for node in graph.node:
        matrix = next((product[name] for name in node.input if name in product), "")
        bias = next((name for name in node.input if name.endswith(".bias")), "")
        if node.op_type == "Add" and matrix and bias:
            name = f"{bias.removesuffix('.bias')}.weight"
            turned[name] = values.pop(stored.get(matrix, matrix)).astype(np.float32).T
    floats = {name: value for name, value in values.items() if value.dtype in (np.float16, np.float32)}
    return turned | {name.removesuffix("/half"): value.astype(np.float32) for name, value in floats.items()}


def _fill(model: nn.Module, weights: Weights, unused: tuple[str, ...]) -> None:
    state = model.state_dict()
    for name, old in state.items():
        if name in weights and tuple(old.shape) == weights[name].shape:
            state[name] = torch.from_numpy(np.array(weights[name], np.float32))
        elif not name.startswith(unused):
            got = weights[name].shape if name in weights else "none"
            raise Unlike(f"{name}: got {got} in the graphs, want {tuple(old.shape)}; give the checkpoints instead")
    model.load_state_dict(state)


def write_checkpoints(bundle: Bundle, folder: Path) -> tuple[Path, Path]:
    """Write both models as checkpoint directories below ``folder``, as ``export`` and transformers read them."""
    reasoner, segmenter = folder / "reasoner", folder / "segmenter"
    reasoner_of(bundle).save_pretrained(reasoner)
    (reasoner / "tokenizer.json").write_bytes(bundle.reasoner.files["tokenizer"].read_bytes())
    (reasoner / "training.json").write_text(json.dumps({"from": f"bundle {bundle.name}"}) + "\n", "utf-8")
    segmenter_of(bundle).save_pretrained(segmenter)
    return reasoner, segmenter
