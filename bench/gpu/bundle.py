"""A model of random weights in the files that other engines open; its tokenizer knows bytes only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench.gpu.shapes import REAL, Load, segmenter
from export.bundle import export_bundle
from export.reasoner_onnx import FILES, export_reasoner
from segzero_ros.backends.decoding.chat_prompt import IMAGE_TOKEN
from segzero_ros.bundle import Bundle
from segzero_ros.profile import get_profile
from training.demo_models.reasoner_model import train_tokenizer


def export_random_reasoner(model: Any, load: Load, folder: Path) -> dict[str, Path]:
    """Export ``model`` below ``folder`` and return its files by role."""
    checkpoint, out = _checkpoint(model, folder), folder / "graphs"
    size = (load.image, load.image)
    export_reasoner(checkpoint, out, image_size=size, max_length=load.max_length, arithmetic="half")
    return {role: out / name for role, name in FILES.items()}


def random_bundle(model: Any, load: Load, folder: Path) -> Bundle:
    """Export ``model`` and a SAM 2 of ``load``'s size as a bundle below ``folder``."""
    checkpoint, masks = _checkpoint(model, folder), folder / "segmenter"
    name = "large" if load.segmenter == REAL.segmenter else "tiny"
    segmenter(name, load.segmenter, "cpu", torch.float32).save_pretrained(masks)
    profile = replace(get_profile("abstaining_v2"), image_size=(load.image, load.image))
    return export_bundle(
        checkpoint, masks, folder / "bundle", profile, max_length=load.max_length, arithmetic="half", compare=0
    )


def _checkpoint(model: Any, folder: Path) -> Path:
    """Save the model with a tokenizer whose image token its configuration names."""
    checkpoint = folder / "reasoner"
    model.save_pretrained(checkpoint)
    tokenizer = train_tokenizer([], 512)
    tokenizer.save(str(checkpoint / "tokenizer.json"))
    config = checkpoint / "config.json"
    text, field = config.read_text("utf-8"), f'"image_token_id": {model.config.image_token_id}'
    if field not in text:
        raise ValueError(f"{config}: got no {field}; this transformers writes it otherwise")
    config.write_text(text.replace(field, f'"image_token_id": {tokenizer.token_to_id(IMAGE_TOKEN)}'), "utf-8")
    return checkpoint
