"""What following costs a GPU at least, computed and not measured: `python -m bench.follow.limits`.

Counted are the multiply-adds of SAM 2.1's products, convolutions and attention at 1024 x 1024, with seven memories and
sixteen pointers, and the weights and memories read once in FP16; divided by what data sheets promise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Sam2VideoConfig, Sam2VideoModel

from bench.figures import markdown_table
from bench.gpu.limits import DATA_SHEETS, Limits, Needs
from export.segmenter_onnx import SegmenterEncoder
from export.tracker.modules import MemoryAttention, MemoryEncoder, TrackDecoder
from segzero_ros.backends.sam2_memory import POINTERS, RECENT

DEVICES = ("Orin", "Thor", "RTX 4090", "RTX 5090")
OBJECTS = (1, 2, 4)
HALF = 2  # bytes
LARGE = {  # config.json of facebook/sam2.1-hiera-large
    "model_type": "sam2_hiera_det_model",
    "hidden_size": 144,
    "num_attention_heads": 2,
    "blocks_per_stage": [2, 6, 36, 4],
    "embed_dim_per_stage": [144, 288, 576, 1152],
    "num_attention_heads_per_stage": [2, 4, 8, 16],
    "window_size_per_stage": [8, 4, 16, 8],
    "window_positional_embedding_background_size": [7, 7],
    "global_attention_blocks": [23, 33, 43],
}


def build_large() -> Sam2VideoModel:
    """SAM 2.1 large without its numbers: on torch's device ``meta``, where only shapes are worked out."""
    vision = {"backbone_config": LARGE, "backbone_channel_list": [1152, 576, 288, 144]}
    config = Sam2VideoConfig(vision_config=vision)
    config._attn_implementation = "eager"  # noqa: SLF001 - whose products are counted
    with torch.device("meta"):
        return Sam2VideoModel(config).eval()


def stage_needs(model: Sam2VideoModel) -> dict[str, Needs]:
    """What each stage reads and computes: the encoder once a frame, the others once for each object."""
    width, memory, side = model.hidden_dim, model.mem_dim, int(model.config.image_size)
    cells, sizes = (side // 16) ** 2, [tuple(size) for size in model.backbone_feature_sizes]
    with torch.device("meta"):
        embedding, masks, one = torch.zeros(1, width, *sizes[-1]), torch.zeros(1, side, side), torch.zeros(1)
        memories, pointers = torch.zeros(1, RECENT + 1, cells, memory), torch.zeros(1, POINTERS + 1, width)
        ages = torch.zeros(1, RECENT + 1, dtype=torch.int64), torch.zeros(1, POINTERS + 1)
        fine, middle = torch.zeros(1, width // 8, *sizes[0]), torch.zeros(1, width // 4, *sizes[1])
        pixels = torch.zeros(1, 3, side, side)
        stages: dict[str, tuple[torch.nn.Module, Callable[[Any], Any]]] = {
            "encoder": (SegmenterEncoder(model), lambda run: run(pixels)),
            "memory attention": (
                MemoryAttention(model), lambda run: run(embedding, memories, ages[0], pointers, ages[1]),
            ),
            "decoder": (TrackDecoder(model), lambda run: run(embedding, fine, middle)),
            "memory encoder": (MemoryEncoder(model), lambda run: run(embedding, masks, one, one)),
        }  # fmt: skip
        read = {"memory attention": memories.numel() + pointers.numel()}
        return {name: _needs(*stage, read.get(name, 0)) for name, stage in stages.items()}


def _needs(module: torch.nn.Module, run: Callable[[Any], Any], read: int) -> Needs:
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        run(module)
    weights = sum(parameter.numel() for parameter in _used(module))
    return Needs(HALF * (weights + read), float(counter.get_total_flops()))


def _used(module: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The weights a stage reads; the encoder holds the mask decoder for two of its layers."""
    if isinstance(module, SegmenterEncoder):
        decoder = module.decoder
        return [*module.vision.parameters(), *decoder.conv_s0.parameters(), *decoder.conv_s1.parameters()]
    return list(module.parameters())


def step_ms(needs: dict[str, Needs], objects: int, limits: Limits) -> float:
    """Milliseconds of a step with so many objects, each stage as fast as the tighter of the two limits lets it be."""
    total = 0.0
    for name, one in needs.items():
        times = 1 if name == "encoder" else objects
        total += max(one.bytes / limits.bandwidth / 1e6, times * one.flops / limits.compute / 1e9)
    return total


def tables(needs: dict[str, Needs]) -> str:
    """What stages need, and what devices take for them at least, as Markdown."""
    rows = [[name, f"{one.flops / 1e9:.0f}", f"{one.bytes / 1e6:.0f}"] for name, one in needs.items()]
    heads = ["device", "GB/s, TFLOP/s", *(f"{count} object{'s' * (count > 1)}: ms" for count in OBJECTS)]
    devices = []
    for device in DEVICES:
        bandwidth, compute = DATA_SHEETS[device]
        limits = Limits(bandwidth, compute)
        times = [f"{step_ms(needs, count, limits):.1f}" for count in OBJECTS]
        devices.append([device, f"{bandwidth}, {compute}", *times])
    return markdown_table(["stage", "GFLOP", "MB read"], rows) + "\n\n" + markdown_table(heads, devices)


def main() -> int:
    """Print both tables."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(tables(stage_needs(build_large())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
