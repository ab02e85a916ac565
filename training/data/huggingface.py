"""Hugging Face data sets on disk: Seg-Zero's and VisionReasoner's training columns, and ReasonSeg's mask columns.

Training: ``id, problem, solution, image, img_height, img_width``. ``image`` is already squashed to 840 x 840, and
``solution`` has the coordinates of that frame, so pictures of any other size are refused: nobody could tell which frame
their coordinates are in. ``img_height`` and ``img_width`` are those of the photo before, and not used.
    v1: <box>(x1,y1),(x2,y2)</box><points>(x,y),(x,y)</points>
    v2: [{"bbox_2d": [x1, y1, x2, y2], "point_2d": [x, y]}, ...]; [] = no such object
Upstream's boxes end on the last pixel, ours just beyond it; the numbers are taken as they are: models learned them.

ReasonSeg: ``image, text, mask, image_id, ann_id, img_height, img_width``. Its masks count LISA's ignore pixels as
foreground and cannot be told apart any more, so ``ignore`` is None: the other protocol needs LISA's files. The mask
does not say what is one object: every connected piece of it gets a box.

Read by the package `datasets`, from a folder of ``save_to_disk`` (memory-mapped) or from parquet files (which it copies
to its cache first). Nothing is fetched.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segzero_ros.answer import Point
from segzero_ros.errors import RejectedInput, nearest
from segzero_ros.frame import MAX_COMPRESSED_BYTES, decode_compressed
from segzero_ros.matching import Box
from training.data.base import Example, Examples, Mask, at_row, quote, read_boxes, read_points, read_question, unusable
from training.data.files import inside, read_json
from training.data.masks import example_parts
from training.rewards.truth import read_solution_v1, read_solution_v2

FRAME = 840  # pixels: both sides of the published sets' pictures
TRAINING = ("problem", "solution", "image")
MASKS = ("text", "mask", "image")
INSTALL = "it reads this format: .venv/bin/python -m pip install -r requirements/offline.txt"
MAX_SOLUTION_CHARS = 65_536  # 64 objects take about 6,000


def is_huggingface(path: Path) -> bool:
    """Tell whether this is a folder of ``save_to_disk``, a parquet file, or a folder of them."""
    if path.is_file():
        return path.suffix == ".parquet"
    return any((path / name).is_file() for name in ("dataset_dict.json", "state.json")) or bool(parquet_files(path))


def parquet_files(folder: Path) -> list[Path]:
    """Return the parquet files of a folder, or of its data/ as the hub has them."""
    return sorted([*folder.glob("*.parquet"), *folder.glob("data/*.parquet")])


def open_huggingface(path: Path, split: str) -> Examples:
    """Return a data set's rows; ``RejectedInput`` for an unknown split or columns that are neither kind's."""
    try:
        import datasets
    except ModuleNotFoundError:
        raise unusable(f"got {str(path)!r} and no package `datasets`; {INSTALL}") from None
    rows = _table(path, split)
    for columns, read in ((TRAINING, _training_row), (MASKS, _mask_row)):
        if set(columns) <= set(rows.column_names):
            for column in {"image", "mask"} & set(columns):  # decoded here: `datasets` would follow a path to anywhere
                if isinstance(rows.features[column], datasets.Image):
                    rows = rows.cast_column(column, datasets.Image(decode=False))
            return _Rows(rows, f"{path.name}{', ' * bool(split)}{split}", read, str(path))
    raise unusable(
        f"got the columns {', '.join(rows.column_names)[:200]} in {str(path)!r}, "
        f"want {', '.join(TRAINING)} or {', '.join(MASKS)}"
    )


def _table(path: Path, split: str) -> Any:
    import datasets

    datasets.utils.logging.set_verbosity(logging.CRITICAL)  # what it has to say of a broken file is said here
    try:
        if path.is_file() or not any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
            files = _of_split([path] if path.is_file() else parquet_files(path), split)
            return datasets.Dataset.from_parquet([str(file) for file in files])
        _check_inside(path)
        table = datasets.load_from_disk(str(path))
    except (RejectedInput, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - what a damaged set leads to in two libraries has no type in common
        raise unusable(f"could not read {str(path)!r} ({_first_line(error)}); save or copy it again") from None
    if isinstance(table, datasets.DatasetDict):
        return _split_of(table, split, path)
    if split and table.split is not None and str(table.split) != split:
        raise unusable(f"got the split {split!r} of {str(path)!r}, which is {str(table.split)!r}")
    return table


def _check_inside(path: Path) -> None:
    """Refuse a data set of ``save_to_disk`` that names a split or a file outside its own folder."""
    folders = [path]
    if (path / "dataset_dict.json").is_file():
        named = read_json(path / "dataset_dict.json")
        splits = named.get("splits") if isinstance(named, dict) else None
        if not isinstance(splits, list) or not all(isinstance(split, str) for split in splits):
            raise unusable(f"got {str(path / 'dataset_dict.json')!r} without a list of splits; save the set again")
        folders = [inside(path, f"{split}/state.json").parent for split in splits]
    for folder in folders:
        state = read_json(folder / "state.json")
        for key in ("_data_files", "_indices_data_files"):
            for file in (state.get(key) if isinstance(state, dict) else None) or []:
                inside(folder, file.get("filename") if isinstance(file, dict) else None)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _of_split(files: list[Path], split: str) -> list[Path]:
    """Return the files whose name begins with the split, as train-00000-of-00002.parquet does."""
    found = [file for file in files if not split or re.split(r"[-_.]", file.name)[0] == split]
    if not found:
        raise unusable(f"got the split {split!r}, and the files are {', '.join(file.name for file in files[:5])}")
    return found


def _split_of(table: Any, split: str, path: Path) -> Any:
    if not split and len(table) == 1:
        return next(iter(table.values()))
    if split not in table:
        raise unusable(f"got the split {split!r} of {str(path)!r}{nearest(split, list(table))}")
    return table[split]


class _Rows:
    def __init__(self, rows: Any, name: str, read: Any, path: str) -> None:
        self.name = name
        self._rows, self._read, self._path = rows, read, path

    def where(self, n: int) -> str:
        """File and row."""
        return f"{self._path} row {n} (the first is 0)"

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, n: int) -> Example:
        if not 0 <= n < len(self._rows):
            raise IndexError(n)
        with at_row(self.where(n)):
            return self._read(self._rows[n], n)


def _training_row(row: dict[str, Any], n: int) -> Example:
    question = read_question(row["problem"])
    rgb = _picture(row["image"])
    if rgb.shape[:2] != (FRAME, FRAME):
        raise unusable(
            f"got a picture of {rgb.shape[1]} x {rgb.shape[0]} pixels, want {FRAME} x {FRAME}, the frame of this "
            "format's coordinates; squash picture and coordinates, or use a folder with data.jsonl"
        )
    boxes, points = read_solution(row["solution"])
    empty = None if boxes else np.zeros((FRAME, FRAME), bool)
    return Example(str(row.get("id", n)), question, rgb, boxes, points, empty)


def read_solution(text: object) -> tuple[tuple[Box, ...], tuple[tuple[Point, ...], ...]]:
    """Return boxes and points of a v1 or v2 ``solution``, in the 840 frame; ``RejectedInput`` for anything else."""
    if not isinstance(text, str) or len(text) > MAX_SOLUTION_CHARS:
        raise unusable(f"got the solution {quote(text)}, want text of at most {MAX_SOLUTION_CHARS} characters")
    truth = (read_solution_v1 if "<box>" in text else read_solution_v2)(text, (FRAME, FRAME))
    boxes = read_boxes([list(box) for box in truth.boxes], (FRAME, FRAME))
    return boxes, read_points([[list(point) for point in given] for given in truth.points], boxes)


def _mask_row(row: dict[str, Any], n: int) -> Example:
    question = read_question(row["text"])
    rgb = _picture(row["image"])
    mask = _mask(row["mask"])
    if mask.shape != rgb.shape[:2]:
        turned = "; the picture is turned by its EXIF tag: use LISA's files" if mask.T.shape == rgb.shape[:2] else ""
        raise unusable(
            f"got a mask of {mask.shape[1]} x {mask.shape[0]} pixels, want the picture's "
            f"{rgb.shape[1]} x {rgb.shape[0]}{turned or '; make it anew'}"
        )
    id = row.get("ann_id") or row.get("image_id") or n
    return Example(str(id), question, rgb, **example_parts(mask))


def _picture(value: object) -> NDArray[np.uint8]:
    content = value.get("bytes") if isinstance(value, dict) else None
    if not isinstance(content, bytes):
        raise unusable("got no picture inside the data set (a path only, or none); save it with its pictures embedded")
    if len(content) > MAX_COMPRESSED_BYTES:
        raise unusable(f"got a picture of {len(content)} bytes, want at most {MAX_COMPRESSED_BYTES}")
    return decode_compressed(content, 0).rgb


def _mask(value: object) -> Mask:
    """Return a mask column's value: rows of true and false, or a picture, black being the background."""
    if isinstance(value, dict):
        return np.asarray(_picture(value).any(axis=2))
    try:
        mask = np.asarray(value)
    except ValueError:
        mask = np.empty(0)
    if mask.ndim != 2 or mask.dtype.kind not in "biu":
        raise unusable("got a mask that is no table of true and false with rows of one length; make it anew")
    return mask.astype(bool)
