"""The published models' shapes with random weights: what decides speed is there, and nothing needs downloading.

Numbers are those of config.json of Qwen/Qwen2.5-VL-3B-Instruct, Qwen/Qwen2.5-VL-7B-Instruct and
facebook/sam2.1-hiera-large. The tiny ones have the same structure and are for trying the scripts without a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Sam2Config, Sam2Model


@dataclass(frozen=True, slots=True)
class Load:
    """What one command brings: a picture's side in pixels, question tokens, reply tokens, SAM 2's side, objects."""

    image: int = 840  # 900 visual tokens
    text: int = 150
    reply: int = 100
    segmenter: int = 1024
    objects: int = 1
    max_length: int = 2048

    @property
    def visual(self) -> int:
        """Visual tokens of the picture: one per 28 x 28 pixels."""
        return (self.image // 28) ** 2


REAL = Load()
TINY = Load(image=112, text=40, reply=6, segmenter=128, max_length=256)

REASONERS: Mapping[str, Mapping[str, Any]] = {
    "3b": {
        "hidden": 2048,
        "inner": 11008,
        "layers": 36,
        "heads": 16,
        "kv_heads": 2,
        "vocabulary": 151936,
        "tied": True,
    },
    "7b": {
        "hidden": 3584,
        "inner": 18944,
        "layers": 28,
        "heads": 28,
        "kv_heads": 4,
        "vocabulary": 152064,
        "tied": False,
    },
    "tiny": {"hidden": 64, "inner": 96, "layers": 2, "heads": 4, "kv_heads": 2, "vocabulary": 640, "tied": True},
}
_VISION = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
_TINY_VISION = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "fullatt_block_indexes": [1]}


def reasoner(name: str, device: str, dtype: torch.dtype) -> Qwen2_5_VLForConditionalGeneration:
    """Return a Qwen2.5-VL of that shape, its weights drawn on the device."""
    config = reasoner_config(name)
    torch.manual_seed(0)
    with torch.device(device):
        model = Qwen2_5_VLForConditionalGeneration._from_config(config, dtype=dtype)  # noqa: SLF001 - dtype, no file
    return model.eval()


def reasoner_config(name: str) -> Qwen2_5_VLConfig:
    """Return the configuration of one of REASONERS."""
    shape = REASONERS[name]
    pairs = shape["hidden"] // shape["heads"] // 2  # 64 of the published models: 16 by time, 24 by row, 24 by column
    by_side = pairs * 3 // 8
    vision = _TINY_VISION if name == "tiny" else _VISION
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": shape["vocabulary"],
            "hidden_size": shape["hidden"],
            "intermediate_size": shape["inner"],
            "num_hidden_layers": shape["layers"],
            "num_attention_heads": shape["heads"],
            "num_key_value_heads": shape["kv_heads"],
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [pairs - 2 * by_side, by_side, by_side],
            },
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 0,
        },
        vision_config={**vision, "out_hidden_size": shape["hidden"], "window_size": 112},
        tie_word_embeddings=shape["tied"],
        image_token_id=shape["vocabulary"] - 1,
        video_token_id=shape["vocabulary"] - 2,
        vision_start_token_id=shape["vocabulary"] - 3,
        vision_end_token_id=shape["vocabulary"] - 4,
    )


def segmenter(name: str, side: int, device: str, dtype: torch.dtype) -> Sam2Model:
    """Return a SAM 2 ("large" or "tiny") for side x side pictures, its weights drawn on the device."""
    torch.manual_seed(0)
    with torch.device(device):
        model = Sam2Model(segmenter_config(name, side))
    return model.to(dtype).eval()


def segmenter_config(name: str, side: int) -> Sam2Config:
    """Return the configuration of sam2.1-hiera-large, or of a small one with its structure."""
    large = name == "large"
    widths = [144, 288, 576, 1152] if large else [16, 32, 64, 128]
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": widths[0],
        "num_attention_heads": 2,
        "image_size": [side, side],
        "blocks_per_stage": [2, 6, 36, 4] if large else [1, 1, 2, 1],
        "embed_dim_per_stage": widths,
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "window_size_per_stage": [8, 4, 16, 8],
        "window_positional_embedding_background_size": [7, 7],
        "global_attention_blocks": [23, 33, 43] if large else [3],
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": widths[::-1],
        "backbone_feature_sizes": [[side // step, side // step] for step in (4, 8, 16)],
    }
    return Sam2Config(vision_config=vision, prompt_encoder_config={"image_size": side})
