"""What the device could do at best, and what a stage at least has to move and compute: the fraction is the figure.

Counted are weights and KV cache read once, and multiply-adds of matrices and attention; norms, rotations and what is
read twice are not, so that a fraction of 1 cannot quite be had.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

# Data sheets: GB/s of memory, dense TFLOP/s in BF16.
DATA_SHEETS = {
    "H200": (4800, 989),
    "H100": (3350, 989),
    "A100": (2039, 312),
    "RTX 5090": (1792, 210),
    "RTX 4090": (1008, 165),
    "Thor": (273, 500),
    "Orin": (205, 85),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """GB/s and TFLOP/s, measured here by a copy and a matrix product, and of the data sheet (0: not known)."""

    gb_per_s: float
    tflops: float
    sheet_gb_per_s: float = 0.0
    sheet_tflops: float = 0.0

    @property
    def bandwidth(self) -> float:
        """The better of measured and promised: nobody reaches more."""
        return max(self.gb_per_s, self.sheet_gb_per_s)

    @property
    def compute(self) -> float:
        """The better of measured and promised."""
        return max(self.tflops, self.sheet_tflops)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a stage has to read at least, in bytes, and to compute, in floating-point operations."""

    bytes: float
    flops: float

    def fractions(self, milliseconds: float, limits: Limits) -> dict[str, float]:
        """Return how much of bandwidth and compute a time amounts to, and the time that the tighter limit allows."""
        by_bytes, by_flops = self.bytes / limits.bandwidth / 1e6, self.flops / limits.compute / 1e9
        return {
            "of_bandwidth": round(by_bytes / milliseconds, 3),
            "of_compute": round(by_flops / milliseconds, 3),
            "limit_ms": round(max(by_bytes, by_flops), 3),
        }


def measured_limits(device: str, dtype: torch.dtype, *, tiny: bool = False) -> Limits:
    """Measure the device with a large copy and a large matrix product; ``tiny``: a little of both, for dry runs."""
    count, side = (1 << 20, 256) if tiny else (1 << 30, 8192)
    source = torch.empty(count, dtype=dtype, device=device).normal_()
    target = torch.empty_like(source)
    copy_ms = timed(lambda: target.copy_(source), device, 20)
    matrix = torch.randn(side, side, dtype=dtype, device=device)
    product_ms = timed(lambda: matrix @ matrix, device, 20)
    name = torch.cuda.get_device_name() if device == "cuda" else ""
    sheet = next((figures for known, figures in DATA_SHEETS.items() if known in name), (0, 0))
    moved = 2 * source.numel() * source.element_size()
    return Limits(moved / copy_ms / 1e6, 2 * side**3 / product_ms / 1e9, *sheet)


def timed(run: Callable[[], Any], device: str, count: int, warmup: int = 3) -> float:
    """Return the median ms of ``run``, waiting for the device after each."""
    taken = []
    for number in range(count + warmup):
        wait(device)
        start = time.perf_counter()
        run()
        wait(device)
        if number >= warmup:
            taken.append((time.perf_counter() - start) * 1e3)
    return sorted(taken)[len(taken) // 2]


def wait(device: str) -> None:
    """Wait until the device has done everything asked."""
    if device == "cuda":
        torch.cuda.synchronize()


# ---- what the stages need ----


def decode_needs(model: Any, length: int) -> Needs:
    """One token at a cache of ``length`` places."""
    weights = _count(model.model.language_model.layers) + model.lm_head.weight.numel()
    text = model.config.text_config
    cache = 2 * text.num_hidden_layers * text.num_key_value_heads * (text.hidden_size // text.num_attention_heads)
    size = model.lm_head.weight.element_size()
    attention = 4 * text.num_hidden_layers * text.hidden_size * length
    return Needs((weights + cache * length) * size, 2 * weights + attention)


def prefill_needs(model: Any, rows: int) -> Needs:
    """``rows`` rows into an empty cache, logits of the last."""
    weights = _count(model.model.language_model.layers)
    text, size = model.config.text_config, model.lm_head.weight.element_size()
    attention = 2 * text.num_hidden_layers * text.hidden_size * rows * rows  # causal: half of 4
    head = model.lm_head.weight.numel()
    return Needs((weights + head) * size, 2 * weights * rows + 2 * head + attention)


def vision_needs(model: Any, image: int) -> Needs:
    """One picture of image x image pixels through the tower."""
    visual = model.model.visual
    config = visual.config
    patches = (image // config.patch_size) ** 2
    blocks, merger = _count(visual.blocks) + _count(visual.patch_embed), _count(visual.merger)
    full = len(config.fullatt_block_indexes)
    window = (config.window_size // config.patch_size) ** 2
    seen = full * patches + (config.depth - full) * window
    flops = (
        2 * (blocks * patches + merger * patches // config.spatial_merge_size**2)
        + 4 * config.hidden_size * patches * seen
    )
    return Needs((blocks + merger) * visual.patch_embed.proj.weight.element_size(), flops)


def _count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
