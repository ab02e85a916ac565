"""From bench/results/ to docs/speed.md: its tables between their marks, and the picture beside them.

    .venv/bin/python -m bench.report     # make both anew from what is there; a test compares

Every figure of the page that is not in the running text comes out of a JSON file of bench/results/.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.figures import markdown_table
from bench.host.table import GOALS as HOST_GOALS
from bench.host.table import table as host_table
from bench.record import RESULTS, ROOT
from bench.stages import STAGES

PAGE = ROOT / "docs" / "speed.md"
PICTURE = ROOT / "docs" / "images" / "speed.png"
Figures = Mapping[str, Any]


# ---- one table per subject ----


def stage_table(figures: Figures) -> str:
    """Where a command's time goes."""
    rows = [
        [name, _number(values["p50"]), _number(values["p95"]), meaning]
        for name, meaning in STAGES.items()
        if (values := figures["ms"].get(name))
    ]
    return markdown_table(["stage", "median ms", "95th percentile", "what"], rows)


def transformers_table(figures: Figures) -> str:
    """Ours and theirs, side by side."""
    names = {"ours": "this project", "eager": "transformers, eager", "compiled": "transformers, compiled"}
    rows = []
    for name, medians in figures["medians"].items():
        against = figures["times_slower"].get(name, {})
        rows.append(
            [
                names[name],
                _number(medians["total"]["p50"]),
                _number(medians["total"]["p95"]),
                _number(medians["reasoning"]["p50"]),
                _number(medians["steps"]["p50"]),
                _interval(against.get("command_to_mask")),
                _number(medians["cpu"]["p50"]),
                _interval(against.get("cpu_time")),
                _percent(against.get("same_text")),
            ]
        )
    heads = [
        "",
        "command to mask, median ms",
        "95th",
        "reasoning",
        "decoder steps",
        "times slower",
        "CPU ms",
        "times more CPU",
        "same text as ours",
    ]
    return markdown_table(heads, rows)


def lever_table(figures: Figures) -> str:
    """What each lever buys."""
    rows = []
    for lever, gains in figures["levers"].items():
        for what, value in gains.items():
            if isinstance(value, Mapping) and value:
                rows.append([lever.replace("_", " "), what.replace("_", " "), _interval(value)])
    return markdown_table(["lever", "of what", "times less"], rows)


def node_table(figures: Figures) -> str:
    """ROS around the models."""
    meanings = {
        "alone": "this node: decode, pipeline, messages, publish",
        "work": "the same in turn with those below",
        "whole_node": "the same through its threads and executor",
        "cv_bridge": "by hand, `array.array` as cv_bridge fills it",
        "field_bytes": "by hand, `msg.data = labels.tobytes()`",
        "field_numpy": "by hand, `msg.data = labels.flatten()`",
        "field_list": "by hand, `msg.data = labels.flatten().tolist()`",
        "field_bytes_checked": "the same with bytes where the field checks its values (Humble)",
        "field_list_checked": "the same with a list where the field checks its values (Humble)",
    }
    found, slower = figures["overhead"]["ms_per_720p_frame"], figures["overhead"]["times_slower_than_work"]
    rows = [
        [meaning, _number(found[name]["p50"]), _number(found[name]["p95"]), _interval(slower.get(name))]
        for name, meaning in meanings.items()
        if name in found
    ]
    return markdown_table(["per 720p frame", "median ms", "95th percentile", "times this node's work"], rows)


def idle_table(figures: Figures) -> str:
    """A camera nobody speaks to."""
    idle = figures["idle"]
    rows = [[f"{idle['sent_hz']:.0f} Hz, {idle['frames']} frames in {idle['seconds']:.0f} s"]]
    rows[0] += [f"{100 * idle['share_of_one_core']:.1f} %", _number(idle["cpu_ms_per_frame"])]
    return markdown_table(["720p camera, nobody speaks", "of one core", "CPU ms per frame"], rows)


def quantised_table(figures: Figures) -> str:
    """Fewer bits per weight."""
    rows = []
    for name, faster in figures["times_faster"].items():
        checks = (figures.get("parity") or figures["gate"])[name]  # as older results call it
        rows.append(
            [
                name.replace("_", ", ").replace("block", "block of "),
                f"{figures['decoder_bytes'][name] / figures['decoder_bytes']['parent']:.0%}",
                _interval(faster["per_token"]),
                _interval(faster["total"]),
                *(f"{check['value']:.3f}" for check in checks),
                "passes" if all(check["passed"] for check in checks) else "does not pass",
            ]
        )
    heads = ["weights", "size of the decoder", "tokens: times faster", "command to mask: times faster"]
    return markdown_table([*heads, "median box IoU", "gIoU lost", "parity check"], rows)


TABLES: Mapping[str, Callable[[Figures], str]] = {
    "stages": stage_table,
    "transformers": transformers_table,
    "levers": lever_table,
    "quantised": quantised_table,
    "node": lambda figures: f"{node_table(figures)}\n\n{idle_table(figures)}",
    "host": host_table,
}


def made_by(result: Mapping[str, Any]) -> str:
    """Where a result comes from, in one line."""
    machine, versions = result["machine"], result["versions"]
    packages = ", ".join(
        f"{name} {versions[name]}" for name in ("onnxruntime", "torch", "transformers") if name in versions
    )
    where = machine["gpu"] or f"{machine['cpu']}, {machine['cores']} cores"
    return (
        f"`{result['command']}` on {where}, {result['date'][:10]}, commit {result['commit']}, {packages}; "
        f"load of the machine at the end {machine['load_1min']:g}."
    )


# ---- the goals ----


def goal_table(results: Mapping[str, Figures]) -> str:
    """Return what was wanted beside what was measured; without a subject's result its goals are not yet run."""
    rows = []
    for subject, what, wanted, unit, measured in GOALS:
        found = results.get(subject)
        value = measured(found) if found else None
        if value is None:
            rows.append([what, f"{wanted}", "not yet run", ""])
            continue
        least = wanted.startswith(">=")
        limit = float(wanted.split()[1])
        reached = value >= limit if least else value <= limit
        rows.append([what, f"{wanted}{unit}", f"{_number(value)}{unit}", "yes" if reached else "**no**"])
    return markdown_table(["goal", "wanted", "measured", "reached"], rows)


def _slower(name: str) -> Callable[[Figures], float | None]:
    def read(figures: Figures) -> float | None:
        against = figures["times_slower"].get(name)
        return against["command_to_mask"]["ratio"] if against else None

    return read


def _lever(lever: str, what: str) -> Callable[[Figures], float | None]:
    return lambda figures: figures["levers"][lever].get(what, {}).get("ratio")


GOALS: tuple[tuple[str, str, str, str, Callable[[Figures], float | None]], ...] = (
    ("transformers", "command to mask against transformers, eager", ">= 5", " times", _slower("eager")),
    ("transformers", "command to mask against transformers, compiled", ">= 3", " times", _slower("compiled")),
    ("levers", "first token sooner with a warm frame", ">= 10", " times", _lever("warm_frame", "first_token")),
    (
        "levers",
        "fewer decoder steps per answer by jump-forward",
        ">= 1.5",
        " times",
        _lever("constrained", "steps_per_reply"),
    ),
    (
        "node",
        "node outside the models per 720p frame",
        "<= 2",
        " ms",
        lambda f: f["overhead"]["ms_per_720p_frame"]["alone"]["p50"],
    ),
    (
        "node",
        "against assigning a list to the field",
        ">= 10",
        " times",
        lambda f: f["overhead"]["times_slower_than_work"]["field_list"]["ratio"],
    ),
    ("node", "of one core, 10 Hz camera, nobody speaks", "<= 5", " %", lambda f: 100 * f["idle"]["share_of_one_core"]),
    *HOST_GOALS,
)


# ---- the page ----


def renew(page: Path = PAGE, picture: Path = PICTURE) -> None:
    """Rewrite the page's tables and the picture from the results that are there."""
    page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")
    draw(picture)


def renewed(text: str) -> str:
    """Return the page's text with its tables made anew; a table without results says so."""
    for name in (*TABLES, "gpu", "goals"):
        start, end = marks(name)
        before, found, rest = text.partition(start)
        if found:
            text = f"{before}{start}\n{section(name)}\n{end}{rest.partition(end)[2]}"
    return text


def section(name: str) -> str:
    """Return the tables of one subject, one per device."""
    if name == "goals":
        return goal_table({subject: found[0]["figures"] for subject in TABLES if (found := _results(subject))})
    results = _results(name)
    if not results:
        return "Not yet run."
    tables = {**TABLES, "gpu": _gpu_table}
    return "\n\n".join(f"{tables[name](result['figures'])}\n\n{made_by(result)}" for result in results)


def _results(name: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob(f"*/{name}.json"))]


def marks(name: str) -> tuple[str, str]:
    """Return the comments between which a table stands."""
    return f"<!-- {name}: bench/report.py -->", f"<!-- end of {name} -->"


def _gpu_table(figures: Figures) -> str:
    from bench.gpu.main import table

    return table(figures)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _interval(value: Mapping[str, float] | None) -> str:
    return f"{value['ratio']:.3g} ({value['low']:.3g}-{value['high']:.3g})" if value else ""


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


# ---- the picture ----

COLOURS = {"reasoning": "#4c78a8", "segmentation": "#f58518"}


def draw(path: Path) -> None:
    """Draw each contestant's medians as bars; nothing without a result of ``transformers``."""
    from matplotlib.figure import Figure

    source = next(iter(sorted(RESULTS.glob("*/transformers.json"))), None)
    if source is None:
        return
    found = contestants(json.loads(source.read_text(encoding="utf-8")))
    figure = Figure((9, 0.9 + 0.5 * len(found)), layout="constrained")
    axes = figure.subplots()
    ends = [0.0] * len(found)
    for part, colour in COLOURS.items():
        widths = [parts[part] for parts in found.values()]
        drawn = axes.barh(list(found), widths, 0.7, ends, color=colour, label=part)
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    axes.bar_label(drawn, [f"{end:.0f}" for end in ends], padding=5)
    axes.set(xticks=(), ylim=(len(found) - 0.5, -0.5))
    axes.set_title("From command to mask, median ms, same weights and questions, one run", loc="left", fontsize=11)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    note = {"bars": json.dumps(found)}  # so that a test can tell whether the picture is of these results
    figure.savefig(path, dpi=100, metadata=note)


def contestants(result: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return for each bar its parts in ms: the reasoning's median, and what is left of the total's."""
    names = {"ours": "segzero_ros", "eager": "transformers, eager", "compiled": "transformers, compiled"}
    bars = {}
    for name, medians in result["figures"]["medians"].items():
        reasoning = medians["reasoning"]["p50"]
        rest = max(0.0, medians["total"]["p50"] - reasoning)
        bars[names[name]] = {"reasoning": reasoning, "segmentation": round(rest, 2)}
    return bars


if __name__ == "__main__":
    renew()
