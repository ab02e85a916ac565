"""The second study's figures and text: both kinds of questions together, and what its plan calls a success."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.reinforcement.figures import PRIMARY, Rows, Values, read_rows, read_runs, rollouts, shares, table_of
from bench.reinforcement.page import points, rollouts_table, shares_table, thinkings
from training.grpo.study.answers import CAUSAL, SAMPLED_FILE, THINKING
from training.grpo.study.arms import ARMS
from training.grpo.study.measures import paired_interval

SPLITS = ("ood", "in")
LEAST_COST = 0.10  # of another question's thinking
LEAST_NAMED = 0.10  # answers more that name every candidate
BEGIN = "<!-- results: python -m bench.reinforcement --second -->"
END = "<!-- end of results of the second study -->"
PAIRS = (PRIMARY, *(("none", name) for name in ARMS if name != "none"), ("random", "free"), ("empty", "required"))

Runs = Mapping[str, Mapping[int, Rows]]


def both(runs: Mapping[int, Rows], seeds: Sequence[int], splits: Sequence[str] = SPLITS, **of: str) -> Values:
    """(seeds, questions) of several splits side by side."""
    return np.concatenate([table_of(runs, seeds, split, **of) for split in splits], axis=1)


def difference(runs: Runs, first: str, second: str, splits: Sequence[str] = SPLITS, **of: str) -> dict[str, Any] | None:
    """`second` minus `first` over the seeds that both have; None where there are none."""
    if first not in runs or second not in runs:
        return None
    seeds = sorted(set.intersection(*(set(runs[name]) for name in (first, second) if name != "none")))
    if not seeds:
        return None
    return {"seeds": seeds, **paired_interval(*(both(runs[name], seeds, splits, **of) for name in (first, second)))}


def figures(out: Path) -> dict[str, Any]:
    """All that the section reports, of the runs that are there."""
    runs = read_runs(out)
    sampled = {
        name: {seed: read_rows(file) for seed in of_arm if (file := out / f"{name}-{seed}" / SAMPLED_FILE).exists()}
        for name, of_arm in runs.items()
    }
    sampled = {name: of_arm for name, of_arm in sampled.items() if of_arm}
    result: dict[str, Any] = {"shares": shares(runs), "differences": {}, "rollouts": rollouts(out)}
    for first, second in PAIRS:
        found = {
            name: difference(runs, first, second, splits)
            for name, splits in {"all": SPLITS, "ood": ("ood",), "in": ("in",)}.items()
        }
        if all(found.values()):
            result["differences"][f"{second} - {first}"] = found
    if sampled:
        result["sampled"] = {name: _sampled(of_arm) for name, of_arm in sampled.items()}
    named = {
        name: difference(sampled, "none", name, how="sampled", key="names_candidates")
        for name in THINKING
        if {name, "none"} <= set(sampled)
    }
    costs = {name: causal(runs[name]) for name in THINKING if _has_causal(runs.get(name, {}))}
    result |= {"named": named, "causal": costs}
    result["not run"] = [name for name in ARMS if name not in runs]
    return result | {"verdict": verdict(result)}


def _has_causal(of_arm: Mapping[int, Rows]) -> bool:
    return bool(of_arm) and all(any(row["how"] == "control" for row in rows) for rows in of_arm.values())


def causal(of_arm: Mapping[int, Rows]) -> dict[str, Any]:
    """What each intervention costs an arm against its own thinking given back: control minus intervention."""
    seeds = sorted(of_arm)
    control = both(of_arm, seeds, how="control")
    return {how: paired_interval(both(of_arm, seeds, how=how), control) for how in CAUSAL[1:]}


def _sampled(of_arm: Mapping[int, Rows]) -> dict[str, Any]:
    """Of the sampled answers, seed by seed: right, thinking, naming every candidate, that of those that think."""
    found: dict[str, Any] = {"right": {}, "thinks": {}, "names_candidates": {}, "of the lists": {}}
    for seed, rows in of_arm.items():
        thinking = [row for row in rows if row["thinks"]]
        for key in ("right", "thinks", "names_candidates"):
            found[key][seed] = round(float(np.mean([row[key] for row in rows])), 4)
        lists = [row["names_candidates"] for row in thinking]
        found["of the lists"][seed] = round(float(np.mean(lists)), 4) if lists else 0.0
    return found


def verdict(found: Mapping[str, Any]) -> dict[str, bool | None]:
    """The three conditions of the second plan; None where what they ask was not run."""
    primary = found["differences"].get("free - empty")
    named, costs = found["named"].get("free"), found["causal"].get("free")
    return {
        "free beats empty": None if primary is None else primary["all"]["low"] > 0,
        "its thinking names what is asked about more often than the base's": None
        if named is None
        else named["low"] > 0 and named["value"] >= LEAST_NAMED,
        "another's thinking costs 10 points, none costs some": None
        if costs is None
        else costs["swapped"]["value"] >= LEAST_COST and costs["emptied"]["low"] > 0,
    }


def results(found: Mapping[str, Any], steps: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """All tables, one under the other."""
    parts = [shares_table(found), _differences(found)] if found["shares"] else []
    if "sampled" in found:
        parts.append(_sampled_table(found))
    parts += [rollouts_table(found["rollouts"])] if found["rollouts"] else []
    parts += [_causal(found)] if found["causal"] else []
    said = {True: "yes", False: "no", None: "not run"}
    lines = [f"- {condition}: {said[holds]}" for condition, holds in found["verdict"].items()]
    lines.append(f"- not run: {', '.join(found['not run']) or 'nothing'}")
    return "\n\n".join([*parts, "\n".join(lines), *(thinkings(name, rows) for name, rows in steps.items() if rows)])


def _differences(found: Mapping[str, Any]) -> str:
    lines = ["| difference, questions right | all | OOD | ID |", "|---|---|---|---|"]
    for title, row in found["differences"].items():
        lines.append(f"| {title} | " + " | ".join(points(row[name]) for name in ("all", "ood", "in")) + " |")
    return "\n".join(lines)


def _sampled_table(found: Mapping[str, Any]) -> str:
    lines = [
        "| sampled once, temperature 1 | right | thinks | names every candidate | of its lists |",
        "|---|---|---|---|---|",
    ]
    for name, row in found["sampled"].items():
        cells = (", ".join(f"{100 * value:.1f}" for value in by_seed.values()) for by_seed in row.values())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    said = [f"{name} - none {points(row)}" for name, row in found["named"].items()]
    return "\n".join([*lines, *([f"\nNaming every candidate: {', '.join(said)}."] if said else [])])


def _causal(found: Mapping[str, Any]) -> str:
    lines = [f"| cost in questions right | {' | '.join(CAUSAL[1:])} |", "|---|" + "---|" * len(CAUSAL[1:])]
    for name, row in found["causal"].items():
        lines.append(f"| {name} | " + " | ".join(points(row[how]) for how in CAUSAL[1:]) + " |")
    return "\n".join(lines)
