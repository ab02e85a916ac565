"""The embedding table and the decoder of a Qwen language model; how families differ is read from its modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from onnx import TensorProto
from torch import nn

from export.families.base import NewGraph
from export.onnx_graph import Graph, stored

LOGIT_ROWS = 8


class Language(NamedTuple):
    """A decoder's shape: places in its cache, a head's width, layers with additions from the vision tower."""

    capacity: int
    head_dim: int
    deepstack: int


def write_language(model: Any, shape: Language, paths: tuple[Path, Path], new_graph: NewGraph) -> None:
    """Write the embedding table and the decoder (`paths`); with external data a tied table is stored once for both."""
    embeddings = new_graph("embeddings")
    table = model.model.language_model.embed_tokens.weight
    _embeddings(embeddings, table, shape.deepstack)
    embeddings.save(paths[0])

    decoder = new_graph("decoder")
    tied = model.lm_head.weight.data_ptr() == table.data_ptr()
    shared = embeddings.weights[0] if tied and decoder.data is not None else None
    _decoder(decoder, model, shape, shared)
    decoder.save(paths[1])


def swiglu(graph: Graph, value: str, name: str, mlp: nn.Module) -> str:
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


def _embeddings(graph: Graph, table: torch.Tensor, deepstack: int) -> None:
    """Rows of the table by id; only the rows asked for are cast. Nothing is added to text: zeros stand behind it."""
    ids = graph.input("ids", np.int64, ["tokens"])
    kept = stored(table, graph.store)
    graph.raw_weight("embed_tokens.weight", kept)
    rows = graph.node("Gather", "embed_tokens.weight", ids, axis=0)
    hidden = table.shape[1]
    cast = graph.node("Cast", rows, result="" if deepstack else "embeds", to=TensorProto.FLOAT)
    if deepstack:
        graph.node("Pad", cast, graph.constant([0, 0, 0, deepstack * hidden]), result="embeds")
    graph.output("embeds", ["tokens", (1 + deepstack) * hidden])


class _Rows:
    """What every layer needs to know about the rows of this call: rotation and where they go in the cache."""

    def __init__(self, graph: Graph, shape: Language, heads: tuple[int, int], embeds: str) -> None:
        """`heads`: of queries, and of keys and values."""
        capacity, head_dim = shape.capacity, shape.head_dim
        self._graph, self.shape, self.heads = graph, shape, heads
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


def _decoder(graph: Graph, model: Any, shape: Language, shared_head: TensorProto | None) -> None:
    config, language = model.config.text_config, model.model.language_model
    hidden = embeds = graph.input("embeds", np.float32, ["tokens", (1 + shape.deepstack) * config.hidden_size])
    rows = _Rows(graph, shape, (config.num_attention_heads, config.num_key_value_heads), embeds)
    added: list[str] = []
    if shape.deepstack:
        parts = {"results": [""] * (1 + shape.deepstack), "axis": 1, "num_outputs": 1 + shape.deepstack}
        hidden, *added = graph.split("Split", embeds, **parts)
    for index, layer in enumerate(language.layers):
        name = f"layers.{index}"
        normed = graph.rms_norm(hidden, f"{name}.input_layernorm", layer.input_layernorm.weight, config.rms_norm_eps)
        hidden = graph.add(hidden, _attention(graph, layer.self_attn, normed, rows, index))
        weight = layer.post_attention_layernorm.weight
        normed = graph.rms_norm(hidden, f"{name}.post_attention_layernorm", weight, config.rms_norm_eps)
        hidden = graph.add(hidden, swiglu(graph, normed, f"{name}.mlp", layer.mlp))
        if index < len(added):
            hidden = graph.node("Add", hidden, added[index])
    last = graph.node("Slice", hidden, graph.constant([-LOGIT_ROWS]), graph.constant([2**31]), graph.constant([0]))
    normed = graph.rms_norm(last, "norm", language.norm.weight, config.rms_norm_eps)
    _head(graph, normed, model.lm_head.weight, shared_head)
    graph.output("logits", ["last", config.vocab_size])


def _attention(graph: Graph, attention: nn.Module, value: str, rows: _Rows, index: int) -> str:
    """Attention of S rows over the static cache of this layer, which the rows' own keys and values enter first."""
    capacity, head_dim, (heads, kv_heads) = rows.shape.capacity, rows.shape.head_dim, rows.heads
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    fused = graph.linear(
        value,
        f"layers.{index}.self_attn.qkv",
        torch.cat([layer.weight for layer in projections]),
        None if projections[0].bias is None else torch.cat([layer.bias for layer in projections]),
    )
    by_head = graph.node("Transpose", graph.reshape(fused, [1, -1, heads + 2 * kv_heads, head_dim]), perm=[0, 2, 1, 3])
    counts = graph.constant([heads, kv_heads, kv_heads])
    query, key, new_value = graph.split("Split", by_head, counts, results=["", "", ""], axis=1)
    if hasattr(attention, "q_norm"):
        query, key = (
            graph.rms_norm(graph.widen(states), f"layers.{index}.self_attn.{name}", norm.weight, norm.variance_epsilon)
            for states, name, norm in ((query, "q_norm", attention.q_norm), (key, "k_norm", attention.k_norm))
        )

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
