"""A checkpoint of the demo reasoner asked greedily, as it is or behind a thinking that somebody else chose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from segzero_ros.backends.torch_cuda.weights import load_whole
from training.demo_models.reasoner_model import demo_profile
from training.grpo.packed import PackedPolicy
from training.grpo.questions import GrpoSample
from training.packed_decoding import sample
from training.processor import PictureProcessor, model_class

EOS = "<|im_end|>"
MOST_TOKENS = 160
_TOGETHER = 64  # questions asked at once


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """A checkpoint, opened: its weights behind `packed`, its tokens behind `processor`."""

    packed: PackedPolicy
    processor: PictureProcessor

    def question_ids(self, question: GrpoSample, forced: str = "") -> list[int]:
        """What stands between picture and first sampled token; `forced`: text that the answer begins with."""
        return [*self.processor.question_ids(question.text), *(self.processor.chat.forced(forced) if forced else [])]


def open_policy(checkpoint: Path) -> Policy:
    """Open a folder with config.json, model.safetensors and tokenizer.json; BUNDLE_ codes for a broken one."""
    model = load_whole(model_class(checkpoint), checkpoint, dtype="float32")
    profile = demo_profile()
    processor = PictureProcessor(
        checkpoint / "tokenizer.json", profile, eos=EOS, pad="<|endoftext|>", forced="", raw=True
    )
    return Policy(PackedPolicy(model, profile.image_size, processor.chat.prefix), processor)


@torch.no_grad()
def ask(policy: Policy, questions: Sequence[GrpoSample], forced: Sequence[str], temperature: float = 0.0) -> list[str]:
    """The answer to each question, beginning with its `forced` text ("" = the model begins); greedy at 0."""
    stop = policy.processor.tokenizer.convert_tokens_to_ids(EOS)
    texts: list[str] = []
    for at in range(0, len(questions), _TOGETHER):
        some, given = questions[at : at + _TOGETHER], forced[at : at + _TOGETHER]
        pictures = {question.picture: question.rgb for question in some}
        place = {name: n for n, name in enumerate(pictures)}
        visual = policy.packed.encode_image(torch.from_numpy(np.stack(list(pictures.values()))))
        ids = [policy.question_ids(question, text) for question, text in zip(some, given, strict=True)]
        images = [place[question.picture] for question in some]
        said = sample(policy.packed.packed, visual, ids, images, 1, MOST_TOKENS, [stop], temperature).ids
        spoken = policy.processor.batch_decode(said, skip_special_tokens=True)
        texts += [text + more for text, more in zip(given, spoken, strict=True)]
    return texts
