"""A folder of one's own: pictures and ``data.jsonl``, one JSON object per line.

    {"image": "photos/1.jpg", "question": "the red mug", "boxes": [[12, 40, 210, 300]]}
    {"image": "photos/1.jpg", "question": "all the spoons", "boxes": [], "id": "no spoons here"}
    {"image": "photos/2.jpg", "question": "something to drink from", "mask": "masks/2.png"}

``image``: JPEG or PNG, relative to the folder. ``boxes``: [x0, y0, x1, y1] per object meant, pixels of the picture as a
viewer shows it, x1 and y1 just beyond the last pixel; [] = there is no such object. ``points`` (optional): one [x, y]
per box, on the object, or two; else they come from the mask, or from the box alone. ``mask`` (optional): a PNG of the
picture's size, black is background and every other colour one object; without ``boxes`` it gives them too. ``id``
(optional): else the line's number.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segzero_ros.answer import Point
from segzero_ros.errors import nearest
from segzero_ros.matching import Box, box_iou, box_ious, box_of_mask
from training.data.base import Example, Examples, Mask, Rows, quote, read_boxes, read_points, read_question, unusable
from training.data.files import inside, parse_json, read_mask_objects, read_rgb
from training.data.masks import inscribed_points, points_in_box, union

KEYS = ("image", "question", "boxes", "points", "mask", "id")
LEAST_AGREEMENT = 0.5  # IoU of a box with the box around its mask: hand-drawn ones are loose, wrong ones are worse


def rows_file(path: Path, split: str) -> Path | None:
    """Return the rows of a plain folder: data.jsonl or SPLIT.jsonl, or ``path`` itself; None where it has no rows."""
    if path.is_file():
        return path if path.suffix == ".jsonl" else None
    file = path / (f"{split}.jsonl" if split else "data.jsonl")
    if file.is_file():
        return file
    others = sorted(other.name for other in path.glob("*.jsonl") if other.name != "scenes.jsonl")
    if others:
        raise unusable(f"got the folder {str(path)!r} without {file.name}, want one of {', '.join(others)} as the data")
    return None


def open_plain(file: Path) -> Examples:
    """Return the examples of a ``.jsonl`` file; its pictures lie beside it or below."""
    return _Plain(file)


class _Plain(Rows):
    def __init__(self, file: Path) -> None:
        self._file, self._folder = file, file.parent
        self.name = f"{file.parent.name}/{file.name}"
        try:
            lines = file.read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise unusable(f"could not read {str(file)!r} ({error}); save it as UTF-8 text") from None
        self._rows = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
        if not self._rows:
            raise unusable(f"got {str(file)!r} without a line, want one JSON object per line; see docs/own-objects.md")

    def _where(self, row: tuple[int, str]) -> str:
        return f"{self._file} line {row[0]}"

    def _read(self, row: tuple[int, str]) -> Example:
        number, line = row
        return read_row(self._folder, _fields(line), str(number))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object's fields; ``RejectedInput`` for a key given twice, of which JSON would keep the last."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise unusable(f"got the key {quote(twice)} twice; leave one out, or write a line for each")
    return fields


def _fields(line: str) -> dict[str, Any]:
    fields = parse_json(line, _once)
    if not isinstance(fields, dict):
        raise unusable(f'got {quote(fields)}, want a JSON object {{"image": ..., "question": ..., "boxes": [...]}}')
    for key in fields:
        if key not in KEYS:
            raise unusable(f"got the key {quote(key)}{nearest(key, KEYS)}")
    missing = [key for key in ("image", "question") if key not in fields]
    if missing or not {"boxes", "mask"} & fields.keys():
        raise unusable(f"got no {' and no '.join(missing or ['boxes'])}; write it, [] for boxes means no such object")
    return fields


def read_row(folder: Path, fields: dict[str, Any], number: str) -> Example:
    """Return the example of one line, or raise ``RejectedInput`` with all that is wrong about its first wrong part."""
    id, question = fields.get("id", number), read_question(fields["question"])
    if not isinstance(id, str | int):
        raise unusable(f"got the id {quote(id)}, want a name or a number, or no id")
    rgb = read_rgb(inside(folder, fields["image"]))
    size = rgb.shape[1], rgb.shape[0]
    objects = read_mask_objects(inside(folder, fields["mask"]), size) if "mask" in fields else None
    boxes = _boxes(fields, objects, size)
    mask = union(objects or (), size) if objects is not None or not boxes else None
    each = matched_objects(boxes, objects or ())
    given = read_points(fields["points"], boxes) if "points" in fields else None
    points = given or _points(boxes, each)
    _check_agreement(boxes, points if given else None, mask, each)
    return Example(str(id), question, rgb, boxes, points, mask, object_masks=each)


def _boxes(fields: dict[str, Any], objects: Sequence[Mask] | None, size: tuple[int, int]) -> tuple[Box, ...]:
    if "boxes" in fields:
        return read_boxes(fields["boxes"], size)
    return tuple(box_of_mask(mask) for mask in objects or ())


def matched_objects(boxes: Sequence[Box], objects: Sequence[Mask]) -> tuple[Mask, ...]:
    """Return each box's own mask, in the boxes' order; none at all unless every box has exactly one that fits it."""
    if len(boxes) != len(objects) or not boxes:
        return ()
    best = box_ious(boxes, [box_of_mask(mask) for mask in objects]).argmax(axis=1).tolist()
    return tuple(objects[n] for n in best) if len(set(best)) == len(best) else ()


def _points(boxes: Sequence[Box], masks: Sequence[Mask]) -> tuple[tuple[Point, ...], ...]:
    if masks:
        return tuple(inscribed_points(mask) for mask in masks)
    return tuple(points_in_box(box) for box in boxes)


def _check_agreement(
    boxes: Sequence[Box],
    points: Sequence[Sequence[Point]] | None,
    mask: Mask | None,
    each: Sequence[Mask],
) -> None:
    """Refuse a mask that shows something else than its boxes and points say."""
    if mask is None:
        return
    if bool(boxes) != bool(mask.any()):
        raise unusable(f"got {len(boxes)} boxes and {int(mask.sum())} mask pixels; empty both, or neither")
    for number, box in enumerate(boxes):
        seen = each[number] if each else _within(mask, box)
        around = box_of_mask(seen) if seen.any() else (0.0, 0.0, 0.0, 0.0)
        if box_iou(box, around) < LEAST_AGREEMENT:
            raise unusable(
                f"got the box {quote(list(box))} where its mask spans {quote(list(around))}; correct one of them"
            )
    covered = union([_within(mask, box) for box in boxes], (mask.shape[1], mask.shape[0]))
    if covered.sum() < (1 - LEAST_AGREEMENT / 5) * mask.sum():
        raise unusable(f"got {int(mask.sum() - covered.sum())} mask pixels outside every box; add the missing box")
    for n, given in enumerate(points or ()):
        _check_points(given, each[n] if each else mask)


def _within(mask: Mask, box: Box) -> Mask:
    inside_box = np.zeros_like(mask)
    window = np.s_[int(box[1]) : int(np.ceil(box[3])), int(box[0]) : int(np.ceil(box[2]))]
    inside_box[window] = mask[window]
    return inside_box


def _check_points(points: Sequence[Point], mask: Mask) -> None:
    height, width = mask.shape
    for x, y in points:
        if not mask[min(int(y), height - 1), min(int(x), width - 1)]:
            raise unusable(f"got the point {quote([x, y])} beside its mask; move it onto the object")
