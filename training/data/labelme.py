"""LabelMe's files as the tool writes them: beside each picture a NAME.json with ``shapes``.

Every label is a question, and all the shapes of one picture that carry it (blanks around it and the way an accent is
written do not count) are what it means: draw the mug, type "the red mug". Polygons are masks; a rectangle is a box
without one. Shapes of one label and one ``group_id`` are one object, drawn in pieces. LabelMe cannot say that something
is absent: such rows need a ``data.jsonl``. LabelMe shows pictures turned by their EXIF orientation, as we do.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

from segzero_ros.errors import RejectedInput
from training.data.base import Example, Examples, Rows, are_numbers, quote, read_question, unusable
from training.data.coco import read_objects
from training.data.files import read_json, read_rgb


def is_labelme(file: Path) -> bool:
    """Tell whether a JSON file has shapes and no ``text``, which ReasonSeg's files have."""
    try:
        value = read_json(file)
    except RejectedInput:
        return False
    return isinstance(value, dict) and "shapes" in value and "text" not in value


def open_labelme(folder: Path, pictures: dict[Path, Path | None]) -> Examples:
    """Return one example per picture and label; ``pictures``: that of each JSON file, None where there is none."""
    return _Labels(folder, pictures)


class _Labels(Rows):
    def __init__(self, folder: Path, pictures: dict[Path, Path | None]) -> None:
        self._pictures = pictures
        self._rows = [(file, label) for file in sorted(pictures) for label in _labels(file)]
        self.name = f"{folder.name}, LabelMe's files, one question per picture and label"
        if not self._rows:
            raise unusable(f"got {str(folder)!r} without a shape; draw one, and type the question as its label")

    def _where(self, row: tuple[Path, str]) -> str:
        return f"{row[0]} label {quote(row[1])}"

    def _read(self, row: tuple[Path, str]) -> Example:
        file, label = row
        value, picture = read_json(file), self._pictures[file]
        shapes = _shapes(value)
        question = read_question(label)
        if picture is None:
            raise unusable(f"got no picture {file.stem}.jpg or .png beside it; put it there")
        rgb = read_rgb(picture)
        _check_size(value, rgb.shape)
        objects = [_object(pieces) for pieces in _grouped([shape for shape in shapes if _label(shape) == label])]
        meant = read_objects(objects, (rgb.shape[1], rgb.shape[0]))
        return Example(f"{file.stem}-{label}", question, rgb, **meant._asdict())


def _labels(file: Path) -> list[str]:
    """Return the different labels of a file; a broken one has one, and says so when it is read."""
    try:
        return list(dict.fromkeys(_label(shape) for shape in _shapes(read_json(file))))
    except RejectedInput:
        return [""]


def _shapes(value: Any) -> list[dict[str, Any]]:
    shapes = value.get("shapes") if isinstance(value, dict) else None
    if not isinstance(shapes, list) or not all(
        isinstance(shape, dict) and isinstance(shape.get("label"), str) for shape in shapes
    ):
        raise unusable(f"got {quote(value)}, want LabelMe's object with shapes, each with a label")
    return shapes


def _label(shape: dict[str, Any]) -> str:
    return unicodedata.normalize("NFC", shape["label"].strip())


def _check_size(value: dict[str, Any], shape: tuple[int, ...]) -> None:
    """Refuse a picture of another size than the one that was drawn on; older files do not say it."""
    drawn, size = (value.get("imageWidth"), value.get("imageHeight")), (shape[1], shape[0])
    if all(type(side) in (int, float) for side in drawn) and drawn != size:
        raise unusable(
            f"got a picture of {size[0]} x {size[1]} where the file says {quote(list(drawn))} "
            "(imageWidth, imageHeight); use the picture that was drawn on, or draw anew"
        )


def _grouped(shapes: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the shapes of each object: those of one ``group_id`` together, every other alone."""
    objects: dict[str, list[dict[str, Any]]] = {}
    for n, shape in enumerate(shapes):
        group = shape.get("group_id")
        objects.setdefault(f"alone {n}" if group in (None, "") else f"group {group!r}", []).append(shape)
    return list(objects.values())


def _object(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an object as a COCO annotation: its outlines, or where a piece is a rectangle the box around them all."""
    corners = [_corners(shape) for shape in pieces]
    if all(shape.get("shape_type", "polygon") == "polygon" for shape in pieces):
        return {"segmentation": [[number for point in points for number in point] for points in corners]}
    flat = [point for points in corners for point in points]
    (x0, x1), (y0, y1) = ((min(values), max(values)) for values in zip(*flat, strict=True))
    return {"bbox": [x0, y0, x1 - x0, y1 - y0]}


def _corners(shape: dict[str, Any]) -> list[list[float]]:
    """Return the corners of a polygon, or two (or all four) of a rectangle."""
    kind, points = shape.get("shape_type", "polygon"), shape.get("points")
    if not isinstance(points, list) or not all(are_numbers(point, 2) for point in points):
        raise unusable(f"got the points {quote(points)}, want [[x, y], ...], plain numbers")
    if kind == "polygon" or (kind == "rectangle" and len(points) in (2, 4)):
        return points
    raise unusable(f"got a {quote(kind)} with {len(points)} points, want a polygon or a rectangle; draw it as one")
