"""Draw what GRPO did: reward parts, held-out answers, abstaining and tokens over the steps, one line per run.

Needs matplotlib (3.11 was used), which nothing else does and the set-up leaves out.

python -m training.grpo.plot RUN1/log.jsonl RUN2/log.jsonl docs/images/grpo.png
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, Any]]

PARTS = ("box", "mask", "point", "abstain", "count", "format", "length")
STYLES = ("-", "--", ":", "-.")
SMOOTH = 15  # steps


def draw(runs: Sequence[Rows], path: Path) -> None:
    """Four panels over optimiser steps, written to `path`; line styles tell the runs apart."""
    figure, panels = plt.subplots(1, 4, figsize=(16, 3.6), layout="constrained")
    parts, hits, masks, tokens = panels
    for number, (rows, style) in enumerate(zip(runs, STYLES, strict=False)):
        for at, part in enumerate(PARTS):
            _line(parts, rows, f"reward/{part}", part, style, f"C{at}", number, smooth=SMOOTH)
        for at, kind in enumerate(("single", "several", "absent")):
            _line(hits, rows, f"held_out/{kind}/hit", kind, style, f"C{at}", number)
        for at, (key, label) in enumerate((("mask", "mask IoU"), ("iou", "box IoU"))):
            _line(masks, rows, f"held_out/all/{key}", label, style, f"C{at}", number)
        for at, (key, label) in enumerate((("tokens", "all"), ("thinking", "thinking"))):
            _line(tokens, rows, f"held_out/all/{key}", label, style, f"C{at}", number)
    parts.set(title=f"reward parts, mean of {SMOOTH} steps")
    hits.set(title="held out: right (boxes; absent: N-Acc)", ylim=(0, 1))
    masks.set(title="held out: mean IoU, all kinds alike")
    tokens.set(title="held out: tokens per answer", ylim=(0, None))
    for axes in panels:
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def _line(axes: Axes, rows: Rows, key: str, label: str, style: str, colour: str, number: int, smooth: int = 1) -> None:
    some = [row for row in rows if key in row]
    steps, values = [row["step"] for row in some], np.array([row[key] for row in some], float)
    if len(values) > smooth > 1:
        steps = steps[smooth - 1 :]
        values = np.convolve(values, np.full(smooth, 1 / smooth), "valid")
    axes.plot(steps, values, style, color=colour, label=label if number == 0 else None, lw=1.4)


def read(log: Path) -> Rows:
    """The log's rows in order of steps; of a step that a resumed run did again the last one counts."""
    rows: dict[tuple[int, bool], Mapping[str, Any]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        rows[row["step"], any(key.startswith("held_out/") for key in row)] = row
    return [rows[key] for key in sorted(rows)]


if __name__ == "__main__":
    *logs, picture = map(Path, sys.argv[1:])
    draw([read(log) for log in logs], picture)
