"""LabelMe's files as the tool writes them: beside each picture a NAME.json with ``shapes``.

Every label is a question, and all the shapes of one picture that carry it are what it means: draw the mug, type "the
red mug". Polygons are masks; a rectangle is a box without one. LabelMe cannot say that something is absent: such rows
need a ``data.jsonl``. LabelMe shows pictures turned by their EXIF orientation, as we do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segzero_ros.errors import RejectedInput
from training.data.base import Example, Examples, Rows, quote, read_question, unusable
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
        shapes, picture = _shapes(read_json(file)), self._pictures[file]
        question = read_question(label)
        if picture is None:
            raise unusable(f"got no picture {file.stem}.jpg or .png beside it; put it there")
        rgb = read_rgb(picture)
        objects = [_object(shape) for shape in shapes if shape["label"] == label]
        meant = read_objects(objects, (rgb.shape[1], rgb.shape[0]))
        return Example(f"{file.stem}-{label}", question, rgb, **meant._asdict())


def _labels(file: Path) -> list[object]:
    """Return the different labels of a file; a broken one has one, and says so when it is read."""
    try:
        return list(dict.fromkeys(shape["label"] for shape in _shapes(read_json(file))))
    except RejectedInput:
        return [""]


def _shapes(value: Any) -> list[dict[str, Any]]:
    shapes = value.get("shapes") if isinstance(value, dict) else None
    if not isinstance(shapes, list) or not all(
        isinstance(shape, dict) and isinstance(shape.get("label"), str) for shape in shapes
    ):
        raise unusable(f"got {quote(value)}, want LabelMe's object with shapes, each with a label")
    return shapes


def _object(shape: dict[str, Any]) -> dict[str, Any]:
    """Return a shape as a COCO annotation: an outline, or a box [x, y, width, height]."""
    kind, points = shape.get("shape_type", "polygon"), shape.get("points")
    if not isinstance(points, list) or not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise unusable(f"got the points {quote(points)}, want [[x, y], ...]")
    flat = [number for point in points for number in point]
    if kind == "polygon":
        return {"segmentation": [flat]}
    if kind == "rectangle" and len(flat) == 4 and all(isinstance(number, int | float) for number in flat):
        (x0, x1), (y0, y1) = sorted(flat[::2]), sorted(flat[1::2])
        return {"bbox": [x0, y0, x1 - x0, y1 - y0]}
    raise unusable(f"got a {quote(kind)} with {len(points)} points, want a polygon or a rectangle; draw it as one")
