"""A Qwen3-VL of half a million random parameters with everything its family has, for the tests of this directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from segzero_ros.profile import PROFILES, Profile
from tests.export.small_reasoner import small_tokenizer

SMALL: Profile = replace(PROFILES["qwen3vl"], prompt='Find "{question}".', image_size=(192, 160))
LANGUAGE = {
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,  # heads x head_dim is not the hidden size, as in the 4B
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 5e6,
        "mrope_section": [6, 5, 5],
        "mrope_interleaved": True,
    },
}
VISION = {
    "depth": 3,
    "hidden_size": 64,
    "intermediate_size": 112,
    "num_heads": 4,
    "out_hidden_size": 96,
    "num_position_embeddings": 64,
    "deepstack_visual_indexes": [0, 1],
}


def qwen3_model(
    *, tied: bool = True, text: dict[str, Any] | None = None, vision: dict[str, Any] | None = None, noise: float = 0.05
) -> Qwen3VLForConditionalGeneration:
    """Return a model whose every parameter is random, norms and biases included, by as much as `noise`."""
    tokenizer = small_tokenizer()
    special = tokenizer.token_to_id
    ends = {"bos_token_id": None, "eos_token_id": special("<|im_end|>"), "pad_token_id": special("<|endoftext|>")}
    config = Qwen3VLConfig(
        text_config={**LANGUAGE, **ends, "vocab_size": tokenizer.get_vocab_size(), **(text or {})},
        vision_config={**VISION, **(vision or {})},
        tie_word_embeddings=tied,
        image_token_id=special("<|image_pad|>"),
        video_token_id=special("<|video_pad|>"),
        vision_start_token_id=special("<|vision_start|>"),
        vision_end_token_id=special("<|vision_end|>"),
    )
    torch.manual_seed(0)
    model = Qwen3VLForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * noise)
    return model


def save_qwen3(directory: Path, **shape: Any) -> Path:
    """Write a random checkpoint with its tokenizer and return its directory."""
    qwen3_model(**shape).save_pretrained(directory)
    small_tokenizer().save(str(directory / "tokenizer.json"))
    return directory
