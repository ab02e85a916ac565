"""Figures -> the page's results as Markdown, and its plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.curves import curve, panels, save

BEGIN = "<!-- results: python -m bench.reinforcement -->"
END = "<!-- end of results -->"
PANELS = {
    "right": "OOD right",
    "thinks": "thinks at all",
    "names_targets": "thinking names every target",
    "names_candidates": "thinking names every candidate",
}


def renew(page: Path, text: str, marks: tuple[str, str] = (BEGIN, END)) -> None:
    """Put `text` between the page's two marks; ValueError where they are not both there."""
    first, last = marks
    before, begin, rest = page.read_text(encoding="utf-8").partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"{page}: want the lines {first!r} and {last!r}, between which the results are written")
    page.write_text(f"{before}{first}\n\n{text}\n\n{last}{after}", encoding="utf-8")


def results(figures: Mapping[str, Any], steps: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """All tables, one under the other."""
    parts = [shares_table(figures), differences_table(figures)] if figures["shares"] else []
    if "last validation" in figures:
        parts.append(validation_text(figures["last validation"]))
    if figures["rollouts"]:
        parts.append(rollouts_table(figures["rollouts"]))
    if "causal" in figures:
        parts.append(causal_table(figures))
    parts += [verdict_text(figures), *(thinkings(name, rows) for name, rows in steps.items() if rows)]
    return "\n\n".join(parts)


def validation_text(last: Mapping[str, Any]) -> str:
    """What the runs answered themselves at their last step; too few questions to decide anything."""
    shares = {
        when: ", ".join(f"{name} {100 * value:.1f} %" for name, value in last[when].items())
        for when in ("start", "end")
    }
    asked, step = f"{last['questions']} OOD questions", last["steps"][-1]
    return (
        f"On the {asked} that the runs answered themselves (seeds {last['seeds']}): right at step 0 {shares['start']}; "
        f"at step {step} {shares['end']}; free - empty {points(last['difference'])}."
    )


def shares_table(figures: Mapping[str, Any]) -> str:
    """Percent by arm, seed by seed."""
    head = "| arm | OOD right | ID right | OOD: thinks | names every target | names every candidate | words |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for name, found in figures["shares"].items():
        ood = found["ood"]
        cells = [_percents(ood["right"]), _percents(found["in"]["right"])]
        cells += [_percents(ood[key]) for key in ("thinks", "names_targets", "names_candidates")]
        words = ", ".join(f"{value:.1f}" for value in ood["words"].values())
        lines.append(f"| {name} | " + " | ".join([*cells, words]) + " |")
    return "\n".join(lines)


def differences_table(figures: Mapping[str, Any]) -> str:
    """Points with their 95 % intervals."""
    lines = ["| difference, questions right | OOD | ID |", "|---|---|---|"]
    for title, found in figures["differences"].items():
        lines.append(f"| {title} | {points(found['ood'])} | {points(found['in'])} |")
    return "\n".join(lines)


def rollouts_table(found: Mapping[str, Any]) -> str:
    """Sampled answers at both ends of each run."""
    head = "| sampled answers, first -> last four steps | steps | reward | tokens of thinking (5 = none) |"
    lines = [head, "|---|---|---|---|"]
    for run, row in found.items():
        (before, after), (short, long) = row["reward"], row["tokens/thinking"]
        lines.append(f"| {run} | {row['steps']} | {before:.2f} -> {after:.2f} | {short:.1f} -> {long:.1f} |")
    return "\n".join(lines)


def causal_table(figures: Mapping[str, Any]) -> str:
    """What each intervention costs."""
    lines = ["| thinking of the free arm | costs, OOD right |", "|---|---|"]
    return "\n".join([*lines, *(f"| {how} | {points(cost)} |" for how, cost in figures["causal"].items())])


def verdict_text(figures: Mapping[str, Any]) -> str:
    """The three conditions, and what was not run."""
    said = {True: "yes", False: "no", None: "not run"}
    lines = [f"- {condition}: {said[holds]}" for condition, holds in figures["verdict"].items()]
    missing = ", ".join(figures["not run"]) or "nothing"
    return "\n".join([*lines, f"- not run: {missing}"])


def thinkings(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """What a run thought about the same questions over the steps."""
    lines = [f"What `{name}` thought about the same questions over the steps:", ""]
    for n, (question, *_) in enumerate(rows[0]["shown"]):
        lines += [f"- *{question}*"]
        for row in rows:
            _, thinking, right = row["shown"][n]
            lines.append(f"  - step {row['step']}: {thinking or '(nothing)'}{' [right]' if right else ''}")
    return "\n".join(lines)


def draw(steps: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Four panels over the steps, a colour per arm, a line per seed."""
    figure, all_axes = panels(len(PANELS))
    arms = list(dict.fromkeys(run.rpartition("-")[0] for run in steps))
    for axes, (key, title) in zip(all_axes, PANELS.items(), strict=True):
        for run, rows in steps.items():
            arm, _, seed = run.rpartition("-")
            curve(axes, rows, key, label=run, c=f"C{arms.index(arm)}", ls="-" if seed == "0" else "--", lw=1.4)
        axes.set(title=title, ylim=(-0.02, 1.02))  # a line along an edge is seen
    save(figure, path)


def _percents(by_seed: Mapping[Any, float]) -> str:
    return ", ".join(f"{100 * value:.1f}" for value in by_seed.values())


def points(found: Mapping[str, float]) -> str:
    """A difference in points with its interval."""
    return f"{100 * found['value']:+.1f} ({100 * found['low']:+.1f} to {100 * found['high']:+.1f})"
