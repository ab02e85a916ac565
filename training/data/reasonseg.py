"""ReasonSeg in LISA's files: beside each NAME.jpg a NAME.json with ``text``, ``is_sentence`` and ``shapes``.

A shape is a polygon of ``points`` with a ``label``: "flag" means nothing, a label with "ignore" in it marks pixels that
LISA's protocol does not count, everything else is the target. Masks are drawn as LISA draws them, so that the figures
compare: whole-pixel corners (cut, not rounded), outline included, larger shapes first, so that a small one on a large
one keeps its pixels.

val and test: the first of the texts, one example per picture, as LISA evaluates (200 and 779). train: every text. The
mask does not say what is one object: every connected piece of it gets a box.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.base import Example, Examples, RejectedInput, Rows, quote, read_question, unusable
from training.data.files import picture_of, read_json, read_rgb
from training.data.labelme import is_labelme, open_labelme
from training.data.masks import example_parts

TARGET, IGNORE = 1, 255
SPLITS = ("train", "val", "test")


def is_reasonseg(path: Path) -> bool:
    """Tell whether this folder, or one of its splits, has pictures with a JSON file of the same name."""
    return any(
        picture_of(file) is not None for folder in (path, *_splits(path)) for file in sorted(folder.glob("*.json"))
    )


def _splits(path: Path) -> list[Path]:
    return [path / split for split in SPLITS if (path / split).is_dir()]


def open_reasonseg(path: Path, split: str) -> Examples:
    """Return a split's examples, of ReasonSeg or LabelMe's own; ``path``: the folder of the splits, or one of them."""
    folder = path / split if (path / split).is_dir() else path
    files = sorted(folder.glob("*.json"))
    if not files:
        names = ", ".join(folder.name for folder in _splits(path)) or "none"
        raise unusable(f"got the split {split!r} of {str(path)!r}, want one of its folders: {names}")
    pictures = {file: picture_of(file) for file in files}
    own = [file for file in files if pictures[file] is not None]  # a JSON file without a picture may be anything
    if any(is_labelme(file) for file in own):
        return open_labelme(folder, {file: pictures[file] for file in files if file in own or is_labelme(file)})
    return _Files(folder, [file for file in files if file in own or _has_text(file)])


def _has_text(file: Path) -> bool:
    """Tell whether a file is one of ReasonSeg's, whose picture is missing then."""
    try:
        return {"text", "shapes"} <= dict(read_json(file)).keys()
    except (RejectedInput, TypeError, ValueError):
        return False


class _Files(Rows):
    def __init__(self, folder: Path, files: list[Path]) -> None:
        self._rows = [(file, text) for file in files for text in range(_texts(file) if folder.name == "train" else 1)]
        what = "every text" if folder.name == "train" else "the first text of each picture"
        self.name = f"{folder.parent.name}/{folder.name}, {what}"

    def _where(self, row: tuple[Path, int]) -> str:
        return f"{row[0]} text {row[1]}"

    def _read(self, row: tuple[Path, int]) -> Example:
        return _read(*row)


def _texts(file: Path) -> int:
    """Return how many texts a file has; a broken one counts as one, and says so when it is read."""
    try:
        return len(_fields(read_json(file))[0])
    except RejectedInput:
        return 1


def _read(file: Path, text: int) -> Example:
    texts, shapes = _fields(read_json(file))
    question = read_question(texts[text])
    picture = picture_of(file)
    if picture is None:
        raise unusable(f"got no picture {file.stem}.jpg beside it; put it there, or remove the JSON file")
    rgb = read_rgb(picture)
    drawn = draw_shapes(shapes, (rgb.shape[1], rgb.shape[0]))
    id = f"{file.stem}-{text}" if text else file.stem
    return Example(id, question, rgb, ignore=np.asarray(drawn == IGNORE), **example_parts(np.asarray(drawn == TARGET)))


def _fields(value: object) -> tuple[list[object], list[Any]]:
    """Return (texts, shapes)."""
    if not isinstance(value, dict) or not {"text", "shapes"} <= value.keys():
        raise unusable(f"got {quote(value)}, want a JSON object with text and shapes, as LISA's ReasonSeg has them")
    texts = value["text"] if isinstance(value["text"], list) else [value["text"]]
    if not texts or not isinstance(value["shapes"], list):
        raise unusable(
            f"got text {quote(texts)} and shapes {quote(value['shapes'])}, want lists with at least one text"
        )
    return texts, value["shapes"]


def draw_shapes(shapes: list[Any], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return uint8 (H, W): 1 target, 255 ignore, 0 neither, by LISA's rules. ``size``: (width, height)."""
    polygons = [_polygon(shape) for shape in shapes]
    drawn = [(label, corners) for label, corners in polygons if label != "flag"]
    areas = [int(_draw(np.zeros((size[1], size[0]), np.uint8), corners, 1).sum()) for _, corners in drawn]
    canvas = np.zeros((size[1], size[0]), np.uint8)
    for n in sorted(range(len(drawn)), key=lambda n: (areas[n], n), reverse=True):
        label, corners = drawn[n]
        _draw(canvas, corners, IGNORE if "ignore" in label else TARGET)
    return canvas


def _draw(canvas: NDArray[np.uint8], corners: NDArray[np.int32], value: int) -> NDArray[np.uint8]:
    cv2.polylines(canvas, [corners], isClosed=True, color=value, thickness=1)
    cv2.fillPoly(canvas, [corners], color=value)
    return canvas


def _polygon(shape: object) -> tuple[str, NDArray[np.int32]]:
    """Return (label in small letters, corners int32 (N, 2)) of a shape."""
    if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
        raise unusable(f"got the shape {quote(shape)}, want an object with label and points")
    try:
        corners = np.asarray(shape.get("points"), np.float64)
    except (TypeError, ValueError, OverflowError):
        corners = np.empty(0)
    if corners.ndim != 2 or corners.shape[1] != 2 or not len(corners) or not (np.abs(corners) < 1e6).all():
        raise unusable(f"got the points {quote(shape.get('points'))} of {quote(shape['label'])}, want [[x, y], ...]")
    return shape["label"].lower(), corners.astype(np.int32)
