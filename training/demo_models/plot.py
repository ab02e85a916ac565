"""Draw the curve of a reasoner's pretraining from its log: losses, what the visual tokens know, held-out answers.

Needs matplotlib (3.11 was used), which nothing else does and the set-up leaves out.

python -m training.demo_models.plot OUT/log.jsonl docs/images/pretraining.png
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

Row = dict[str, Any]


def draw(rows: list[Row], path: Path) -> None:
    """Three panels over optimiser steps, written to `path`."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
    for name, label in (("speak", "text"), ("guide", "guided attention"), ("align", "word alignment")):
        _line(left, rows, name, label)
    left.set(title="losses", yscale="log")
    for name, label in (("kind_right", "kind"), ("colour_right", "colour")):
        _line(middle, rows, name, label)
    _line(middle, rows, "place_error_px", "place error / 50 px", scale=0.02)
    middle.set(title="visual tokens", ylim=(0, 1))
    judged = [row for row in rows if "held_out" in row]
    for kind in sorted(set(judged[-1]["held_out"]) - {"wrong", "all", "single"}) if judged else ():
        right.plot([row["step"] for row in judged], [row["held_out"][kind]["hit"] for row in judged], "o-", label=kind)
    right.set(title="held-out answers right (boxes, IoU > 0.5)", ylim=(0, 1))
    for axes in (left, middle, right):
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def _line(axes: Axes, rows: list[Row], name: str, label: str, scale: float = 1.0) -> None:
    some = [row for row in rows if name in row]
    axes.plot([row["step"] for row in some], [row[name] * scale for row in some], label=label)


if __name__ == "__main__":
    log, picture = map(Path, sys.argv[1:])
    draw([json.loads(line) for line in log.read_text().splitlines()], picture)
