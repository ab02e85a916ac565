"""Checkpoints of the reasoner's pretraining: the Hugging Face folder, and beside it what only a resumed run needs.

A new one is on the disk before it takes the name; the one before stays as `checkpoint.old`, for the day it is needed.
"""

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import Qwen2_5_VLForConditionalGeneration

from segzero_ros.backends.torch_cuda.weights import check_whole, load_whole, read_json
from segzero_ros.errors import Code, RejectedInput
from training.saving import check_finite, check_states, recover_folder, replace_folder, written

HEADS = "training_heads.safetensors"


def save(out: Path, learner: Any, optimiser: Any, tokenizer: Tokenizer, recipe: Any, step: int) -> None:
    """Write `checkpoint/` (config, safetensors, tokenizer, state): whole or not at all, and numbers only."""
    check_finite(learner, step)
    fresh = out / "checkpoint.partial"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with written(out / "checkpoint", "make room or name another --out; --resume goes on from the one before"):
            learner.reasoner.model.save_pretrained(fresh)
            tokenizer.save(str(fresh / "tokenizer.json"))
            heads = {k: v for k, v in learner.state_dict().items() if not k.startswith("reasoner.")}
            save_file({k: v.contiguous() for k, v in heads.items()}, fresh / HEADS)
            state = {"muon": optimiser.muon.state_dict(), "adam": optimiser.adam.state_dict()}
            torch.save(state, fresh / "optimiser.pt")
            (fresh / "training.json").write_text(json.dumps({"step": step, "recipe": asdict(recipe)}, indent=1))
            replace_folder(fresh, out / "checkpoint", keep=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def newest_whole(out: Path) -> Path | None:
    """The folder to go on from: `checkpoint/`, made of `checkpoint.old/` where it is broken; None where there is none.

    A broken one goes aside as `checkpoint.broken/`, with a word. CONFIG_VALUE when both are broken.
    """
    place, fault = out / "checkpoint", ""
    while recover_folder(place).exists():
        try:
            _check(place)
            return place
        except RejectedInput as error:
            fault = error.detail
        shutil.rmtree(out / "checkpoint.broken", ignore_errors=True)
        place.replace(out / "checkpoint.broken")
        print(f"{place} is not whole and was put aside as checkpoint.broken: {fault}", file=sys.stderr)
    if fault:
        raise RejectedInput(Code.CONFIG_VALUE, f"got no whole checkpoint in {out} ({fault}); start without --resume")
    return None


def _check(folder: Path) -> None:
    check_whole(Qwen2_5_VLForConditionalGeneration, folder)
    check_states(folder)
    if not isinstance(read_json(folder / "training.json").get("step"), int):
        raise RejectedInput(Code.CONFIG_VALUE, f"{folder / 'training.json'}: has no step")


def restore(folder: Path, learner: Any, optimiser: Any) -> int:
    """Load what `save` wrote; returns the next step."""
    saved = load_whole(Qwen2_5_VLForConditionalGeneration, folder)
    learner.reasoner.model.load_state_dict(saved.state_dict())
    learner.load_state_dict(_heads(folder), strict=False)
    state = torch.load(folder / "optimiser.pt", weights_only=True)
    optimiser.muon.load_state_dict(state["muon"])
    optimiser.adam.load_state_dict(state["adam"])
    return int(json.loads((folder / "training.json").read_text())["step"])


def begin_from(folder: Path, learner: Any) -> None:
    """Weights and heads of another run's checkpoint; a head that has grown since keeps its first rows.

    A checkpoint made of a bundle has no heads: they begin anew.
    """
    saved = load_whole(Qwen2_5_VLForConditionalGeneration, folder)
    learner.reasoner.model.load_state_dict(saved.state_dict())
    own = learner.state_dict()
    with torch.no_grad():
        for name, value in (_heads(folder) if (folder / HEADS).exists() else {}).items():
            place = own[name][: len(value)] if value.ndim else own[name]
            place.copy_(value)


def _heads(folder: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(folder / HEADS)
    except (OSError, SafetensorError) as error:
        raise RejectedInput(
            Code.CONFIG_VALUE, f"{folder / HEADS}: could not be opened ({error}); give a checkpoint of this training"
        ) from None
