"""The reasoner in torch, for workstations: a Qwen2.5-VL checkpoint in BF16 with CUDA graphs; no export, no build.

The checkpoint is ``EngineOptions.model``, a directory written by ``save_pretrained`` (safetensors only). The bundle
gives profile, tokenizer and cache length, and refuses a checkpoint that it was not exported
from; the segmenter is another backend's. ``engine.py`` is the engine.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from segzero_ros.backends import EngineOptions
from segzero_ros.backends.decoding.generation import LocalReasoner
from segzero_ros.backends.torch_cuda.checkpoint import checkpoint_of
from segzero_ros.backends.torch_cuda.parentage import check_parentage
from segzero_ros.bundle import Bundle
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.reasoner import Reasoner

_INSTALL = "pip install torch transformers accelerate safetensors"


def why_unavailable(bundle: Bundle | None, options: EngineOptions) -> str:
    """Return "" when it can run here, else one line that says why not and what to do."""
    missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} not installed; {_INSTALL}"
    if bundle is not None:
        try:
            checkpoint_of(bundle, options)
        except RejectedInput as refusal:
            return refusal.detail
    import torch

    return "" if torch.cuda.is_available() else "torch sees no CUDA device; use backend:=onnx"


def open_reasoner(bundle: Bundle, options: EngineOptions) -> Reasoner:
    """Open the checkpoint ``options.model`` as the bundle's reasoner; ``RejectedInput`` BUNDLE_BACKEND on any trouble.

    Without a CUDA device it runs on the CPU in FP32, which is for tests.
    """
    checkpoint = checkpoint_of(bundle, options)
    check_parentage(bundle, checkpoint)
    engine = _engine(checkpoint, bundle)
    tokenizer = bundle.reasoner.files["tokenizer"].read_text("utf-8")
    return LocalReasoner(engine, tokenizer, bundle.profile, options, bundle.spelling)


def _engine(checkpoint: Path, bundle: Bundle) -> Any:
    try:
        import torch
        from transformers import Qwen2_5_VLForConditionalGeneration

        from segzero_ros.backends.torch_cuda.engine import TorchEngine
        from segzero_ros.backends.torch_cuda.weights import load_whole

        on_gpu = torch.cuda.is_available()
        model = load_whole(Qwen2_5_VLForConditionalGeneration, checkpoint, dtype="auto" if on_gpu else torch.float32)
        return TorchEngine(model.eval(), image_size=bundle.profile.image_size, max_length=bundle.reasoner.max_length)
    except Exception as error:
        raise RejectedInput(
            Code.BUNDLE_BACKEND, f"got {checkpoint}, which torch cannot open ({str(error)[:300]}); {_INSTALL}"
        ) from error
