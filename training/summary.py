"""From one record per sample to the figures of an evaluation: every sample counts in every figure of its group.

gIoU: mean of the samples' mask IoU. cIoU: sum of intersections / sum of unions. "right": all boxes matched one to
one with IoU > 0.5, or `[]` where there is nothing; on the absent ones that is the N-Acc of GRES. Nothing found where
nothing was to be found has IoU 1 (LISA, GRES). An answer that could not be read is wrong everywhere.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segzero_ros.scores import ratio

Values = NDArray[np.float64]

SINGLE = ("attribute", "spatial", "comparison", "function")  # one object is meant
READABLE = ("OK", "NO_TARGET")
RESAMPLES = 1000
STAGES = ("first_token_ms", "reasoning_ms", "segmentation_ms", "total_ms")


@dataclass(frozen=True, slots=True)
class Record:
    """What became of one sample.

    ``boxes``, ``true_boxes``: source pixels. ``intersection``, ``union``: pixels of the union of all masks found and of
    all true ones. ``matched``: all boxes paired one to one with IoU > 0.5. ``milliseconds``: by stage.
    """

    number: int
    type: str
    text: str
    unseen_pair: bool
    unseen_wording: bool
    code: str
    detail: str
    answer: str
    boxes: tuple[tuple[float, ...], ...]
    true_boxes: tuple[tuple[float, ...], ...]
    matched: bool
    intersection: int
    union: int
    tokens: int
    milliseconds: Mapping[str, float]

    @property
    def readable(self) -> bool:
        """Whether the answer followed the grammar and led to masks, or to a "no such object"."""
        return self.code in READABLE

    @property
    def right(self) -> bool:
        """Whether it found just what was meant."""
        return self.readable and self.matched

    @property
    def iou(self) -> float:
        """Mask IoU 0..1; 0 for an answer that could not be read."""
        return ratio(self.intersection, self.union) if self.readable else 0.0

    def line(self) -> str:
        """Return the record as one line of JSON, with what is derived from it."""
        return json.dumps(asdict(self) | {"right": self.right, "iou": round(self.iou, 4)})


Records = Sequence[Record]


def summarise(records: Records) -> dict[str, Any]:
    """Return all figures of an evaluation as plain JSON values."""
    return {
        "count": len(records),
        "types": {name: scores(group) for name, group in by_type(records).items()},
        "seen": {name: scores(group) for name, group in by_novelty(records).items()},
        "codes": dict(sorted(Counter(record.code for record in records).items())),
        "latency_ms": {stage.removesuffix("_ms"): percentiles(records, stage) for stage in STAGES},
    }


def by_type(records: Records) -> dict[str, Records]:
    """Return the groups of the table: each type there is, the four that mean one object, and all."""
    types = dict.fromkeys(record.type for record in records)
    order = [name for name in (*SINGLE, "several", "absent") if name in types] + sorted(set(types) - KNOWN)
    groups: dict[str, Records] = {name: [r for r in records if r.type == name] for name in order}
    groups["single object"] = [r for r in records if r.type in SINGLE]
    return {name: group for name, group in groups.items() if group} | {"all": records}


KNOWN = {*SINGLE, "several", "absent"}


def by_novelty(records: Records) -> dict[str, Records]:
    """Return the samples split by what was held out of training: compositions of colour and kind, and wordings."""
    groups: dict[str, Records] = {
        "seen pair and wording": [r for r in records if not r.unseen_pair and not r.unseen_wording],
        "unseen pair": [r for r in records if r.unseen_pair],
        "unseen wording": [r for r in records if r.unseen_wording],
    }
    return {name: group for name, group in groups.items() if group}


def scores(records: Records) -> dict[str, Any]:
    """Return the figures of one group, shares and IoUs 0..1, three of them with 95 % intervals."""
    once = np.ones(len(records))
    intersections = np.array([r.intersection for r in records], float)
    unions = np.array([r.union for r in records], float)
    return {
        "count": len(records),
        "right": interval(np.array([r.right for r in records], float), once),
        "giou": interval(np.array([r.iou for r in records]), once),
        "ciou": interval(intersections, unions),
        "mask_iou_over_half": round(float(np.mean([r.iou > 0.5 for r in records])), 4),
        "format_valid": round(float(np.mean([r.readable for r in records])), 4),
        "tokens": round(float(np.mean([r.tokens for r in records])), 1),
    }


def interval(numerators: Values, denominators: Values) -> dict[str, float]:
    """Return sum / sum with its 95 % interval: percentiles over resampled sets of samples, the same ones every time."""
    picks = np.random.default_rng(0).integers(len(numerators), size=(RESAMPLES, len(numerators)))
    again = quotient(numerators[picks].sum(axis=1), denominators[picks].sum(axis=1))
    low, high = np.percentile(again, [2.5, 97.5])
    value = float(quotient(numerators.sum(keepdims=True), denominators.sum(keepdims=True))[0])
    return {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def quotient(numerators: Values, denominators: Values) -> Values:
    """Return their quotients, 1 where there is nothing over nothing."""
    return np.divide(numerators, denominators, out=np.ones_like(numerators), where=denominators > 0)


def percentiles(records: Records, stage: str) -> dict[str, float]:
    """Return the median and the 95th percentile of a stage's milliseconds."""
    p50, p95 = np.percentile([record.milliseconds[stage] for record in records], [50, 95])
    return {"p50": round(float(p50), 1), "p95": round(float(p95), 1)}


def table(summary: Mapping[str, Any]) -> str:
    """Return the figures as a table for people; percentages, and in brackets the 95 % interval."""
    lines = [f"{'':24}{'count':>6}  {'right':>16}  {'gIoU':>16}  {'cIoU':>16}  {'valid':>6}  {'tokens':>6}"]
    for name, group in [*summary["types"].items(), *summary["seen"].items()]:
        cells = "  ".join(f"{_percent(group[figure]):>16}" for figure in ("right", "giou", "ciou"))
        valid = f"{100 * group['format_valid']:.1f}"
        lines.append(f"{name:24}{group['count']:>6}  {cells}  {valid:>6}  {group['tokens']:>6.1f}")
    stages = ", ".join(f"{name} {ms['p50']:.0f} ({ms['p95']:.0f})" for name, ms in summary["latency_ms"].items())
    codes = ", ".join(f"{count} {code}" for code, count in summary["codes"].items())
    return "\n".join([*lines, f"ms, median (95th percentile): {stages}", f"codes: {codes}"])


def _percent(figure: Mapping[str, float]) -> str:
    return f"{100 * figure['value']:.1f} ({100 * figure['low']:.0f}-{100 * figure['high']:.0f})"
