"""What the decoder and the vision tower of Qwen2.5-VL have in common: a block's weights, fused, and its feed-forward.

Fused means fewer and larger products: query, key and value are one matrix, gate and up another. The weights are copies
in the engine's own precision; the model they came from is not changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class DeviceDtype(NamedTuple):
    """Where an engine computes, and in what precision."""

    device: torch.device
    dtype: torch.dtype

    def tensor(self, value: Tensor) -> Tensor:
        """Return ``value`` there, apart from the model it came from."""
        return value.detach().to(self.device, self.dtype, copy=True).contiguous()

    def stacked(self, modules: Sequence[Any], name: str) -> Tensor | None:
        """Return one parameter of several modules under each other; None when they have none."""
        parts = [getattr(module, name) for module in modules]
        return None if parts[0] is None else self.tensor(torch.cat([part.detach() for part in parts]))


class FusedLinear(NamedTuple):
    """A linear layer: ``weight`` (out, in), ``bias`` (out,) or None."""

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def from_layer(cls, target: DeviceDtype, *modules: Any) -> FusedLinear:
        """Return several linear layers of one input as one."""
        weight = target.stacked(modules, "weight")
        assert weight is not None  # noqa: S101 -- a linear layer has a weight
        return cls(weight, target.stacked(modules, "bias"))

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the product of ``rows`` (S, in): (S, out)."""
        return F.linear(rows, self.weight, self.bias)

    def add_to(self, total: Tensor, rows: Tensor) -> Tensor:
        """Add the product of ``rows`` to ``total`` where it lies, and return it: one kernel in place of two."""
        total.addmm_(rows, self.weight.t())
        if self.bias is not None:
            total.add_(self.bias)
        return total


class Norm(NamedTuple):
    """Root-mean-square norm."""

    weight: Tensor
    eps: float

    @classmethod
    def from_layer(cls, target: DeviceDtype, module: Any) -> Norm:
        """Return a Qwen2_5_VLRMSNorm's weights."""
        return cls(target.tensor(module.weight), float(module.variance_epsilon))

    def __call__(self, rows: Tensor) -> Tensor:
        """Return ``rows`` (S, width), each divided by its root mean square and weighted."""
        return F.rms_norm(rows, self.weight.shape, self.weight, self.eps)


class Block(NamedTuple):
    """One transformer block."""

    before: Norm
    qkv: FusedLinear
    out: FusedLinear
    between: Norm
    gate_up: FusedLinear
    down: FusedLinear

    @classmethod
    def of_decoder(cls, target: DeviceDtype, layer: Any) -> Block:
        """Return a Qwen2_5_VLDecoderLayer's weights."""
        heads = layer.self_attn
        return cls(
            Norm.from_layer(target, layer.input_layernorm),
            FusedLinear.from_layer(target, heads.q_proj, heads.k_proj, heads.v_proj),
            FusedLinear.from_layer(target, heads.o_proj),
            Norm.from_layer(target, layer.post_attention_layernorm),
            FusedLinear.from_layer(target, layer.mlp.gate_proj, layer.mlp.up_proj),
            FusedLinear.from_layer(target, layer.mlp.down_proj),
        )

    @classmethod
    def of_vision(cls, target: DeviceDtype, layer: Any) -> Block:
        """Return a Qwen2_5_VLVisionBlock's weights."""
        return cls(
            Norm.from_layer(target, layer.norm1),
            FusedLinear.from_layer(target, layer.attn.qkv),
            FusedLinear.from_layer(target, layer.attn.proj),
            Norm.from_layer(target, layer.norm2),
            FusedLinear.from_layer(target, layer.mlp.gate_proj, layer.mlp.up_proj),
            FusedLinear.from_layer(target, layer.mlp.down_proj),
        )

    def project(self, hidden: Tensor) -> Tensor:
        """Return queries, keys and values, side by side, of the rows (S, width)."""
        return self.qkv(self.before(hidden))

    def add_attention(self, hidden: Tensor, mixed: Tensor) -> Tensor:
        """Add the output of attention to ``hidden``, where it lies; return it."""
        return self.out.add_to(hidden, mixed)

    def feed_forward(self, hidden: Tensor) -> Tensor:
        """Add down(silu(gate) * up) of the normed rows to ``hidden`` (S, width), where it lies; return it."""
        gate, up = self.gate_up(self.between(hidden)).chunk(2, dim=-1)
        return self.down.add_to(hidden, F.silu(gate).mul_(up))
