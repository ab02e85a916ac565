"""Every run's last checkpoint asked about the held-out questions; the free arm also behind thinkings not its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
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
SECOND_COUNTS = {"ood": 400, "in": 400}
FILE, CAUSAL_FILE, SAMPLED_FILE = "answers.jsonl", "causal.jsonl", "sampled.jsonl"
THINKING = ("free", "required")  # arms whose thinking the second study looks into
CAUSAL = ("control", "emptied", "shuffled", "swapped")


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A question with what its scene holds: `things` as in scenes.jsonl, ids of its `targets` and `candidates`."""

    number: int
    question: GrpoSample
    things: Sequence[Mapping[str, Any]]
    targets: tuple[int, ...]
    candidates: frozenset[int]
    part: Part


Ways = Callable[[Policy, Path, Mapping[str, Sequence[Asked]]], list[dict[str, Any]]]


class StudyQuestions(ShardQuestions):
    """Questions of one of the study's folders, with their scenes."""

    def asked(self, number: int) -> Asked:
        """Question `number` and its scene."""
        at, instruction = self._find(number)
        targets, things = tuple(instruction["targets"]), self.scenes[at]["objects"]
        among = frozenset(instruction.get("candidates") or candidates(targets, things))
        return Asked(number, self[number], things, targets, among, held_out_part(instruction))


def choose_questions(folder: Path, count: int) -> list[Asked]:
    """A fixed choice of at most `count` questions, as even over the kinds as they are."""
    questions = StudyQuestions(folder, demo_profile())
    return [questions.asked(number) for number in held_out(questions, count, seed=0)]


def ask_runs(data: Path, out: Path, counts: Mapping[str, int] = COUNTS) -> list[Path]:
    """Write OUT/ARM-SEED/answers.jsonl, then causal.jsonl, where they are not yet there; returns the former.

    CONFIG_VALUE without a run.
    """
    runs = find_runs(out)
    chosen = {name: choose_questions(data / name, count) for name, count in counts.items()}
    complete(runs, FILE, own_answers, chosen)
    complete(of_arms(runs, "free"), CAUSAL_FILE, causal_answers, {"ood": chosen["ood"]})
    return [run / FILE for run in runs]


def ask_second_runs(data: Path, out: Path, counts: Mapping[str, int] = SECOND_COUNTS) -> list[Path]:
    """As `ask_runs`, with thinkings changed in both splits; and sampled.jsonl of `THINKING` and none."""
    runs = find_runs(out)
    chosen = {name: choose_questions(data / name, count) for name, count in counts.items()}
    complete(runs, FILE, own_answers, chosen)
    complete(of_arms(runs, *THINKING), CAUSAL_FILE, causal_answers, chosen)
    complete(of_arms(runs, *THINKING, "none"), SAMPLED_FILE, sampled_answers, chosen)
    return [run / FILE for run in runs]


def find_runs(out: Path) -> list[Path]:
    """Folders with a checkpoint, arm by arm; CONFIG_VALUE where there is none."""
    torch.set_num_threads(1)
    runs = [folder for name in ARMS for folder in sorted(out.glob(f"{name}-*")) if checkpoints(folder)]
    if not runs:
        raise RejectedInput(Code.CONFIG_VALUE, f"got {out} without a run; make one: python -m training.grpo.study free")
    return runs


def of_arms(runs: Sequence[Path], *names: str) -> list[Path]:
    """Those of `runs` that are of one of the arms."""
    return [run for run in runs if run.name.rpartition("-")[0] in names]


def complete(runs: Sequence[Path], file: str, ways: Ways, chosen: Mapping[str, Sequence[Asked]]) -> None:
    """Write `file` of every run that lacks it."""
    for run in runs:
        if not (run / file).exists():
            write_rows(run / file, ways(open_policy(checkpoints(run)[-1]), run, chosen))


def write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a line per row and say so."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(f"{file}: {len(rows)} answers", flush=True)


def own_answers(policy: Policy, run: Path, chosen: Mapping[str, Sequence[Asked]]) -> list[dict[str, Any]]:
    """A row per question, answered as the arm answers."""
    forced = ARMS[run.name.rpartition("-")[0]].forced
    rows = []
    for split, asked in chosen.items():
        texts = ask(policy, [one.question for one in asked], [forced] * len(asked))
        rows += [row_of(one, text, split, "own") for one, text in zip(asked, texts, strict=True)]
    return rows


def sampled_answers(policy: Policy, run: Path, chosen: Mapping[str, Sequence[Asked]]) -> list[dict[str, Any]]:  # noqa: ARG001
    """A row per question, sampled once at temperature 1: what the model thinks, where the greedy answer is one mode."""
    torch.manual_seed(0)
    rows = []
    for split, asked in chosen.items():
        texts = ask(policy, [one.question for one in asked], [""] * len(asked), 1.0)
        rows += [row_of(one, text, split, "sampled") for one, text in zip(asked, texts, strict=True)]
    return rows


def causal_answers(policy: Policy, run: Path, chosen: Mapping[str, Sequence[Asked]]) -> list[dict[str, Any]]:
    """A row per question and intervention (`CAUSAL`) on the thinkings that the run's answers have."""
    rows = [json.loads(line) for line in (run / FILE).read_text(encoding="utf-8").splitlines()]
    told = []
    for split, asked in chosen.items():
        own = [thinking_of(row["answer"]) for row in rows if row["split"] == split]
        told += _behind(policy, asked, interventions(own), split)
    return told


def _behind(
    policy: Policy, asked: Sequence[Asked], thinkings: Mapping[str, Sequence[str]], split: str
) -> list[dict[str, Any]]:
    forced = {
        (n, f"<think>{thinking}</think><answer>"): one
        for some in thinkings.values()
        for n, (thinking, one) in enumerate(zip(some, asked, strict=True))
    }  # what says the same is asked once
    texts = ask(policy, [one.question for one in forced.values()], [text for _, text in forced])
    answers = dict(zip(forced, texts, strict=True))
    return [
        row_of(one, answers[n, f"<think>{thinking}</think><answer>"], split, how)
        for how, some in thinkings.items()
        for n, (thinking, one) in enumerate(zip(some, asked, strict=True))
    ]


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
        "names_candidates": asked.candidates <= named,
        "question": asked.question.text,
        "answer": text,
    }
