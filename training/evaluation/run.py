"""Asks the robot's own pipeline every question of a data set and scores the answers; no sample is ever dropped.

Whatever goes wrong with a sample (its row cannot be read, its question is too long, an engine raises, the time is up)
ends in a record with the code of that failure, which is a wrong answer.
"""

import time
from collections.abc import Callable, Iterator
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from segzero_ros.answer import clean_text
from segzero_ros.command import Command, read_command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.matching import all_matched, overlap
from segzero_ros.pipeline import Pipeline, Segmentation, unanswered
from training.data.base import Example, Examples
from training.evaluation.record import STAGES, Record, pack_labels

Mask = NDArray[np.bool_]

TokensOf = Callable[[str], int]
_THINK, _END = "<think>", "</think>"
_MAX_DETAIL_CHARS = 500


def ask_all(
    pipeline: Pipeline,
    examples: Examples,
    seen: Callable[[Record], None],
    *,
    start: int = 0,
    timeout_sec: float = 0.0,
    tokens_of: TokensOf | None = None,
) -> Iterator[Record]:
    """Ask every question from ``start`` on and score its answer; ``seen`` gets each record at once.

    ``timeout_sec``: a question's deadline, 0 = none. ``tokens_of``: how many tokens a text has, the same for every
    engine; without it the thinking is counted by streamed pieces, of which a server may put several tokens into one.
    """
    for number in range(start, len(examples)):
        record = ask(pipeline, examples, number, timeout_sec, tokens_of)
        seen(record)
        yield record


def ask(
    pipeline: Pipeline,
    examples: Examples,
    number: int,
    timeout_sec: float = 0.0,
    tokens_of: TokensOf | None = None,
) -> Record:
    """Return what becomes of one sample."""
    try:
        example = examples[number]
    except RejectedInput as error:
        return unread(number, error)
    except Exception as error:  # noqa: BLE001 - one row that breaks its reader is a wrong answer, not the end of the run
        return unread(number, RejectedInput(Code.INTERNAL, _error_text(error)))
    try:
        command = read_command(example.question, f"sample-{number}")
    except RejectedInput as error:
        nobody = Command(f"sample-{number}", clean_text(example.question)[:100])
        return score(number, example, unanswered(nobody, error.code, error.detail, Frame(example.rgb, 0)), 0)
    listener = Listener()
    deadline_ns = time.monotonic_ns() + int(timeout_sec * 1e9) if timeout_sec else None
    frame = Frame(np.ascontiguousarray(example.rgb), 0)
    try:
        result = pipeline.ground(frame, command, deadline_ns=deadline_ns, on_text=listener.pieces.append)
    except Exception as error:  # noqa: BLE001 - a defect of ours is a wrong answer, too
        result = unanswered(command, Code.INTERNAL, _error_text(error), frame)
    thinking = tokens_of(listener.thinking) if tokens_of else listener.thinking_tokens
    return score(number, example, result, thinking)


class Listener:
    """Hears a streamed answer and counts the pieces that lie between its thinking tags.

    An engine streams one piece per token; a character of several tokens (emoji, say) counts once.
    """

    def __init__(self) -> None:
        self.pieces: list[str] = []

    @property
    def thinking(self) -> str:
        """The text between the tags, or from the opening one on."""
        _, _, rest = "".join(self.pieces).partition(_THINK)
        return rest.partition(_END)[0]

    @property
    def thinking_tokens(self) -> int:
        """Pieces that begin behind the opening tag and before the closing one, or the end."""
        text = "".join(self.pieces)
        opening, closing = text.find(_THINK), text.find(_END)
        if opening < 0:
            return 0
        start, end = opening + len(_THINK), closing if closing >= 0 else len(text)
        begins = accumulate((len(piece) for piece in self.pieces), initial=0)
        return sum(start <= begin < end for begin in begins)


def unread(number: int, error: RejectedInput) -> Record:
    """Return the record of a sample whose row could not be read: wrong, and nothing known of its truth."""
    nothing = dict.fromkeys(("intersection", "union", "filled_intersection", "filled_union"))
    return Record(
        number=number,
        id=f"row {number}",
        kind="",
        text="",
        unseen_pair=False,
        unseen_wording=False,
        code=error.code.name,
        detail=error.detail,
        answer="",
        boxes=(),
        points=(),
        scores=(),
        true_boxes=(),
        matched=False,
        absent=None,
        found_pixels=0,
        tokens=0,
        thinking_tokens=0,
        milliseconds=dict.fromkeys(STAGES, 0.0),
        labels="",
        **nothing,
    )


def score(number: int, example: Example, result: Segmentation, thinking_tokens: int) -> Record:
    """Compare an answer with the truth."""
    boxes = tuple(instance.box for instance in result.instances)
    found = result.labels > 0
    return Record(
        number=number,
        id=example.id,
        kind=example.kind,
        text=example.question,
        unseen_pair=example.unseen_pair,
        unseen_wording=example.unseen_wording,
        code=result.code.name,
        detail=result.detail,
        answer=result.text,
        boxes=boxes,
        points=tuple(instance.point for instance in result.instances),
        scores=tuple(round(instance.score, 4) for instance in result.instances),
        true_boxes=tuple(example.boxes),
        matched=all_matched(boxes, example.boxes),
        absent=not example.boxes and (example.mask is None or not example.mask.any()),
        found_pixels=int(np.count_nonzero(found)),
        tokens=result.timing.tokens,
        thinking_tokens=thinking_tokens,
        milliseconds={stage: round(getattr(result.timing, stage), 2) for stage in STAGES},
        labels=pack_labels(result.labels),
        **mask_overlaps(found, example.mask, example.ignore),
    )


def mask_overlaps(found: Mask, true: Mask | None, ignore: Mask | None) -> dict[str, int | None]:
    """Return intersection and union in both protocols for ignore pixels (see ``Record``); all (H, W) of one picture."""
    if true is None:
        return dict.fromkeys(("intersection", "union", "filled_intersection", "filled_union"))
    known = np.ones_like(true) if ignore is None else ~ignore
    both, either = overlap(found & known, true & known)
    filled_both, filled_either = overlap(found, true if ignore is None else true | ignore)
    return {
        "intersection": both,
        "union": either,
        "filled_intersection": filled_both,
        "filled_union": filled_either,
    }


def _error_text(error: Exception) -> str:
    return clean_text(f"{type(error).__name__}: {error}")[:_MAX_DETAIL_CHARS]
