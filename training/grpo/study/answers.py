"""Every run's last checkpoint asked about the held-out questions; the free arm also behind thinkings not its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segzero_ros.errors import Code, RejectedInput
from training.demo_models.reasoner_model import SIZE, demo_profile
from training.evaluation.match_answer import match_answer
from training.grpo.questions import GrpoSample, ShardQuestions, held_out
from training.grpo.resume import checkpoints
from training.grpo.study.arms import ARMS
from training.grpo.study.asking import Policy, ask, open_policy
from training.grpo.study.measures import candidates, named_things, shuffled, swapped, thinking_of
from training.grpo.study.splits import Part, held_out_part

COUNTS = {"ood": 200, "in": 100}
FILE = "answers.jsonl"
CAUSAL = ("control", "emptied", "shuffled", "swapped")


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A question with what its scene holds: `things` as in scenes.jsonl, ids of its `targets`."""

    number: int
    question: GrpoSample
    things: Sequence[Mapping[str, Any]]
    targets: tuple[int, ...]
    part: Part


class StudyQuestions(ShardQuestions):
    """Questions of one of the study's folders, with their scenes."""

    def asked(self, number: int) -> Asked:
        """Question `number` and its scene."""
        at, instruction = self._find(number)
        targets = tuple(instruction["targets"])
        return Asked(number, self[number], self.scenes[at]["objects"], targets, held_out_part(instruction))


def choose_questions(folder: Path, count: int) -> list[Asked]:
    """A fixed choice of at most `count` questions, as even over the kinds as they are."""
    questions = StudyQuestions(folder, demo_profile())
    return [questions.asked(number) for number in held_out(questions, count, seed=0)]


def ask_runs(data: Path, out: Path, counts: Mapping[str, int] = COUNTS) -> list[Path]:
    """Write OUT/ARM-SEED/answers.jsonl where it is not yet there; returns all. CONFIG_VALUE without a run."""
    torch.set_num_threads(1)
    runs = [folder for name in ARMS for folder in sorted(out.glob(f"{name}-*")) if checkpoints(folder)]
    if not runs:
        raise RejectedInput(Code.CONFIG_VALUE, f"got {out} without a run; make one: python -m training.grpo.study free")
    chosen = {name: choose_questions(data / name, count) for name, count in counts.items()}
    for run in runs:
        if (run / FILE).exists():
            continue
        rows = answers_of(open_policy(checkpoints(run)[-1]), run.name.rpartition("-")[0], chosen)
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (run / FILE).write_text(lines, encoding="utf-8")
        print(f"{run.name}: {len(rows)} answers", flush=True)
    return [run / FILE for run in runs]


def answers_of(policy: Policy, arm: str, chosen: Mapping[str, Sequence[Asked]]) -> list[dict[str, Any]]:
    """A row per answer; `how`: "own", and for the free arm each of `CAUSAL` on the OOD questions."""
    rows = []
    for split, asked in chosen.items():
        questions = [one.question for one in asked]
        texts = ask(policy, questions, [ARMS[arm].forced] * len(asked))
        rows += [row_of(one, text, split, "own") for one, text in zip(asked, texts, strict=True)]
        if arm == "free" and split == "ood":
            for how, thinkings in interventions([thinking_of(text) for text in texts]).items():
                forced = [f"<think>{thinking}</think><answer>" for thinking in thinkings]
                told = ask(policy, questions, forced)
                rows += [row_of(one, text, split, how) for one, text in zip(asked, told, strict=True)]
    return rows


def interventions(thinkings: Sequence[str]) -> dict[str, list[str]]:
    """What the free arm is made to have thought, by name; "control" is its own."""
    rng = np.random.default_rng(0)
    return {
        "control": list(thinkings),
        "emptied": [""] * len(thinkings),
        "shuffled": [shuffled(thinking, rng) for thinking in thinkings],
        "swapped": swapped(thinkings),
    }


def row_of(asked: Asked, text: str, split: str, how: str) -> dict[str, Any]:
    """One answer as a line: right or not, and what its thinking names."""
    match = match_answer(text, asked.question.truth, demo_profile())
    thinking = thinking_of(text)
    named = named_things(thinking, asked.things, SIZE)
    return {
        "split": split,
        "how": how,
        "number": asked.number,
        "kind": asked.question.kind,
        "part": asked.part,
        "right": bool(match["hit"]),
        "iou": round(float(match["iou"]), 4),
        "valid": bool(match["valid"]),
        "thinks": bool(thinking),
        "words": len(thinking.split()),
        "names_targets": set(asked.targets) <= named,
        "names_candidates": candidates(asked.targets, asked.things) <= named,
        "question": asked.question.text,
        "answer": text,
    }
