"""The paper's own way as a contestant: transformers' ``generate``, then ``Sam2Model``, both in torch.

The same weights, the same prompt and the same squashed picture as ours; greedy. "compiled" follows the transformers
documentation: a static KV cache and ``torch.compile`` of the model's forward; the segmenter's forward is compiled, too.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import GenerationConfig, Qwen2_5_VLForConditionalGeneration, Sam2Model

from bench.interleave import Measured
from export.compare import StockReasoner, StockSegmenter
from export.queries import EvalQuery
from segzero_ros.answer import parse_answer
from segzero_ros.bundle import Bundle
from segzero_ros.errors import Code, RejectedInput

MAX_NEW_TOKENS = 320  # thinking and answers of several objects; the demo's longest test answer has about 200
_STOPS = ("<|im_end|>", "<|endoftext|>")


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """Both models in torch, float32, and the tokenizer's file."""

    reasoner: Qwen2_5_VLForConditionalGeneration
    segmenter: Sam2Model
    tokenizer: Path


class PapersWay:
    """``Contestant``: one command through transformers; ``masks`` are the last one's, (N, H, W)."""

    def __init__(self, bundle: Bundle, models: Models, *, compiled: bool = False) -> None:
        self._profile = bundle.profile
        self._tokenizer = Tokenizer.from_file(str(models.tokenizer))
        self._stock = StockReasoner(models.reasoner, self._tokenizer, bundle.profile)
        self._segmenter = StockSegmenter(models.segmenter)
        self._greedy = self._greedy_config("static" if compiled else None)
        self.masks: NDArray[np.bool_] = np.zeros((0, 0, 0), np.bool_)
        if compiled:
            warnings.filterwarnings("ignore", module=r"torch\..*")  # advice about a compiler's own workings
            models.reasoner.forward = torch.compile(models.reasoner.forward, fullgraph=True)
            models.segmenter.forward = torch.compile(models.segmenter.forward)

    def __call__(self, question: EvalQuery) -> Measured:
        """Ask and measure."""
        start = time.perf_counter()
        ids = self._reply(question)
        text = self._tokenizer.decode(ids, skip_special_tokens=True)
        reasoned = time.perf_counter()
        code = self._segment(question, text)
        end = time.perf_counter()
        ms = {
            "reasoning": (reasoned - start) * 1e3,
            "segmentation": (end - reasoned) * 1e3,
            "total": (end - start) * 1e3,
        }
        ms["per_token"] = ms["reasoning"] / max(1, len(ids))
        return Measured(ms, {"tokens": len(ids), "steps": len(ids)}, text, code.name)

    def _reply(self, question: EvalQuery) -> list[int]:
        inputs = self._stock.inputs(question)
        with torch.inference_mode():
            out = self._stock.model.generate(**inputs, generation_config=self._greedy)
        ids: list[int] = out[0, inputs["input_ids"].shape[1] :].tolist()
        return ids

    def _segment(self, question: EvalQuery, text: str) -> Code:
        height, width = question.frame.rgb.shape[:2]
        self.masks = np.zeros((0, height, width), np.bool_)
        try:
            targets = parse_answer(text, self._profile, question.frame.size).targets
        except RejectedInput as error:
            return error.code
        if not targets:
            return Code.NO_TARGET
        self.masks = self._segmenter.predict(question.frame, targets)[0]
        return Code.OK

    def _greedy_config(self, cache: str | None) -> GenerationConfig:
        stops = [self._tokenizer.token_to_id(stop) for stop in _STOPS]
        return GenerationConfig(
            do_sample=False,
            max_new_tokens=MAX_NEW_TOKENS,
            eos_token_id=stops,
            pad_token_id=stops[-1],
            cache_implementation=cache,
        )


def models_of(bundle: Bundle, reasoner: Path | None = None, segmenter: Path | None = None) -> Models:
    """Return both models from checkpoint directories, or rebuilt from the bundle's own graphs where none is given.

    The rebuilding knows the demo bundle only (``checkpoint_of_bundle.Unlike`` otherwise).
    """
    from bench.checkpoint_of_bundle import reasoner_of, segmenter_of
    from segzero_ros.backends.torch_cuda.weights import load_whole

    if reasoner:
        from export.reasoner_onnx import load_checkpoint

        language = load_checkpoint(reasoner).float()
    else:
        language = reasoner_of(bundle)
    masks = load_whole(Sam2Model, segmenter, dtype=torch.float32).eval() if segmenter else segmenter_of(bundle)
    tokenizer = reasoner / "tokenizer.json" if reasoner else bundle.reasoner.files["tokenizer"]
    return Models(language, masks, Path(tokenizer))
