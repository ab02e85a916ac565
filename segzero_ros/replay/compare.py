"""One recorded command asked again: whether it can be, and what changed."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from segzero_ros.command import Command, read_command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.matching import mask_iou
from segzero_ros.pipeline import Instance, Pipeline, Segmentation
from segzero_ros.recorder.commands import RecordedCommand

REPEATABLE = frozenset(
    {Code.OK, Code.NO_TARGET, Code.ANSWER_UNREADABLE, Code.ANSWER_TRUNCATED, Code.REASONER_FAILED}
    | {Code.SEGMENTER_FAILED}
)
"""The codes that come of picture, words and models alone; the others come of the moment: time, load, the network."""
WORDS_ALONE = frozenset({Code.COMMAND_EMPTY, Code.COMMAND_TOO_LONG, Code.COMMAND_UNREADABLE})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of asking a command again: ``changes`` says what is different, or why it was not asked."""

    kind: Literal["same", "different", "not asked"]
    changes: tuple[str, ...] = ()


def replay(recorded: RecordedCommand, pipeline: Pipeline) -> Verdict:
    """Ask a command again, without a deadline, and compare the answers."""
    if recorded.code is None:
        return Verdict("not asked", ("it was not answered before the recording ends",))
    if recorded.is_corrected:
        return Verdict("not asked", ("a person corrected it",))
    if recorded.code in WORDS_ALONE:
        return _verdict(_code_change(recorded.code, _code_of_words(recorded)))
    if recorded.code not in REPEATABLE:
        return Verdict("not asked", (f"{recorded.code.name} comes of the moment, not of the picture",))
    if recorded.image is None:
        return Verdict("not asked", ("no picture was recorded with it",))
    try:
        frame = recorded.frame()
    except RejectedInput as error:
        return _verdict([f"the picture cannot be decoded any more: {error}"])
    try:
        return _verdict(changes(recorded, pipeline.ground(frame, Command(recorded.id, recorded.text))))
    except RejectedInput as error:
        return _verdict([f"the recorded answer cannot be read: {error}"])


def changes(recorded: RecordedCommand, now: Segmentation) -> list[str]:
    """Return what is different: code, raw text, boxes, points, scores, labels, masks; nothing where all is equal.

    Of an answer that was carried to a later frame, code and text only: the frames between were not recorded.
    """
    before = recorded.code
    found = _code_change(before, now.code) if before is not None else []
    if recorded.answer != now.text:
        found.append(f"text {_first_difference(recorded.answer, now.text)}")
    if recorded.is_carried:
        return found
    found += _instance_changes(recorded.instances(), now.instances)
    labels = recorded.labels()
    if labels.shape != now.labels.shape:
        found.append(f"mask of {now.labels.shape} pixels, was {labels.shape}")
    elif not np.array_equal(labels, now.labels):
        found.append(f"mask: IoU with the recorded one {mask_iou(labels > 0, now.labels > 0):.3f}")
    return found


def _instance_changes(before: tuple[Instance, ...], now: tuple[Instance, ...]) -> list[str]:
    if len(before) != len(now):
        return [f"{len(now)} objects, {len(before)} before"]
    found = []
    for k, (old, new) in enumerate(zip(before, now, strict=True), start=1):
        for name in ("box", "point", "score", "label"):
            was, is_ = getattr(old, name), _as_sent(getattr(new, name))
            if was != is_:
                found.append(f"{name} {k}: {_shown(is_)}, was {_shown(was)}")
    return found


def _as_sent(value: object) -> object:
    """Return a value as it comes out of a message: numbers of 32 bits."""
    if isinstance(value, tuple):
        return tuple(float(np.float32(number)) for number in value)
    return float(np.float32(value)) if isinstance(value, float) else value


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(f"{number:.1f}" for number in value)
    return f"{value:.4f}" if isinstance(value, float) else repr(value)


def _code_change(before: Code, now: Code) -> list[str]:
    return [f"code {now.name}, was {before.name}"] if now is not before else []


def _code_of_words(recorded: RecordedCommand) -> Code:
    try:
        read_command(recorded.words, recorded.id)
    except RejectedInput as error:
        return error.code
    return Code.OK


def _first_difference(before: str, now: str) -> str:
    at = next((k for k, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), min(len(before), len(now)))
    return f"from character {at} on: {now[at : at + 30]!r}, was {before[at : at + 30]!r}"


def _verdict(found: list[str]) -> Verdict:
    return Verdict("different" if found else "same", tuple(found))
