"""Greedy answers to held-out questions: boxes only, the segmenter is scored elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from segzero_ros.profile import Profile
from training.demo_models.reasoner.learner import Learner
from training.demo_models.shards import ShardFolder, things_of
from training.demo_models.supervised_text import SupervisedText, Thing, write_supervised_text
from training.evaluation.match_answer import match_answer
from training.packed_decoding import sample
from training.rewards.truth import Truth
from training.saving import Stop

PICTURES = 32  # asked about at once on a CPU; a GPU takes all at once


def truth_of(example: SupervisedText, things: Mapping[int, Thing], profile: Profile) -> Truth:
    """What an example's answer should have found, in pixels of the model's picture."""
    meant = [things[n] for n in example.targets]
    return Truth(tuple(thing.box for thing in meant), tuple((thing.point,) for thing in meant), profile.image_size)


def evaluate(
    learner: Learner,
    tokenizer: Tokenizer,
    profile: Profile,
    folder: ShardFolder,
    most: int,
    stop: Stop | None = None,
) -> dict[str, Any]:
    """Greedy answers to the first `most` held-out instructions; shares by type. Cut short when asked to stop."""
    learner.eval()
    end = tokenizer.token_to_id("<|im_end|>")
    rows: list[dict[str, Any]] = []
    pending, size = iter(folder), profile.image_size[0]
    chunk_size = 8 * PICTURES if learner.device.type == "cuda" else PICTURES
    while len(rows) < most:
        chunk = [item for item, _ in zip(pending, range(chunk_size), strict=False)]
        if not chunk or (rows and stop is not None and stop.is_set()):
            break
        with torch.no_grad():
            pictures = torch.from_numpy(np.stack([image for image, _ in chunk])).to(learner.device)
            visual = learner.reasoner.encode_image(pictures)
        things = [things_of(scene, size) for _, scene in chunk]
        examples = [
            (n, write_supervised_text(tokenizer, profile, instruction, things[n]))
            for n, (_, scene) in enumerate(chunk)
            for instruction in scene["instructions"][:3]
        ]
        prompts = [example.ids[: example.prompt_length] for _, example in examples]
        answers = sample(learner.reasoner, visual, prompts, [n for n, _ in examples], 1, 220, [end], 0.0).ids
        for (n, example), said in zip(examples, answers, strict=True):
            ids = [token for token in said if token != end]
            text = tokenizer.decode(ids, skip_special_tokens=False)
            match = match_answer(text, truth_of(example, things[n], profile), profile)
            rows.append(match | {"type": example.type, "tokens": len(ids), "question": example.text, "answer": text})
    learner.train()
    return summarise(rows)


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Shares by type and over all, with the last few wrong answers to look at."""
    kinds = sorted({row["type"] for row in rows})
    by_type = {kind: _mean([row for row in rows if row["type"] == kind]) for kind in kinds}
    single = [row for row in rows if row["type"] not in ("several", "absent")]
    wrong = [f"{row['question']} -> {row['answer']}" for row in rows if not row["hit"]][-4:]
    return {"all": _mean(rows), "single": _mean(single), **by_type, "wrong": wrong}


def _mean(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    if not rows:
        return {"count": 0}
    return {
        "count": len(rows),
        "hit": round(float(np.mean([row["hit"] for row in rows])), 4),
        "iou": round(float(np.mean([row["iou"] for row in rows])), 4),
        "valid": round(float(np.mean([row["valid"] for row in rows])), 4),
        "tokens": round(float(np.mean([row["tokens"] for row in rows])), 1),
    }
