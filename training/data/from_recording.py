"""`segzero data from-recording`: what went wrong on the robot becomes rows to label, what went well rows to check.

A failure, or an answer after which the button was pressed, has no truth in the recording: its row has
``"boxes": null``, which `segzero data check` names until a person has written what is right. What a person corrected
in the console has it: boxes and masks, the last correction of each answer. Answers are the model's
own words about itself; they are taken only when asked for (--answers), into a file of their own.
"""

from __future__ import annotations

import hashlib
import json
import re
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segzero_ros.cli.parser import NOT_OK, OK, Parser
from segzero_ros.errors import ANSWERED, Code, RejectedInput, clean_text
from segzero_ros.pipeline import Instance, Labels
from segzero_ros.recorder.commands import RecordedCommand, read_commands
from segzero_ros.recorder.reader import open_recording
from training.data.base import unusable
from training.data.plain import read_row

FAILED = frozenset({Code.ANSWER_UNREADABLE, Code.ANSWER_TRUNCATED, Code.TIMEOUT, Code.REASONER_FAILED})
TO_LABEL, ANSWERS, CORRECTED = "to_label.jsonl", "answers.jsonl", "corrected.jsonl"
EXAMPLES = (
    "segzero data from-recording ~/.local/state/segzero_ros/recordings/*.mcap --out hard",
    "segzero data check hard/to_label.jsonl",
)
ABOUT = (
    f"Make rows for training of recordings. Commands that failed, and answers after which the button was pressed "
    f"(service save_failure), go into {TO_LABEL} without boxes: write what is right, then `segzero data check` it. "
    f"Corrections (`segzero console`) go into {CORRECTED} as they are. "
    f"With --answers the other answers go into {ANSWERS}, as the model gave them: look at each before training on it."
)


def main(arguments: Sequence[str]) -> int:
    """Command line; 1 where the recordings have nothing to make rows of."""
    parser = Parser("segzero data from-recording", ABOUT, EXAMPLES)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a recording, .mcap")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for rows and pictures")
    parser.add_argument("--answers", action="store_true", help="what was answered, too, as the model gave it")
    options = parser.parse_args(arguments)
    counts = write_rows(_commands(options), options.out, with_answers=options.answers)
    print(
        f"{counts[TO_LABEL]} to label, {counts[CORRECTED]} corrected, {counts[ANSWERS]} answers, "
        f"{counts['no picture']} without a usable picture"
    )
    return OK if counts[TO_LABEL] + counts[CORRECTED] + counts[ANSWERS] else NOT_OK


def write_rows(commands: Iterable[RecordedCommand], folder: Path, *, with_answers: bool) -> dict[str, int]:
    """Write rows and pictures into a new folder; returns how many of which file, and how many had no picture."""
    counts = {TO_LABEL: 0, ANSWERS: 0, CORRECTED: 0, "no picture": 0}
    _make_empty(folder)
    for command in _last_corrections(commands):
        file = _file_of(command, with_answers)
        if not file:
            continue
        try:
            rgb, found = command.frame().rgb, (command.instances(), command.labels())
        except RejectedInput:
            counts["no picture"] += 1
            continue
        id, question = clean_text(command.id), clean_text(command.text)
        row = {"id": id, "image": _write_picture(folder, rgb), "question": question, "boxes": None}
        if file != TO_LABEL:
            row = _answered(folder, row, command, *found)
        else:
            why = "marked" if command.is_marked else command.code_name
            print(f"to label: {command.text!r} ({why}), {row['image']}")
        with (folder / file).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        counts[file] += 1
    return counts


def _commands(options: Namespace) -> Iterator[RecordedCommand]:
    for path in options.files:
        yield from read_commands(open_recording(path))


def _last_corrections(commands: Iterable[RecordedCommand]) -> Iterator[RecordedCommand]:
    """Yield the commands; of the corrections of one answer the last, behind all others."""
    corrected: dict[str, RecordedCommand] = {}
    for command in commands:
        if command.is_corrected:
            corrected[command.id] = command
        else:
            yield command
    yield from corrected.values()


def _file_of(command: RecordedCommand, with_answers: bool) -> str:
    """Return the file a command's row belongs to, "" = none: masks that were carried are of a later picture."""
    if not command.text or (command.code not in ANSWERED and command.code not in FAILED):
        return ""
    if command.is_corrected:
        return CORRECTED
    if command.code in FAILED or command.is_marked:
        return TO_LABEL
    return ANSWERS if with_answers and not command.is_carried else ""


def _answered(
    folder: Path, row: dict[str, Any], command: RecordedCommand, instances: Sequence[Instance], labels: Labels
) -> dict[str, Any]:
    """Return the row with the answer's boxes, and its masks where they agree with them."""
    row = {**row, "boxes": [list(one.box) for one in instances]}
    if set(np.unique(labels)) - {0} != set(range(1, len(row["boxes"]) + 1)) or not row["boxes"]:
        return row
    name = f"{_file_name(command.id)}{'-corrected' * command.is_corrected}"
    with_mask = {**row, "mask": f"masks/{name}.png"}
    _write_png(folder / with_mask["mask"], labels)
    try:
        read_row(folder, with_mask, command.id)
    except RejectedInput:
        (folder / with_mask["mask"]).unlink()
        return row
    return with_mask


def _file_name(id: str) -> str:
    """Return an id as a file name; what a recording calls an answer is not to say where a file goes."""
    is_plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", id)
    return id if is_plain else hashlib.sha256(id.encode("utf-8", "replace")).hexdigest()[:16]


def _write_picture(folder: Path, rgb: NDArray[np.uint8]) -> str:
    """Write a picture as the model saw it, once; return its name for a row."""
    name = f"images/{hashlib.sha256(rgb.tobytes()).hexdigest()[:16]}.png"
    if not (folder / name).exists():
        _write_png(folder / name, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return name


def _write_png(path: Path, pixels: NDArray[Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def _make_empty(folder: Path) -> None:
    """Make the folder; what has been labelled there by hand is never written over."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise unusable(f"{str(folder)!r} has files in it; name a new folder, what was labelled there is kept")
    except OSError as error:
        raise unusable(f"cannot write to {str(folder)!r} ({error.strerror}); name another folder") from None
