"""From one record per sample to the figures of an evaluation: every sample counts in every figure of its group.

right: all boxes matched one to one with IoU > 0.5, or `[]` where there is nothing. gIoU: mean of the samples' mask IoU.
cIoU: sum of intersections / sum of unions. Both twice: ignore pixels left out of found and true masks (LISA, arXiv
2308.00692), and counted as object ("filled", Seg-Zero's Hugging Face data). N-Acc: share of samples without a target
whose answer is empty; T-Acc: share of those with one whose answer is not (GRES, arXiv 2306.00968). Nothing found where
nothing was to be found has IoU 1 (LISA, GRES); ``*_empty_0`` gives it Seg-Zero's 0. An answer that could not be read is
wrong everywhere: IoU 0, neither empty nor a target.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from segzero_ros.cli.output import format_table
from training.evaluation.intervals import Values, interval, percentiles
from training.evaluation.record import STAGES, Record, Records

SINGLE = ("attribute", "spatial", "comparison", "function")  # one object is meant
KNOWN = (*SINGLE, "several", "absent")
NO_VALUE = "-"


def summarise(records: Records) -> dict[str, Any]:
    """Return all figures of an evaluation as plain JSON values."""
    masks = knows_masks(records)
    return {
        "count": len(records),
        "types": {name: scores(group, masks=masks) for name, group in by_type(records).items()},
        "seen": {name: scores(group, masks=masks) for name, group in by_novelty(records).items()},
        "codes": dict(sorted(Counter(record.code for record in records).items())),
        "latency_ms": {stage.removesuffix("_ms"): _latency(records, stage) for stage in STAGES},
        "ignored_pixels": sum(record.has_ignored for record in records),
    }


def by_type(records: Records) -> dict[str, Records]:
    """Return the groups of the table: each type there is, the four that mean one object, and all."""
    types = {record.kind for record in records} - {""}
    order = [name for name in KNOWN if name in types] + sorted(types - set(KNOWN))
    groups: dict[str, Records] = {name: [r for r in records if r.kind == name] for name in order}
    groups["single object"] = [r for r in records if r.kind in SINGLE]
    return {name: group for name, group in groups.items() if group} | {"all": records}


def by_novelty(records: Records) -> dict[str, Records]:
    """Return the samples split by what was held out of training: compositions of colour and kind, and wordings.

    Nothing for data that holds nothing out.
    """
    groups: dict[str, Records] = {
        "seen pair and wording": [r for r in records if not r.unseen_pair and not r.unseen_wording],
        "unseen pair": [r for r in records if r.unseen_pair],
        "unseen wording": [r for r in records if r.unseen_wording],
    }
    if len(groups["seen pair and wording"]) == len(records):
        return {}
    return {name: group for name, group in groups.items() if group}


def knows_masks(records: Records) -> bool:
    """Tell whether the data has masks: of objects, not only the empty ones of rows that mean nothing."""
    targets = [record for record in records if record.absent is False]
    return not targets or any(record.union is not None for record in targets)


def scores(records: Records, *, masks: bool | None = None) -> dict[str, Any]:
    """Return the figures of one group, shares and IoUs 0..1, with 95 % intervals; what cannot be said is left out.

    ``masks``: whether the data has any, else as the group itself tells. Boxes alone have no mask figures.
    """
    known = knows_masks(records) if masks is None else masks
    return {
        "count": len(records),
        "right": interval(_values(records, lambda r: r.right)),
        **_mask_scores([r for r in records if r.has_mask and known]),
        **_target_scores(records),
        "format_valid": round(float(np.mean([r.readable for r in records])), 4),
        "tokens": _amount(_values(records, lambda r: r.tokens)),
        "thinking_tokens": _amount(_values(records, lambda r: r.thinking_tokens)),
    }


def _mask_scores(scored: Records) -> dict[str, Any]:
    """Return IoU figures in both protocols, over the samples whose truth has a mask."""
    if all(r.union is None for r in scored):
        return {}
    ious, filled = _values(scored, lambda r: r.iou), _values(scored, lambda r: r.filled_iou)
    figures = {
        "masks": len(scored),
        "giou": interval(ious),
        "ciou": interval(_values(scored, lambda r: r.intersection or 0), _values(scored, lambda r: r.union or 0)),
        "giou_filled": interval(filled),
        "ciou_filled": interval(
            _values(scored, lambda r: r.filled_intersection or 0), _values(scored, lambda r: r.filled_union or 0)
        ),
        "mask_iou_over_half": interval(_values(scored, lambda r: r.iou > 0.5)),
    }
    if any(r.absent for r in scored):
        figures["giou_empty_0"] = interval(_values(scored, lambda r: r.iou * bool(r.union)))
        figures["giou_filled_empty_0"] = interval(_values(scored, lambda r: r.filled_iou * bool(r.filled_union)))
    return figures


def _target_scores(records: Records) -> dict[str, Any]:
    """Return N-Acc over the samples without a target and T-Acc over those with one, each where there are any."""
    absent = [r for r in records if r.absent]
    there = [r for r in records if r.absent is False]
    figures = {}
    if absent:
        figures["n_acc"] = interval(_values(absent, lambda r: r.says_nothing))
    if there:
        figures["t_acc"] = interval(_values(there, lambda r: r.says_something))
    return figures


def _values(records: Records, read: Callable[[Record], float]) -> Values:
    return np.array([read(record) for record in records], np.float64)


def _amount(values: Values) -> dict[str, float]:
    """Return the mean with its interval, the median and the 95th percentile."""
    return interval(values, digits=1) | percentiles(values)


def _latency(records: Records, stage: str) -> dict[str, float]:
    return percentiles(_values(records, lambda record: record.milliseconds[stage]))


# ---- the table ----

Figure = Mapping[str, float]
_COLUMNS = (("right", "right"), ("giou", "gIoU"), ("ciou", "cIoU"), ("mask_iou_over_half", "IoU > 0.5"))
_FILLED = (("giou_filled", "gIoU, ignore = object"), ("ciou_filled", "cIoU, ignore = object"))


def table(summary: Mapping[str, Any]) -> str:
    """Return the figures as a table for people; percentages, and in brackets the 95 % interval."""
    columns = [*_COLUMNS, *(_FILLED if summary["ignored_pixels"] else ())]
    head = ["", "count", *(title for _, title in columns), "readable", "tokens", "thinking"]
    rows = []
    for name, group in groups_of(summary):
        shares = [percent(group.get(key)) for key, _ in columns]
        amounts = [f"{group[key]['value']:.1f}" for key in ("tokens", "thinking_tokens")]
        rows.append([name, str(group["count"]), *shares, f"{100 * group['format_valid']:.1f}", *amounts])
    return "\n".join([format_table(head, rows, right=range(1, len(head))), *_notes(summary)])


def groups_of(summary: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the rows of a summary: kinds, what was held out of training, and the commands by hand if asked."""
    spoken = [("spoken, by hand", summary["spoken"])] if "spoken" in summary else []
    return [*summary["types"].items(), *summary["seen"].items(), *spoken]


def _notes(summary: Mapping[str, Any]) -> list[str]:
    """Return the lines below the table: no target, tokens, time, failures."""
    whole = summary["types"]["all"]
    said = []
    if "n_acc" in whole:
        said.append(f"N-Acc {percent(whole['n_acc'])}, T-Acc {percent(whole.get('t_acc'))}")
    if "giou_empty_0" in whole:
        said.append(f"gIoU {percent(whole['giou_empty_0'])} if empty/empty counted 0")
    if whole.get("masks", 0) < whole["count"]:
        said.append(f"mask figures over the {whole.get('masks', 0)} samples whose truth has a mask")
    thinking = whole["thinking_tokens"]
    said.append(f"thinking tokens: median {thinking['p50']:.0f}, 95th percentile {thinking['p95']:.0f}")
    stages = ", ".join(f"{name} {ms['p50']:.0f} ({ms['p95']:.0f})" for name, ms in summary["latency_ms"].items())
    codes = ", ".join(f"{count} {code}" for code, count in summary["codes"].items())
    return [*said, f"ms, median (95th percentile): {stages}", f"codes: {codes}"]


def percent(figure: Figure | None) -> str:
    """Return a share as a percentage with its interval, "-" where there is none."""
    if figure is None:
        return NO_VALUE
    return f"{100 * figure['value']:.1f} ({100 * figure['low']:.0f}-{100 * figure['high']:.0f})"
