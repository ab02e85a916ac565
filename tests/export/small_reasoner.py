"""A Qwen2.5-VL of a million random parameters and its tokenizer, for the tests of this directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from segzero_ros.profile import PROFILES, Profile
from training.demo_models.reasoner_model import train_tokenizer

PROFILE: Profile = replace(
    PROFILES["abstaining_v2"],
    prompt='Find "{question}". Think in <think> </think>, answer in <answer> </answer> as JSON; [] if there is none.',
    image_size=(168, 168),
)
TEXTS = (
    "the red mug is left of the green bowl. the blue lamp stands near the book",
    '<think>red mug at (40,60)</think><answer>[{"bbox_2d": [10,20,30,40], "point_2d": [20,30]}]</answer>',
    PROFILE.render("the red mug"),
)


def small_tokenizer() -> Tokenizer:
    """Train a byte-level BPE on a few sentences."""
    return train_tokenizer(TEXTS * 3, 420)


def small_config(tokenizer: Tokenizer, *, tied: bool = True, **text: object) -> Qwen2_5_VLConfig:
    """Return the demo's structure with fewer layers."""
    special = tokenizer.token_to_id
    language = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 128,
        "intermediate_size": 192,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
        "bos_token_id": None,
        "eos_token_id": special("<|im_end|>"),
        "pad_token_id": special("<|endoftext|>"),
    }
    vision = {
        "depth": 4,
        "hidden_size": 128,
        "intermediate_size": 192,
        "num_heads": 4,
        "out_hidden_size": 128,
        "fullatt_block_indexes": [1, 3],
    }
    return Qwen2_5_VLConfig(
        text_config={**language, **text},
        vision_config=vision,
        tie_word_embeddings=tied,
        image_token_id=special("<|image_pad|>"),
        video_token_id=special("<|video_pad|>"),
        vision_start_token_id=special("<|vision_start|>"),
        vision_end_token_id=special("<|vision_end|>"),
    )


def random_model(config: Qwen2_5_VLConfig, seed: int = 0) -> Qwen2_5_VLForConditionalGeneration:
    """Return a model whose every parameter is random, norms and biases included."""
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def save_checkpoint(directory: Path, *, tied: bool = True, seed: int = 0) -> Path:
    """Write a random checkpoint with its tokenizer and return its directory."""
    tokenizer = small_tokenizer()
    random_model(small_config(tokenizer, tied=tied), seed).save_pretrained(directory)
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory
