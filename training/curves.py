"""Curves over a training's steps: what the plots of GRPO and of the pretraining share; no display is needed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]


def panels(count: int) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure with so many panels side by side."""
    figure = Figure((4 * count, 3.5), layout="constrained")
    return figure, figure.subplots(1, count)


def curve(axes: Axes, rows: Rows, key: str, *, scale: float = 1.0, smooth: int = 1, **line: Any) -> None:
    """Draw the rows' figures under ``key``, times ``scale``, each the mean of the last ``smooth`` of them."""
    some = [row for row in rows if key in row]
    steps, values = [row["step"] for row in some], np.array([row[key] for row in some], float) * scale
    if len(values) > smooth > 1:
        steps = steps[smooth - 1 :]
        values = np.convolve(values, np.full(smooth, 1 / smooth), "valid")
    axes.plot(steps, values, **line)


def save(figure: Figure, path: Path) -> None:
    """Write the figure with steps, grid and legend in every panel."""
    for axes in figure.axes:
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def read_log(log: Path) -> list[dict[str, Any]]:
    """Return the lines of a log.jsonl, in order."""
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
