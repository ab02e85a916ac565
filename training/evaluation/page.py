"""A page of an evaluation for people: the figures, two charts, and the best, the worst and the failed as pictures.

One file without a script or a link to anything outside. Questions, answers and reasoning are untrusted text: all of it
is escaped, and the page's own policy forbids scripts and requests should anything slip through.
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segzero_ros.answer import split_thinking
from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.matching import Box
from segzero_ros.overlay import draw_overlay
from segzero_ros.pipeline import Instance, Labels, Segmentation, Timing
from training.data.base import Example, Examples
from training.evaluation.charts import bars, histogram
from training.evaluation.record import READABLE, Record, Records, unpack_labels
from training.evaluation.summary import groups_of, percent

Image = NDArray[np.uint8]

SHOWN = 12  # samples per section
_SIDE = 480  # of a picture, pixels; the overlay's text is made for no less
_QUALITY = 82  # of its JPEG
_DARK = 24
_MOST_CHARS = 1200  # of reasoning or answer shown

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
body { margin: 0 auto; max-width: 1500px; padding: 24px; font: 15px/1.45 system-ui, sans-serif; color: #1b1f24;
  background: #f6f8fa; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 36px 0 4px; } p { margin: 4px 0 12px; }
.grey { color: #59636e; } .tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 18px 0; }
.tile, .card, .panel { background: #fff; border: 1px solid #d8dee4; border-radius: 8px; }
.tile { padding: 10px 16px; min-width: 120px; } .tile b { display: block; font-size: 23px; }
.panel { padding: 12px 16px; overflow-x: auto; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 560px), 1fr)); gap: 16px; }
svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; width: 100%; } th, td { padding: 4px 10px; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } tr + tr { border-top: 1px solid #eaeef2; } th { font-weight: 600; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 460px), 1fr)); gap: 16px; }
.card { overflow: hidden; } .card .text { padding: 8px 12px 12px; overflow-wrap: anywhere; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 2px; background: #d8dee4; }
.pair figure { margin: 0; background: #18181b; } .pair img { display: block; width: 100%; }
figcaption { background: #fff; font-size: 12px; padding: 2px 8px; color: #59636e; }
.question { font-weight: 600; margin: 0 0 2px; } .facts { font-size: 13px; margin: 0 0 6px; }
.good { color: #1a7f37; } .bad { color: #cf222e; } .thought { margin: 0; white-space: pre-wrap; }
details { margin-top: 6px; font-size: 13px; } code { white-space: pre-wrap; overflow-wrap: anywhere; }
svg text { font: 12px system-ui, sans-serif; fill: #1b1f24; }
"""


def write_page(folder: Path, summary: Mapping[str, Any], records: Records, examples: Examples) -> Path:
    """Write ``folder``/index.html and return its path; makes the folder. Reads the pictures it shows anew."""
    file = folder / "index.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A model can write half a character.
        file.write_text(page(summary, records, examples), encoding="utf-8", errors="replace")
    except ValueError as error:
        raise RejectedInput(Code.CONFIG_VALUE, f"a sample's labels cannot be read ({error}); begin anew") from None
    except OSError as error:
        why = error.strerror or error
        raise RejectedInput(Code.CONFIG_VALUE, f"could not write {str(file)!r} ({why}); name another --page") from None
    return file


def page(summary: Mapping[str, Any], records: Records, examples: Examples) -> str:
    """Return the page as HTML."""
    title = f"Bundle {summary['bundle']} on {summary['data']}: {summary['count']} samples"
    sections = [
        _section(name, what, chosen, examples)
        for name, what, chosen in (
            ("Worst", "answers with the lowest mask IoU, each kind of question in turn", worst(records)),
            ("Failed", "nothing that could be read as an answer, by code", failed(records)),
            ("Best", "answers with the highest mask IoU, each kind of question in turn", best(records)),
        )
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body><h1>{escape(title)}</h1>{_facts(summary)}{_tiles(summary)}"
        f'<div class="panels"><div class="panel">{_bars(summary)}</div>'
        f'<div class="panel">{_histogram(records)}</div></div>'
        f'<h2>Figures</h2><p class="grey">Per cent; in brackets the 95 % interval.</p>'
        f'<div class="panel">{_table(summary)}</div>{"".join(sections)}</body></html>\n'
    )


# ---- which samples ----


def worst(records: Records) -> list[Record]:
    """Return wrong but readable answers by rising IoU, the kinds of question in turn."""
    wrong = [r for r in records if r.code in READABLE and not r.right]
    return _in_turn(sorted(wrong, key=lambda r: (r.iou, r.number)))


def best(records: Records) -> list[Record]:
    """Return right answers by falling IoU, the kinds of question in turn."""
    right = [r for r in records if r.right]
    return _in_turn(sorted(right, key=lambda r: (-r.iou, r.number)))


def failed(records: Records) -> list[Record]:
    """Return what ended with the code of a failure, the codes in turn."""
    return _in_turn([r for r in records if r.code not in READABLE], lambda r: r.code)


def _in_turn(ranked: Sequence[Record], group: Any = lambda r: r.kind) -> list[Record]:
    """Return the first of each group, then the second of each, until SHOWN."""
    seen: dict[str, int] = {}
    order = []
    for place, record in enumerate(ranked):
        seen[group(record)] = turn = seen.get(group(record), -1) + 1
        order.append((turn, place, record))
    return [record for _, _, record in sorted(order, key=lambda entry: entry[:2])[:SHOWN]]


# ---- the head ----


def _facts(summary: Mapping[str, Any]) -> str:
    keys = ("split", "seed", "wording", "backend", "date", "machine", "seconds")
    said = ", ".join(f"{key} {summary[key]}" for key in keys if summary.get(key) not in (None, ""))
    codes = ", ".join(f"{count} {code}" for code, count in summary["codes"].items())
    return f'<p class="grey">{escape(said)}<br>none left out, by code: {escape(codes)}</p>'


def _tiles(summary: Mapping[str, Any]) -> str:
    whole = summary["types"]["all"]
    named = (("right", "right"), ("giou", "gIoU"), ("ciou", "cIoU"), ("n_acc", "N-Acc"), ("t_acc", "T-Acc"))
    tiles = [(f"{100 * whole[key]['value']:.1f} %", name) for key, name in named if key in whole]
    tiles.append((f"{whole['thinking_tokens']['value']:.0f}", "thinking tokens"))
    tiles.append((f"{summary['latency_ms']['total']['p50']:.0f} ms", "a command, median"))
    return '<div class="tiles">' + "".join(f'<div class="tile"><b>{v}</b>{n}</div>' for v, n in tiles) + "</div>"


def _bars(summary: Mapping[str, Any]) -> str:
    rows = [(name, [group[key] for key in ("right", "giou") if key in group]) for name, group in groups_of(summary)]
    return bars("Right and gIoU by kind, with 95 % intervals", ("right", "gIoU"), rows)


def _histogram(records: Records) -> str:
    return histogram("Samples by mask IoU", [r.iou for r in records if r.has_mask])


def _table(summary: Mapping[str, Any]) -> str:
    columns = [
        ("right", "right"),
        ("giou", "gIoU"),
        ("ciou", "cIoU"),
        ("giou_filled", "gIoU, ignore = object"),
        ("ciou_filled", "cIoU, ignore = object"),
        ("mask_iou_over_half", "IoU &gt; 0.5"),
        ("n_acc", "N-Acc"),
        ("t_acc", "T-Acc"),
    ]
    if not summary["ignored_pixels"]:
        columns = [column for column in columns if "filled" not in column[0]]
    head = "".join(f"<th>{name}</th>" for name in ("", "count", *(title for _, title in columns), "thinking tokens"))
    rows = []
    for name, group in groups_of(summary):
        shares = "".join(f"<td>{percent(group.get(key))}</td>" for key, _ in columns)
        thinking = f"<td>{group['thinking_tokens']['value']:.1f}</td>"
        rows.append(f"<tr><td>{escape(name)}</td><td>{group['count']}</td>{shares}{thinking}</tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


# ---- samples ----


def _section(name: str, what: str, records: Sequence[Record], examples: Examples) -> str:
    cards = "".join(_card(record, examples) for record in records) or '<p class="grey">None.</p>'
    return f'<h2>{name}</h2><p class="grey">{what}</p><div class="cards">{cards}</div>'


def _card(record: Record, examples: Examples) -> str:
    thinking, rest = split_thinking(record.answer)
    style = "good" if record.right else "bad"
    facts = [record.kind, record.code, f"IoU {record.iou:.2f}" if record.has_mask else "", record.id]
    said = " · ".join(escape(fact) for fact in facts if fact)
    detail = f'<p class="facts bad">{escape(record.detail[:_MOST_CHARS])}</p>' if record.code not in READABLE else ""
    return (
        f'<div class="card">{_pair(record, examples)}<div class="text"><p class="question">{escape(record.text)}</p>'
        f'<p class="facts {style}">{said}</p>{detail}<p class="thought">{escape(thinking[:_MOST_CHARS])}</p>'
        f"<details><summary>answer, {record.tokens} tokens</summary><code>{escape(rest[:_MOST_CHARS])}</code></details>"
        "</div></div>"
    )


def _pair(record: Record, examples: Examples) -> str:
    """Return the truth and what was found side by side; nothing for a sample that cannot be read."""
    try:
        example = examples[record.number]
    except Exception:  # noqa: BLE001 - whatever kept it from being asked keeps it from being shown; its code says why
        return ""
    pictures = (("true", truth_picture(example)), ("found", found_picture(record, example)))
    figures = [
        f'<figure><img alt="{name}" src="{_embedded(picture)}"><figcaption>{name}</figcaption></figure>'
        for name, picture in pictures
    ]
    return f'<div class="pair">{"".join(figures)}</div>'


def truth_picture(example: Example) -> Image:
    """Return the picture with the true masks and boxes; ignore pixels are whitened."""
    rgb = example.rgb
    if example.ignore is not None:
        rgb = np.where(example.ignore[..., None], rgb // 3 + 170, rgb).astype(np.uint8)
    points = [given[0] if given else _middle(box) for given, box in zip(example.points, example.boxes, strict=True)]
    return _drawn(rgb, example.boxes, points, [1.0] * len(points), example.label_image())


def found_picture(record: Record, example: Example) -> Image:
    """Return the picture with the masks and boxes found."""
    size = (example.rgb.shape[1], example.rgb.shape[0])
    return _drawn(example.rgb, record.boxes, record.points, record.scores, unpack_labels(record.labels, size))


def _drawn(
    rgb: Image, boxes: Sequence[Box], points: Sequence[tuple[float, float]], scores: Sequence[float], labels: Labels
) -> Image:
    """Return a picture at most _SIDE pixels wide and high with masks, boxes and points, without the overlay's caption.

    It is scaled and padded to the width from which the overlay neither enlarges nor pads.
    """
    scale = min(_SIDE / rgb.shape[1], _SIDE / rgb.shape[0])
    width, height = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    small = np.full((height, _SIDE, 3), _DARK, np.uint8)
    small[:, :width] = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    marks = np.zeros((height, _SIDE), labels.dtype)
    marks[:, :width] = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    instances = tuple(
        Instance("", score, tuple(v * scale for v in box), tuple(v * scale for v in point), index)  # type: ignore[arg-type]
        for index, (box, point, score) in enumerate(zip(boxes, points, scores, strict=True), start=1)
    )
    result = Segmentation(Command("", ""), Code.OK, "", "", instances, marks, Frame(small, 0), Timing(), "")
    return draw_overlay(result)[:height]


def _middle(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _embedded(picture: Image) -> str:
    stored = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(np.asarray(data).tobytes()).decode("ascii")
