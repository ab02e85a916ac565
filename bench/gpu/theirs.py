"""Transformers' own way on the same model: ``generate``, eager or compiled, with as many tokens as ours."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig

from bench.gpu.limits import wait
from bench.gpu.shapes import Load
from segzero_ros.backends.decoding.preprocess import patchify


class Theirs:
    """One command through ``generate``; ``compiled``: static cache, which makes ``generate`` compile on a GPU.

    On a CPU ``generate`` compiles nothing by itself; the forward is compiled here then.
    """

    def __init__(self, model: Any, load: Load, *, compiled: bool = False) -> None:
        self._model, self._load = model, load
        self._device = str(model.device.type)
        self._cache = "static" if compiled else None
        self._forward = model.forward
        if compiled and self._device == "cpu":
            self._forward = torch.compile(model.forward)
        self._inputs = self._made_inputs()

    def __call__(self) -> dict[str, float]:
        """Return ms by stage: one token, all tokens, and from their difference the time per token."""
        first, whole = self._generate(1), self._generate(self._load.reply)
        per_token = (whole - first) / (self._load.reply - 1)
        return {"first_token_cold": first, "decode": whole - first, "per_token": per_token, "total": whole}

    def _generate(self, tokens: int) -> float:
        exactly = GenerationConfig(
            do_sample=False, min_new_tokens=tokens, max_new_tokens=tokens, cache_implementation=self._cache,
            eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        stock, self._model.forward = self._model.forward, self._forward
        wait(self._device)
        start = time.perf_counter()
        try:
            with torch.inference_mode():
                self._model.generate(**self._inputs, generation_config=exactly)
            wait(self._device)
        finally:
            self._model.forward = stock
        return (time.perf_counter() - start) * 1e3

    def _made_inputs(self) -> dict[str, torch.Tensor]:
        config, rng = self._model.config, np.random.default_rng(0)
        pixels = rng.standard_normal((3, self._load.image, self._load.image)).astype(np.float32)
        text = rng.integers(5, config.text_config.vocab_size - 5, self._load.text)
        image = np.full(self._load.visual, config.image_token_id)
        ids = torch.from_numpy(np.concatenate([text[:24], image, text[24:]]))[None]
        side = self._load.image // config.vision_config.patch_size
        made = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "mm_token_type_ids": (ids == config.image_token_id).int(),
            "pixel_values": torch.from_numpy(patchify(pixels)).to(self._model.dtype),
            "image_grid_thw": torch.tensor([[1, side, side]]),
        }
        return {name: value.to(self._model.device) for name, value in made.items()}
