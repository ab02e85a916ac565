"""Qwen2.5-VL checkpoint -> vision graph at a fixed image size, embeddings, one decoder graph with a static KV cache.

    checkpoint directory  ->  vision.onnx      pixels (1, 3, H, W) normalised      -> tokens (M, hidden)
    (save_pretrained,         embeddings.onnx  ids (S,)                            -> embeds (S, hidden)
     tokenizer.json)          decoder.onnx     embeds (S, hidden), cos, sin (S, head_dim / 2), write_index (1,), KV
                                                                                   -> logits (L, vocabulary), KV
                              config.json, tokenizer.json: what the runtime needs beside them

The decoder serves prefill (S = many) and decode (S = 1) alike: `write_index` is the cache place of the first row, rows
see every place up to their own, the present caches may be the past caches' own buffers, and only the logits of the last
L = min(S, LOGIT_ROWS) rows are computed: one to decode, a few to check tokens that were guessed ahead. M-RoPE's cosines
and sines come from outside, because they follow from three positions per token (`backends/decoding/chat_prompt.py`).
The graphs are built node by node from the checkpoint's weights: opset 24's RotaryEmbedding, TensorScatter, Attention,
which both ONNX Runtime and TensorRT know. With `--arithmetic half` (for GPUs) the KV caches are FP16, all other inputs
and outputs FP32 as without; see export/onnx_graph.py for what is computed how.

Run: python -m export.reasoner_onnx CHECKPOINT OUT --image-size 840 --max-length 2048
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import TensorProto
from tokenizers import Tokenizer
from torch import nn
from transformers import Qwen2_5_VLForConditionalGeneration

from export.onnx_graph import INLINE_BYTES, Arithmetic, DataFile, Graph, Store, stored
from export.vision_tower import is_dense
from segzero_ros.backends.decoding.chat_prompt import IMAGE_TOKEN
from segzero_ros.backends.torch_cuda.vision import VisionGrid
from segzero_ros.backends.torch_cuda.weights import check_cache, load_whole, read_json, read_tokenizer
from segzero_ros.cli.parser import Parser, refuse
from segzero_ros.errors import RejectedInput
from segzero_ros.profile import Profile

LOGIT_ROWS = 8

FILES = {
    "vision": "vision.onnx",
    "embeddings": "embeddings.onnx",
    "decoder": "decoder.onnx",
    "tokenizer": "tokenizer.json",
    "config": "config.json",
}


def export_reasoner(
    checkpoint: Path,
    out_dir: Path,
    *,
    image_size: tuple[int, int],
    max_length: int = 2048,
    store: Store = "half",
    arithmetic: Arithmetic = "float",
    profile: Profile | None = None,
) -> list[str]:
    """Write the files of `FILES` (and `weights.bin` beside them when the weights are large); return their names.

    `max_length` is the capacity of the KV cache in tokens: prompt, image, thinking and answer. `arithmetic`: "half" for
    GPUs, which stores in FP16 too. `profile`: whose prompt the cache must hold. Raises ValueError for a checkpoint that
    is no Qwen2.5-VL of the kind `check_supported` describes, FileNotFoundError without tokenizer.json, RejectedInput
    for one that is not whole and for a cache too small.
    """
    tokenizer = checkpoint / "tokenizer.json"
    if not tokenizer.is_file():
        raise FileNotFoundError(f"{tokenizer}: missing; save the tokenizer beside the weights")
    model = load_checkpoint(checkpoint)
    check_supported(model.config, read_tokenizer(tokenizer))
    grid = VisionGrid(model.config.vision_config, image_size)
    check_cache(tokenizer, image_size, max_length, profile)

    store = "half" if arithmetic == "half" else store
    out_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        large = _stored_bytes(model, store) > INLINE_BYTES
        data = stack.enter_context(DataFile(out_dir / "weights.bin")) if large else None
        new_graph = partial(Graph, store=store, data=data, arithmetic=arithmetic)
        write_vision(model.model.visual, grid, out_dir / FILES["vision"], new_graph)
        write_language(model, out_dir, max_length, new_graph)
    shutil.copyfile(tokenizer, out_dir / FILES["tokenizer"])
    config = runtime_config(model.config, grid, image_size, max_length)
    (out_dir / FILES["config"]).write_text(json.dumps(config, indent=1) + "\n")
    return [*FILES.values(), *(["weights.bin"] if data else [])]


def load_checkpoint(checkpoint: Path) -> Qwen2_5_VLForConditionalGeneration:
    """Load a checkpoint directory in the precision it was saved in, whole (``load_whole``)."""
    if not (checkpoint / "config.json").is_file():
        raise FileNotFoundError(f"{checkpoint / 'config.json'}: missing; give a directory written by save_pretrained")
    architecture = read_json(checkpoint / "config.json").get("architectures")
    if architecture != ["Qwen2_5_VLForConditionalGeneration"]:
        raise ValueError(f"got {architecture}, want a Qwen2_5_VLForConditionalGeneration checkpoint")
    model: Qwen2_5_VLForConditionalGeneration = load_whole(Qwen2_5_VLForConditionalGeneration, checkpoint, dtype="auto")
    return model.eval()


def check_supported(config: Any, tokenizer: Tokenizer) -> None:
    """Refuse (ValueError) what the graphs do not express, instead of exporting something else."""
    text = config.text_config
    rope = text.rope_parameters
    head_dim = text.hidden_size // text.num_attention_heads
    wanted = {
        "text_config.hidden_act": (text.hidden_act, "silu"),
        "text_config.use_sliding_window": (bool(text.use_sliding_window), False),
        "text_config.rope_parameters.rope_type": (rope["rope_type"], "default"),
        "sum of mrope_section": (sum(rope["mrope_section"]), head_dim // 2),
        "vision_config.hidden_act": (config.vision_config.hidden_act, "silu"),
        f"id of {IMAGE_TOKEN} in tokenizer.json": (tokenizer.token_to_id(IMAGE_TOKEN), config.image_token_id),
    }
    for name, (got, want) in wanted.items():
        if got != want:
            raise ValueError(f"{name}: got {got!r}, want {want!r}")


def runtime_config(config: Any, grid: VisionGrid, image_size: tuple[int, int], max_length: int) -> dict[str, Any]:
    """Everything the runtime needs to know about the graphs, and nothing else."""
    text = config.text_config
    return {
        "architecture": "Qwen2.5-VL",
        "image_size": list(image_size),
        "token_grid": list(grid.token_grid),
        "hidden_size": text.hidden_size,
        "layers": text.num_hidden_layers,
        "key_value_heads": text.num_key_value_heads,
        "head_dim": text.hidden_size // text.num_attention_heads,
        "rope_theta": text.rope_parameters["rope_theta"],
        "mrope_section": list(text.rope_parameters["mrope_section"]),
        "vocabulary": text.vocab_size,
        "max_length": max_length,
        "logit_rows": LOGIT_ROWS,
    }


def write_vision(visual: nn.Module, grid: VisionGrid, path: Path, new_graph: Callable[[str], Graph]) -> None:
    """Write the vision graph: window order, rotary tables and masks are constants of the fixed grid."""
    graph = new_graph("vision")
    hidden = _patch_embedding(graph, visual, grid)
    rotary = _VisionRotary(graph, grid)
    for index, block in enumerate(visual.blocks):
        name = f"blocks.{index}"
        normed = graph.rms_norm(hidden, f"{name}.norm1", block.norm1.weight, block.norm1.variance_epsilon)
        mixed = _vision_attention(graph, grid, block.attn, normed, rotary, name, index not in grid.full_attention)
        hidden = graph.add(hidden, mixed)
        normed = graph.rms_norm(hidden, f"{name}.norm2", block.norm2.weight, block.norm2.variance_epsilon)
        hidden = graph.add(hidden, _swiglu(graph, normed, f"{name}.mlp", block.mlp))
    merger = visual.merger
    normed = graph.rms_norm(hidden, "merger.ln_q", merger.ln_q.weight, merger.ln_q.variance_epsilon)
    grouped = graph.reshape(normed, [grid.tokens, -1])
    inner = graph.node("Gelu", graph.linear(grouped, "merger.mlp.0", merger.mlp[0].weight, merger.mlp[0].bias))
    tokens = graph.linear(inner, "merger.mlp.2", merger.mlp[2].weight, merger.mlp[2].bias)
    graph.node("Gather", graph.widen(tokens), graph.constant(grid.token_order.numpy()), result="tokens", axis=0)
    graph.output("tokens", [grid.tokens, merger.mlp[2].out_features])
    graph.save(path)


def write_language(
    model: Qwen2_5_VLForConditionalGeneration, out_dir: Path, max_length: int, new_graph: Callable[[str], Graph]
) -> None:
    """Write the embedding table and the decoder; with external data a tied table is stored once for both."""
    embeddings = new_graph("embeddings")
    table = model.model.language_model.embed_tokens.weight
    _embeddings(embeddings, table)
    embeddings.save(out_dir / FILES["embeddings"])

    decoder = new_graph("decoder")
    tied = model.lm_head.weight.data_ptr() == table.data_ptr()
    shared = embeddings.weights[0] if tied and decoder.data is not None else None
    _decoder(decoder, model, max_length, shared)
    decoder.save(out_dir / FILES["decoder"])


def _stored_bytes(model: nn.Module, store: Store) -> int:
    return sum(parameter.numel() for parameter in model.parameters()) * (2 if store == "half" else 4)


# ---- vision ----


class _VisionRotary:
    """Rotates (1, T, hidden) by the patches' rows and columns, in FP32 as the stock tower does."""

    def __init__(self, graph: Graph, grid: VisionGrid) -> None:
        self._graph, self._heads = graph, grid.heads
        self._cos = graph.constant(grid.cos.float().cpu().numpy())
        self._sin = graph.constant(grid.sin.float().cpu().numpy())
        self._places = graph.constant(np.arange(len(grid.patch_order), dtype=np.int64)[None])

    def __call__(self, states: str) -> str:
        inputs = (self._graph.widen(states), self._cos, self._sin, self._places)
        return self._graph.narrow(self._graph.node("RotaryEmbedding", *inputs, num_heads=self._heads))


def _patch_embedding(graph: Graph, visual: nn.Module, grid: VisionGrid) -> str:
    """Embed the patches of the picture, (T, hidden) in window order."""
    rows, columns, side = grid.rows, grid.columns, grid.patch
    pixels = graph.input("pixels", np.float32, [1, 3, rows * side, columns * side])
    tiles = graph.node("Transpose", graph.reshape(pixels, [3, rows, side, columns, side]), perm=[1, 3, 0, 2, 4])
    patches = graph.reshape(tiles, [rows * columns, 3 * side * side])
    ordered = graph.node("Gather", patches, graph.constant(grid.patch_order.numpy()), axis=0)
    both_times = visual.patch_embed.proj.weight.float().sum(2).flatten(1)
    weight = graph.weight("patch_embed.weight", both_times, exact=True)
    return graph.node("Gemm", ordered, weight, name="patch_embed", transB=1)


def _vision_attention(
    graph: Graph,
    grid: VisionGrid,
    attention: nn.Module,
    value: str,
    rotary: _VisionRotary,
    name: str,
    windowed: bool,
) -> str:
    places, width = len(grid.patch_order), attention.qkv.in_features
    fused = graph.linear(value, f"{name}.attn.qkv", attention.qkv.weight, attention.qkv.bias)
    query, key, value = graph.split(
        "Split", graph.reshape(fused, [1, places, 3 * width]), results=["", "", ""], axis=2, num_outputs=3
    )
    states = (rotary(query), rotary(key), value)
    if not windowed:
        mixed = _attend(graph, states, grid.heads, None)
    elif is_dense(grid):
        mixed = _attend(graph, states, grid.heads, graph.constant(grid.window_mask.cpu().numpy()[None, None]))
    else:
        mixed = _attend_by_window(graph, grid, states)
    return graph.linear(
        graph.reshape(mixed, [places, width]), f"{name}.attn.proj", attention.proj.weight, attention.proj.bias
    )


def _attend(graph: Graph, states: tuple[str, str, str], heads: int, mask: str | None) -> str:
    """Attention of (B, T, hidden) queries, keys and values."""
    return graph.attention(*states, mask, q_num_heads=heads, kv_num_heads=heads)


def _attend_by_window(graph: Graph, grid: VisionGrid, states: tuple[str, str, str]) -> str:
    """Windows become the batch, padded to the largest; the padding is masked and dropped again."""
    count, length = grid.gather.shape
    gather = graph.constant(grid.gather.flatten().numpy())
    cut = [graph.reshape(graph.node("Gather", s, gather, axis=1), [count, length, -1]) for s in states]
    mask = None
    if not bool(grid.valid.all()):
        mask = graph.constant(grid.valid[:, None, None, :].expand(count, 1, length, length).numpy())
    mixed = _attend(graph, (cut[0], cut[1], cut[2]), grid.heads, mask)
    whole = graph.reshape(mixed, [1, count * length, -1])
    return graph.node("Gather", whole, graph.constant(grid.scatter.numpy()), axis=1)


def _swiglu(graph: Graph, value: str, name: str, mlp: nn.Module) -> str:
    """down(silu(gate(x)) * up(x)); gate and up are one product."""
    biases = [layer.bias for layer in (mlp.gate_proj, mlp.up_proj)]
    fused = graph.linear(
        value,
        f"{name}.gate_up",
        torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]),
        None if biases[0] is None else torch.cat(biases),
    )
    gate, up = graph.split("Split", fused, results=["", ""], axis=1, num_outputs=2)
    gated = graph.node("Mul", graph.node("Swish", gate), up)
    return graph.linear(gated, f"{name}.down", mlp.down_proj.weight, mlp.down_proj.bias)


# ---- language ----


def _embeddings(graph: Graph, table: torch.Tensor) -> None:
    """Rows of the table by id; only the rows asked for are cast."""
    ids = graph.input("ids", np.int64, ["tokens"])
    kept = stored(table, graph.store)
    graph.raw_weight("embed_tokens.weight", kept)
    rows = graph.node("Gather", "embed_tokens.weight", ids, axis=0)
    graph.node("Cast", rows, result="embeds", to=TensorProto.FLOAT)
    graph.output("embeds", ["tokens", table.shape[1]])


class _Rows:
    """What every layer needs to know about the rows of this call: rotation and where they go in the cache."""

    def __init__(self, graph: Graph, capacity: int, head_dim: int, embeds: str) -> None:
        self._graph = graph
        self.cos = graph.narrow(graph.input("cos", np.float32, ["tokens", head_dim // 2]))
        self.sin = graph.narrow(graph.input("sin", np.float32, ["tokens", head_dim // 2]))
        self.write_index = graph.input("write_index", np.int64, [1])
        places = graph.constant(np.arange(capacity, dtype=np.int64))
        count = graph.node("Shape", embeds, start=0, end=1)
        running = graph.node("Slice", places, graph.constant([0]), count, graph.constant([0]))
        self.running = graph.node("Unsqueeze", running, graph.constant([0]))
        own = graph.reshape(graph.node("Add", running, self.write_index), [1, 1, -1, 1])
        self.visible = graph.node("LessOrEqual", graph.reshape(places, [1, 1, 1, capacity]), own)

    def rotate(self, states: str) -> str:
        """Rotate (1, heads, S, head_dim)."""
        return self._graph.node("RotaryEmbedding", states, self.cos, self.sin, self.running)


def _decoder(
    graph: Graph, model: Qwen2_5_VLForConditionalGeneration, capacity: int, shared_head: TensorProto | None
) -> None:
    config, language = model.config.text_config, model.model.language_model
    hidden = embeds = graph.input("embeds", np.float32, ["tokens", config.hidden_size])
    rows = _Rows(graph, capacity, config.hidden_size // config.num_attention_heads, embeds)
    for index, layer in enumerate(language.layers):
        name = f"layers.{index}"
        normed = graph.rms_norm(hidden, f"{name}.input_layernorm", layer.input_layernorm.weight, config.rms_norm_eps)
        hidden = graph.add(hidden, _attention(graph, layer.self_attn, normed, rows, index, capacity))
        weight = layer.post_attention_layernorm.weight
        normed = graph.rms_norm(hidden, f"{name}.post_attention_layernorm", weight, config.rms_norm_eps)
        hidden = graph.add(hidden, _swiglu(graph, normed, f"{name}.mlp", layer.mlp))
    last = graph.node("Slice", hidden, graph.constant([-LOGIT_ROWS]), graph.constant([2**31]), graph.constant([0]))
    normed = graph.rms_norm(last, "norm", language.norm.weight, config.rms_norm_eps)
    _head(graph, normed, model.lm_head.weight, shared_head)
    graph.output("logits", ["last", config.vocab_size])


def _attention(graph: Graph, attention: nn.Module, value: str, rows: _Rows, index: int, capacity: int) -> str:
    """Attention of S rows over the static cache of this layer, which the rows' own keys and values enter first."""
    head_dim, heads, kv_heads = attention.head_dim, attention.num_heads, attention.num_key_value_heads
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    fused = graph.linear(
        value,
        f"layers.{index}.self_attn.qkv",
        torch.cat([layer.weight for layer in projections]),
        torch.cat([layer.bias for layer in projections]),
    )
    by_head = graph.node("Transpose", graph.reshape(fused, [1, -1, heads + 2 * kv_heads, head_dim]), perm=[0, 2, 1, 3])
    counts = graph.constant([heads, kv_heads, kv_heads])
    query, key, new_value = graph.split("Split", by_head, counts, results=["", "", ""], axis=1)

    shape = [1, kv_heads, capacity, head_dim]
    caches = []
    for kind, states in (("key", rows.rotate(key)), ("value", new_value)):
        past = graph.input(f"past_{kind}_{index}", graph.dtype, shape)
        present = f"present_{kind}_{index}"
        graph.node("TensorScatter", past, states, rows.write_index, result=present, axis=-2)
        caches.append(graph.output(present, shape, graph.dtype))
    mixed = graph.attention(rows.rotate(query), caches[0], caches[1], rows.visible)
    joined = graph.reshape(graph.node("Transpose", mixed, perm=[0, 2, 1, 3]), [-1, heads * head_dim])
    return graph.linear(joined, f"layers.{index}.self_attn.o_proj", attention.o_proj.weight)


def _head(graph: Graph, value: str, weight: torch.Tensor, shared: TensorProto | None) -> None:
    half = graph.arithmetic == "half"
    if shared is None:
        table = graph.weight("lm_head.weight", weight)
    else:
        graph.weights.append(shared)
        table = shared.name
        if shared.data_type == TensorProto.FLOAT16 and not half:
            table = graph.node("Cast", table, name="lm_head/cast", to=TensorProto.FLOAT)
    logits = graph.node("Gemm", value, table, name="lm_head", result="" if half else "logits", transB=1)
    if half:
        graph.node("Cast", logits, result="logits", to=TensorProto.FLOAT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Export one checkpoint from the command line."""
    parser = Parser("python -m export.reasoner_onnx", __doc__ or "")
    parser.add_argument("checkpoint", type=Path, help="directory written by save_pretrained, with tokenizer.json")
    parser.add_argument("out", type=Path, help="directory to write the graphs to")
    parser.add_argument("--image-size", type=int, default=840, help="side of the squashed picture (multiple of 28)")
    parser.add_argument("--max-length", type=int, default=2048, help="capacity of the KV cache in tokens")
    parser.add_argument("--store", choices=("half", "float"), default="half", help="precision of the stored matrices")
    parser.add_argument("--arithmetic", choices=("half", "float"), default="float", help="half: FP16 for GPUs")
    options = parser.parse_args(arguments)
    size = (options.image_size, options.image_size)
    precision = {"store": options.store, "arithmetic": options.arithmetic}
    try:
        names = export_reasoner(
            options.checkpoint, options.out, image_size=size, max_length=options.max_length, **precision
        )
    except (RejectedInput, OSError, ValueError) as error:
        return refuse(parser.prog, str(error))
    for name in names:
        print(f"{(options.out / name).stat().st_size:>14,} {options.out / name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
