"""What became of one sample of an evaluation, as a line of JSON and back.

A file of samples begins with a line about the run (``{"run": ...}``) and has one line per sample after it, written as
soon as the sample is answered: what a killed run leaves can be read, gone on with and compared.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.matching import Box, ratio

READABLE = ("OK", "NO_TARGET")
STAGES = ("first_token_ms", "reasoning_ms", "segmentation_ms", "total_ms")


@dataclass(frozen=True, slots=True)
class Record:
    """What became of one sample.

    ``kind``: of question, "" where the data has none. ``unseen_*``: kept out of training. ``boxes``, ``points``,
    ``scores``: of each instance found; ``true_boxes``: of each object meant; source pixels. ``matched``: all boxes
    paired one to one with IoU > 0.5. ``absent``: nothing is meant; None where the sample could not be read.
    ``found_pixels``: of all masks. ``intersection``, ``union``: pixels of the union of all masks found and of all true
    ones, ignore pixels left out of both (LISA); ``filled_*``: ignore pixels counted as object (Seg-Zero's data);
    None where the truth has no mask. ``milliseconds``: by stage. ``labels``: the label image as PNG in base64, "" for
    no masks.
    """

    number: int
    id: str
    kind: str
    text: str
    unseen_pair: bool
    unseen_wording: bool
    code: str
    detail: str
    answer: str
    boxes: tuple[Box, ...]
    points: tuple[tuple[float, float], ...]
    scores: tuple[float, ...]
    true_boxes: tuple[Box, ...]
    matched: bool
    absent: bool | None
    found_pixels: int
    intersection: int | None
    union: int | None
    filled_intersection: int | None
    filled_union: int | None
    tokens: int
    thinking_tokens: int
    milliseconds: Mapping[str, float]
    labels: str

    @property
    def readable(self) -> bool:
        """Whether the answer followed the grammar and led to masks, or to a "no such object"."""
        return self.code in READABLE

    @property
    def right(self) -> bool:
        """Whether it found just what was meant."""
        return self.readable and self.matched

    @property
    def says_nothing(self) -> bool:
        """Whether it is a readable answer without a pixel: GRES's "empty prediction"."""
        return self.readable and self.found_pixels == 0

    @property
    def says_something(self) -> bool:
        """Whether it is a readable answer with a mask."""
        return self.readable and self.found_pixels > 0

    @property
    def has_mask(self) -> bool:
        """Whether its mask IoU counts: the truth has a mask, or the sample could not be read and is wrong anyway."""
        return self.union is not None or self.absent is None

    @property
    def iou(self) -> float:
        """Mask IoU 0..1 without ignore pixels; 0 for an answer that could not be read, 1 for a rightly empty one."""
        return _iou(self, self.intersection, self.union)

    @property
    def filled_iou(self) -> float:
        """Mask IoU 0..1 with ignore pixels counted as object."""
        return _iou(self, self.filled_intersection, self.filled_union)

    @property
    def has_ignored(self) -> bool:
        """Whether ignore pixels made a difference."""
        return (self.intersection, self.union) != (self.filled_intersection, self.filled_union)

    def line(self) -> str:
        """Return the record as one line of JSON, with what is derived from it."""
        return json.dumps(asdict(self) | {"right": self.right, "iou": round(self.iou, 4)})


Records = Sequence[Record]
_LISTS = ("boxes", "points", "true_boxes")


def _iou(record: Record, intersection: int | None, union: int | None) -> float:
    return ratio(intersection, union) if record.readable and intersection is not None and union is not None else 0.0


def read_line(line: str) -> Record:
    """Return the record of one line; ValueError, KeyError or TypeError when it is none."""
    values = json.loads(line)
    given: dict[str, Any] = {field.name: values[field.name] for field in fields(Record)}
    for name, value in given.items():
        if not _is_of(name, value):
            raise ValueError(f"{name} is {value!r:.60}")
    if not len(given["boxes"]) == len(given["points"]) == len(given["scores"]):
        raise ValueError("boxes, points and scores of different objects")
    base64.b64decode(given["labels"], validate=True)
    for name in _LISTS:
        given[name] = tuple(tuple(one) for one in given[name])
    return Record(**given | {"scores": tuple(given["scores"])})


_TYPES = {field.name: field.type for field in fields(Record)}
_LENGTHS = {"boxes": 4, "true_boxes": 4, "points": 2}
_AS_SAID = ("answer", "detail")  # a model can write half a character
_LARGEST = 1e15  # of any number: pixels, tokens, ms


def _is_of(name: str, value: Any) -> bool:
    """Whether a value of JSON is of the type of the record's field ``name``."""
    kind = _TYPES[name]
    if name in _LENGTHS:
        return isinstance(value, list) and all(_are_numbers(one, _LENGTHS[name]) for one in value)
    if name == "scores":
        return isinstance(value, list) and _are_numbers(value, len(value))
    if name == "milliseconds":
        return isinstance(value, dict) and {*STAGES} <= value.keys() and _are_numbers([*value.values()], len(value))
    if value is None:
        return kind in (int | None, bool | None)
    if kind in (int, int | None):
        return type(value) is int and abs(value) < _LARGEST
    if kind in (bool, bool | None):
        return type(value) is bool
    return isinstance(value, str) and (name in _AS_SAID or value.isascii() or bool(value.encode()))


def _are_numbers(values: Any, count: int) -> bool:
    if not isinstance(values, list) or len(values) != count:
        return False
    return all(type(one) in (int, float) and abs(one) < _LARGEST for one in values)  # NaN is not below anything


def read_samples(path: Path) -> tuple[dict[str, Any], list[Record]]:
    """Return what a file of samples says of its run, and its records; a last line cut short by a kill is left out.

    Raises ``RejectedInput`` CONFIG_VALUE for a file that is none, naming the line.
    """
    whole = whole_lines(path).splitlines()
    run = _run_of(whole[0]) if whole else None
    if run is None:
        raise _no_samples(path, 1, 'want {"run": ...}')
    records = []
    for number, line in enumerate(whole[1:], start=2):
        try:
            records.append(read_line(line))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _no_samples(path, number, f"{type(error).__name__}: {error}"[:200]) from None
    return run, records


def whole_lines(path: Path) -> str:
    """Return the file's text up to its last line feed."""
    try:
        if path.exists() and not path.is_file():  # a device may never end, a pipe never begin
            raise OSError("it is no file")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise RejectedInput(
            Code.CONFIG_VALUE, f"could not read {str(path)!r} ({why}); give a file of `segzero eval --samples FILE`"
        ) from None
    return text[: text.rfind("\n") + 1]


def _run_of(line: str) -> dict[str, Any] | None:
    try:
        run = json.loads(line)["run"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return run if isinstance(run, dict) else None


def _no_samples(path: Path, number: int, why: str) -> RejectedInput:
    return RejectedInput(
        Code.CONFIG_VALUE,
        f"got {str(path)!r}, whose line {number} is none of an evaluation's ({why}); "
        "give a file of `segzero eval --samples FILE`",
    )


def pack_labels(labels: NDArray[np.uint8] | NDArray[np.uint16]) -> str:
    """Return a label image (H, W) as PNG in base64, "" when all of it is 0."""
    if not labels.any():
        return ""
    return base64.b64encode(np.asarray(cv2.imencode(".png", labels)[1]).tobytes()).decode("ascii")


def unpack_labels(packed: str, size: tuple[int, int]) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the label image (H, W) of ``pack_labels``; zeros of (width, height) for ""."""
    if not packed:
        return np.zeros(size[::-1], np.uint8)
    data = np.frombuffer(base64.b64decode(packed), np.uint8)
    labels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if labels is None:
        raise ValueError("got labels that are no PNG")
    return np.asarray(labels, np.uint16 if labels.dtype == np.uint16 else np.uint8)
