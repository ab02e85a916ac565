"""Answers of the study's runs -> its figures: shares by arm, differences with intervals, thinkings over the steps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.demo_models.reasoner_model import SIZE, demo_profile
from training.grpo.questions import HELD_OUT_PER_PICTURE
from training.grpo.study.answers import CAUSAL, CAUSAL_FILE, FILE, StudyQuestions
from training.grpo.study.arms import ARMS, FIRST, SETTINGS
from training.grpo.study.measures import named_things, paired_interval, thinking_of

Row = Mapping[str, Any]
Rows = Sequence[Row]
Values = NDArray[np.float64]

PRIMARY = ("empty", "free")
SHOWN = 5  # questions whose thinkings are printed
SHARES = ("right", "thinks", "names_targets", "names_candidates")
EDGE = 4  # steps at each end of a run
LEAST_COST = 0.10  # that taking away a useful thinking must cost


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The lines of a file of answers."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def read_runs(out: Path) -> dict[str, dict[int, Rows]]:
    """Arm -> seed -> rows, of the runs that were asked."""
    found: dict[str, dict[int, Rows]] = {}
    for name in ARMS:
        for file in sorted(out.glob(f"{name}-*/{FILE}")):
            more = file.with_name(CAUSAL_FILE)
            rows = read_rows(file) + (read_rows(more) if more.exists() else [])
            found.setdefault(name, {})[int(file.parent.name.rpartition("-")[2])] = rows
    return found


def column(rows: Rows, split: str, *, how: str = "own", key: str = "right") -> Values:
    """One figure of every question of a split, in order of the questions."""
    some = [row for row in rows if row["split"] == split and row["how"] == how]
    return np.array([float(row[key]) for row in sorted(some, key=lambda row: row["number"])])


def table_of(runs: Mapping[int, Rows], seeds: Sequence[int], split: str, **of: str) -> Values:
    """(seeds, questions); the one run of an arm without seeds of its own stands for each."""
    only = next(iter(runs.values()))
    return np.stack([column(runs.get(seed, only), split, **of) for seed in seeds])


def compare(runs: Mapping[str, Mapping[int, Rows]], first: str, second: str, split: str) -> dict[str, Any] | None:
    """`second` minus `first`, questions right, over the seeds that both have; None where there are none."""
    if first not in runs or second not in runs:
        return None
    own = [set(runs[name]) for name in (first, second) if name != "none"]
    seeds = sorted(set.intersection(*own))
    if not seeds:
        return None
    tables = (table_of(runs[name], seeds, split) for name in (first, second))
    return {"seeds": seeds, **paired_interval(*tables)}


def shares(runs: Mapping[str, Mapping[int, Rows]]) -> dict[str, Any]:
    """Per arm and split the share of each of `SHARES`, seed by seed, and words of thinking."""
    return {
        name: {
            split: {
                key: {seed: round(float(column(rows, split, key=key).mean()), 4) for seed, rows in of_arm.items()}
                for key in (*SHARES, "words")
            }
            for split in ("ood", "in")
        }
        for name, of_arm in runs.items()
    }


def causal(of_free: Mapping[int, Rows]) -> dict[str, Any]:
    """What each intervention costs the free arm against its own thinking given back: control minus intervention."""
    seeds = sorted(of_free)
    control = table_of(of_free, seeds, "ood", how="control")
    return {how: paired_interval(table_of(of_free, seeds, "ood", how=how), control) for how in CAUSAL[1:]}


def figures(out: Path) -> dict[str, Any]:
    """All that the page reports, of the runs that are there."""
    runs = read_runs(out)
    pairs = {"free - empty": PRIMARY} | {f"{name} - none": ("none", name) for name in FIRST if name != "none"}
    result: dict[str, Any] = {"shares": shares(runs), "differences": {}}
    for title, (first, second) in pairs.items():
        found = {split: compare(runs, first, second, split) for split in ("ood", "in")}
        if all(found.values()):
            result["differences"][title] = found
    if "free" in runs and all(len(column(rows, "ood", how="swapped")) for rows in runs["free"].values()):
        result["causal"] = causal(runs["free"])
    if last := last_validations(out):
        result["last validation"] = last
    result["rollouts"] = rollouts(out)
    result["not run"] = [name for name in FIRST if name not in runs]
    return result | {"verdict": verdict(result)}


def verdict(found: Mapping[str, Any]) -> dict[str, bool | None]:
    """The three conditions of success, fixed beforehand; None where what they ask was not run."""
    primary = found["differences"].get("free - empty")
    gain = found["differences"].get("free - none")
    costs = found.get("causal")
    return {
        "free beats empty out of distribution": None if primary is None else primary["ood"]["low"] > 0,
        "gains more out of distribution than in it": None
        if gain is None
        else gain["ood"]["value"] > gain["in"]["value"],
        "its thinking is needed": None if costs is None else all(c["value"] >= LEAST_COST for c in costs.values()),
    }


def last_validations(out: Path) -> dict[str, Any]:
    """Free minus empty on the few OOD questions that the runs answered themselves at their last step; {} without both.

    `start`: shares right of both before the first step, which differ by the forced beginning alone.
    """
    first, second = ({int(run.name.rpartition("-")[2]): run for run in out.glob(f"{name}-*")} for name in PRIMARY)
    files = {
        seed: [sorted((runs[seed] / "held_out").glob("*.jsonl")) for runs in (first, second)]
        for seed in sorted(set(first) & set(second))
    }
    both = {seed: pair for seed, pair in files.items() if all(len(some) > 1 for some in pair)}
    if not both:
        return {}
    steps = {int(pair[n][-1].stem) for pair in both.values() for n in (0, 1)}
    tables = [np.stack([_hits(pair[n][-1]) for pair in both.values()]) for n in (0, 1)]
    starts = [round(float(np.mean([_hits(pair[n][0]).mean() for pair in both.values()])), 4) for n in (0, 1)]
    return {
        "seeds": list(both),
        "steps": sorted(steps),
        "questions": tables[0].shape[1],
        "start": dict(zip(PRIMARY, starts, strict=True)),
        "end": {name: round(float(table.mean()), 4) for name, table in zip(PRIMARY, tables, strict=True)},
        "difference": paired_interval(*tables),
    }


def rollouts(out: Path) -> dict[str, Any]:
    """Per run of GRPO, of the sampled answers of its first and its last `EDGE` steps: mean reward, tokens of thinking.

    Tokens count all before the answer's tag: an empty thinking has five.
    """
    found = {}
    for log in sorted(out.glob("*-*/log.jsonl")):
        rows = [row for row in read_rows(log) if "tokens/thinking" in row and "reward" in row]
        if len(rows) >= 2 * EDGE:
            found[log.parent.name] = {
                "steps": rows[-1]["step"],
                **{key: [_mean(rows[:EDGE], key), _mean(rows[-EDGE:], key)] for key in ("reward", "tokens/thinking")},
            }
    return found


def _mean(rows: Rows, key: str) -> float:
    return round(float(np.mean([row[key] for row in rows])), 4)


def _hits(file: Path) -> Values:
    return np.array([float(row["hit"]) for row in sorted(read_rows(file), key=lambda row: row["number"])])


def over_steps(run: Path, data: Path) -> list[dict[str, Any]]:
    """Per validation of a run its step, the shares of `SHARES`, and the first answers, each with its question."""
    files = sorted((run / "held_out").glob("*.jsonl"))
    if not files:
        return []
    pictures = -(-int(SETTINGS["evaluate-count"]) // HELD_OUT_PER_PICTURE)
    questions = StudyQuestions(data / "ood", demo_profile(), pictures=pictures, seed=0)
    result = []
    for file in files:
        rows = read_rows(file)
        named = [_named(row, questions) for row in rows]
        values = {"right": [row["hit"] for row in rows], "thinks": [bool(thinking_of(row["answer"])) for row in rows]}
        values |= {"names_targets": [a for a, _ in named], "names_candidates": [b for _, b in named]}
        shown = [(row["question"], thinking_of(row["answer"]), bool(row["hit"])) for row in _spread(rows)]
        means = {key: round(float(np.mean(some)), 4) for key, some in values.items()}
        result.append({"step": int(file.stem), **means, "shown": shown})
    return result


def _named(row: Row, questions: StudyQuestions) -> tuple[bool, bool]:
    asked = questions.asked(row["number"])
    named = named_things(thinking_of(row["answer"]), asked.things, SIZE)
    return set(asked.targets) <= named, asked.candidates <= named


def _spread(rows: Rows) -> list[Row]:
    """The same few questions at every step, far apart in the list."""
    return [rows[n * len(rows) // SHOWN] for n in range(min(SHOWN, len(rows)))]
