"""Two runs over the same samples, compared sample by sample: what changed, with the 95 % interval of the difference.

The paired bootstrap draws samples, not answers, so that what both runs find hard does not blur the difference between
them (Efron and Tibshirani 1993, chapter 8). An interval without 0 is a difference that another draw of samples from
the same source would rarely undo; it says nothing of another source, nor of another seed of a training.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segzero_ros.cli.output import format_table
from segzero_ros.errors import Code, RejectedInput
from training.evaluation.intervals import difference
from training.evaluation.record import Record, Records, read_samples
from training.evaluation.summary import by_novelty, by_type

Pairs = list[tuple[Record, Record]]

# What makes two records the same sample: the question and its truth. A row neither run could read has neither.
_SAMPLE = ("id", "kind", "text", "true_boxes")
_FIGURES: Mapping[str, tuple[Callable[[Record], bool], Callable[[Record], float]]] = {
    "right": (lambda r: True, lambda r: r.right),
    "giou": (lambda r: r.has_mask, lambda r: r.iou),
    "n_acc": (lambda r: bool(r.absent), lambda r: r.says_nothing),
    "tokens": (lambda r: True, lambda r: r.tokens),
    "thinking_tokens": (lambda r: True, lambda r: r.thinking_tokens),
    "total_ms": (lambda r: True, lambda r: r.milliseconds["total_ms"]),
}
SHARES = ("right", "giou", "n_acc")


def compare(first: Path, second: Path) -> dict[str, Any]:
    """Return the differences second - first per kind and overall as plain JSON values.

    Raises ``RejectedInput`` CONFIG_VALUE for files that are no samples, or of runs over different samples.
    """
    (run, before), (other_run, after) = read_samples(first), read_samples(second)
    check_same(before, after)
    later = {record.number: record for record in after}
    groups = by_type(before) | by_novelty(before)
    return {
        "first": run,
        "second": other_run,
        "count": len(before),
        "groups": {name: differences([(r, later[r.number]) for r in group]) for name, group in groups.items()},
    }


def check_same(before: Records, after: Records) -> None:
    """Raise ``RejectedInput`` CONFIG_VALUE, naming the first difference, unless both are over the same samples."""
    if not before or not after:
        raise _different("got a run without samples, want at least one")
    for one, other in zip(before, after, strict=False):
        if one.number != other.number:
            raise _different(f"got runs that differ at sample {one.number}: the second has number {other.number}")
        for field in _SAMPLE if one.absent is not None and other.absent is not None else ():
            was, now = getattr(one, field), getattr(other, field)
            if was != now:
                raise _different(f"got runs that differ at sample {one.number}: {field} {was!r:.80} and {now!r:.80}")
    if len(before) != len(after):
        raise _different(f"got runs of {len(before)} and {len(after)} samples; --resume the one that was cut short")


def _different(what: str) -> RejectedInput:
    return RejectedInput(Code.CONFIG_VALUE, f"{what}; compare runs of the same --data, --split, --seed and --count")


def differences(pairs: Pairs) -> dict[str, Any]:
    """Return the figures of one group of pairs: both means and the difference with its interval."""
    figures: dict[str, Any] = {"count": len(pairs)}
    for name, (counts, value) in _FIGURES.items():
        scored = [(one, other) for one, other in pairs if counts(one) and counts(other)]
        if not scored:
            continue
        was, now = (np.array([value(pair[side]) for pair in scored], np.float64) for side in (0, 1))
        means = {"first": round(float(was.mean()), 4), "second": round(float(now.mean()), 4)}
        figures[name] = means | {"difference": difference(was, now)}
    return figures


def comparison_table(compared: Mapping[str, Any]) -> str:
    """Return the differences as a table for people; a star where the interval excludes 0."""
    names = ("right", "giou", "n_acc", "thinking_tokens", "tokens", "total_ms")
    titles = ("right", "gIoU", "N-Acc", "thinking", "tokens", "total ms")
    rows = []
    for group, figures in compared["groups"].items():
        cells = [_cell(name, figures[name]["difference"]) if name in figures else "-" for name in names]
        rows.append([group, str(figures["count"]), *cells])
    aligned = format_table(["", "count", *titles], rows, right=range(1, len(titles) + 2))
    was, now = (_run_name(compared[side]) for side in ("first", "second"))
    note = "second - first, shares in points, in brackets the 95 % interval; * where it excludes 0"
    return "\n".join([aligned, f"first: {was}; second: {now}", note])


def _cell(name: str, figure: Mapping[str, float]) -> str:
    scale = 100 if name in SHARES else 1
    value, low, high = (scale * figure[key] for key in ("value", "low", "high"))
    star = "*" if low > 0 or high < 0 else " "
    return f"{value:+.1f} ({low:+.1f} {high:+.1f}){star}"


def _run_name(run: Mapping[str, Any]) -> str:
    return ", ".join(str(run[key]) for key in ("bundle", "bundle_sha256", "date") if run.get(key))
