"""The study's arms: what differs from one to the next, and nothing else.

All begin at the base, ask the same questions in the same order for a seed, and take as many steps.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.demo_models.reasoner_model import demo_profile
from training.grpo.main import question_order, train, training_data
from training.grpo.options import NO_THINKING, parse
from training.grpo.questions import GrpoSample
from training.grpo.scoring import Scorer
from training.grpo.study.asking import EOS, Policy, open_policy
from training.grpo.study.measures import thinking_of
from training.rewards.truth import Reward, write_solution_v2
from training.saving import replace_folder

SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "profile": "demo",
        "steps": 24,
        "samples": 8,
        "prompts-per-step": 8,
        "per-picture": 2,
        "lr": 4e-4,
        "schedule": "linear",
        "warmup": 3,
        "response": 160,
        "mix": "several=1.5",
        "word-noise": 0,
        "segmenter": "",
        "reward": "grounded_v3",
        "v3": "format=0.1,box=1,mask=0,point=0,count=0.2,non_repeat=0,length_slope=0",
        "evaluate-every": 12,
        "evaluate-count": 48,
        "save-every": 24,
    }
)
"""Of every arm: options of `segzero train grpo`. Paid are box IoU, count and form; thinking and length are not."""
SECOND: Mapping[str, Any] = MappingProxyType(
    dict(SETTINGS)
    | {"steps": 120, "lr": 3e-4, "warmup": 5, "mix": "second=3,next=2", "evaluate-every": 40, "save-every": 120}
)
"""Of the second study's arms."""


@dataclass(frozen=True, slots=True, eq=False)
class RandomScorer(Scorer):
    """Rewards that say nothing: uniform in 0..1, the same for the same seed and questions, whatever the texts."""

    seed: int = 0

    def score(
        self,
        texts: Sequence[str],
        numbers: Sequence[int],
        tokens: Sequence[int],  # noqa: ARG002 - what scorers are given
        uncertainty: Sequence[float],  # noqa: ARG002
        group: int,  # noqa: ARG002
    ) -> list[Reward]:
        """A reward of one part, "random", for each of `texts`."""
        drawn = np.random.default_rng((self.seed, *numbers)).random(len(texts))
        return [Reward({"random": float(value)}) for value in drawn]


@dataclass(frozen=True, slots=True, eq=False)
class RequiredScorer(Scorer):
    """The run's rewards, and nothing for an answer that does not think; what it thinks is not looked at."""

    def score(
        self,
        texts: Sequence[str],
        numbers: Sequence[int],
        tokens: Sequence[int],
        uncertainty: Sequence[float],
        group: int,
    ) -> list[Reward]:
        """A reward per text, every part of it 0 where the thinking is empty."""
        scored = Scorer.score(self, texts, numbers, tokens, uncertainty, group)
        nothing = [Reward(dict.fromkeys(one.parts, 0.0)) for one in scored]
        return [one if thinking_of(text) else zero for text, one, zero in zip(texts, scored, nothing, strict=True)]


def required(args: argparse.Namespace) -> int:
    """GRPO as it is, paid by `RequiredScorer`."""

    def replaced(scorer: Scorer) -> Scorer:
        return RequiredScorer(scorer.rule, scorer.profile, scorer.questions, scorer.settings, None)

    return train(args, replaced)


def at_random(args: argparse.Namespace) -> int:
    """GRPO as it is, paid by `RandomScorer`."""

    def replaced(scorer: Scorer) -> Scorer:
        return RandomScorer(scorer.rule, scorer.profile, scorer.questions, scorer.settings, None, args.seed)

    return train(args, replaced)


def supervise(args: argparse.Namespace) -> int:
    """Cross-entropy on the true answers, behind an empty thinking, to the questions that the other arms sample."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    policy = open_policy(Path(args.model))
    model = policy.packed.packed.model
    model.model.visual.requires_grad_(False)
    questions, _ = training_data(args, demo_profile())
    order = question_order(args, questions)
    optimiser = torch.optim.AdamW(
        [weight for weight in model.parameters() if weight.requires_grad],
        lr=args.lr,
        betas=(0.9, args.beta2),
        weight_decay=args.weight_decay,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "log.jsonl").open("w", encoding="utf-8") as log:
        for step in range(args.steps):
            asked = [questions[n] for n in order[step * args.prompts_per_step : (step + 1) * args.prompts_per_step]]
            loss = answer_loss(policy, asked)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for group in optimiser.param_groups:
                group["lr"] = args.lr * min((step + 1) / max(1, args.warmup), 1 - step / args.steps)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            print(json.dumps({"step": step + 1, "time": round(time.time()), "loss": loss.item()}), file=log, flush=True)
    fresh = args.out / ".partial"
    model.save_pretrained(fresh)
    policy.processor.save_pretrained(fresh)
    replace_folder(fresh, args.out / f"checkpoint-{args.steps}")
    return 0


def answer_loss(policy: Policy, questions: Sequence[GrpoSample]) -> Tensor:
    """Mean cross-entropy per token of the true answers, the empty thinking among them."""
    pictures = {question.picture: question.rgb for question in questions}
    place = {name: n for n, name in enumerate(pictures)}
    with torch.no_grad():
        visual = policy.packed.encode_image(torch.from_numpy(np.stack(list(pictures.values()))))
    asked = [policy.question_ids(question) for question in questions]
    said = [policy.processor.chat.forced(true_answer(question)) for question in questions]
    stop = policy.processor.tokenizer.convert_tokens_to_ids(EOS)
    rows = [[*given, *answer, stop] for given, answer in zip(asked, said, strict=True)]
    scores, _ = policy.packed.log_probs(
        visual, rows, [len(ids) for ids in asked], [place[question.picture] for question in questions], 1.0
    )
    return -torch.cat(scores).mean()


def true_answer(question: GrpoSample) -> str:
    """The text that is right, without any thinking, its numbers written as the base writes them."""
    said = write_solution_v2(question.truth)
    for kind in ("bbox_2d", "point_2d"):
        head, *tails = said.split(f'"{kind}": [')
        said = head + "".join(
            f'"{kind}": [' + tail.partition("]")[0].replace(", ", ",") + "]" + tail.partition("]")[2] for tail in tails
        )
    return f"{NO_THINKING}{said}</answer>"


def nothing(args: argparse.Namespace) -> int:
    """No training: the base itself, under the arm's name."""
    args.out.mkdir(parents=True, exist_ok=True)
    link = args.out / "checkpoint-0"
    link.unlink(missing_ok=True)
    link.symlink_to(Path(args.model).resolve())
    return 0


@dataclass(frozen=True, slots=True)
class Arm:
    """`options`: beside `SETTINGS`; `run`: trains and leaves OUT/checkpoint-N; `forced`: how its answers begin."""

    about: str
    run: Callable[[argparse.Namespace], int]
    options: tuple[str, ...] = ()
    forced: str = ""


ARMS: Mapping[str, Arm] = MappingProxyType(
    {
        "free": Arm("GRPO, the model may think or not", train),
        "empty": Arm("GRPO, the thinking is forced to be empty", train, ("--no-thinking",), NO_THINKING),
        "supervised": Arm("cross-entropy on the same questions' true answers", supervise),
        "random": Arm("GRPO, rewards that say nothing", at_random),
        "none": Arm("the base as it is", nothing),
        "required": Arm("GRPO, an answer without thinking earns nothing", required),
    }
)
FIRST = ("free", "empty", "supervised", "random", "none")
"""The first study's."""


def arm_arguments(
    name: str,
    seed: int,
    base: Path,
    data: Path,
    out: Path,
    more: Sequence[str] = (),
    settings: Mapping[str, Any] = SETTINGS,
) -> argparse.Namespace:
    """What `segzero train grpo` would be called with; `more` comes last and wins."""
    given = dict(settings) | {"model": base, "data": data / "train", "val": data / "ood", "out": out, "seed": seed}
    words = [str(word) for key, value in given.items() for word in (f"--{key}", value)]
    return parse([*words, *ARMS[name].options, *more])
