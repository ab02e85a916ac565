"""A command: what a person wants found, cleaned, and the life cycle it goes through."""

import enum
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from segzero_ros.errors import Code, RejectedInput

MAX_COMMAND_CHARS = 500  # a spoken sentence has under 200; the rest of the model's context belongs to image and answer
_MAX_RAW_CHARS = 8 * MAX_COMMAND_CHARS  # refused unread beyond this, so that a 10 MB string costs nothing
_JOINERS = "\u200c\u200d"  # shape Persian, Indic and emoji words: kept, where all other format characters go
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs"})  # controls; bidi, tags and zero-width format characters; lone surrogates


class Stage(str, enum.Enum):  # StrEnum is missing in Python 3.10, that of ROS 2 Humble
    """Where a command is; ``TRANSITIONS`` says where it may go from there."""

    QUEUED = "queued"
    REASONING = "reasoning"
    SEGMENTING = "segmenting"
    DONE = "done"

    __str__ = str.__str__


# The whole life cycle. Every command starts QUEUED and reaches DONE exactly once; the code says how it ended.
# It may end in any stage (refused, cancelled, preempted, failed), and never goes back.
TRANSITIONS: Mapping[Stage, frozenset[Stage]] = MappingProxyType(
    {
        Stage.QUEUED: frozenset({Stage.REASONING, Stage.DONE}),
        Stage.REASONING: frozenset({Stage.SEGMENTING, Stage.DONE}),
        Stage.SEGMENTING: frozenset({Stage.DONE}),
        Stage.DONE: frozenset(),
    }
)


@dataclass(frozen=True, slots=True)
class Command:
    """A cleaned command: ``text`` is one printable line of 1..MAX_COMMAND_CHARS characters, valid UTF-8, no NUL."""

    id: str
    text: str


def read_command(text: str, id: str) -> Command:
    """Clean ``text`` and make it a command, or raise ``RejectedInput`` (COMMAND_EMPTY, _TOO_LONG, _UNREADABLE).

    The text is cut at the first NUL (as ROS does), white space becomes single spaces, and control, bidi, tag and
    surrogate characters go: they can hide words from the person who reads the log. Spelling a model's special tokens
    is no fault here; the tokenizer encodes user text with special tokens off.
    """
    if not isinstance(text, str):
        raise RejectedInput(Code.COMMAND_UNREADABLE, f"got {type(text).__name__}, want text; send the command as str")
    text = text.partition("\0")[0]
    if len(text) > _MAX_RAW_CHARS:
        raise _too_long(len(text))
    cleaned = _printable(text)
    if not cleaned.strip(_JOINERS + " "):
        if text.strip():
            raise RejectedInput(
                Code.COMMAND_UNREADABLE,
                "got only control or invisible characters; say what to find, for example 'the red mug'",
            )
        raise RejectedInput(Code.COMMAND_EMPTY, "got an empty command; say what to find, for example 'the red mug'")
    if len(cleaned) > MAX_COMMAND_CHARS:
        raise _too_long(len(cleaned))
    return Command(id, cleaned)


def _printable(text: str) -> str:
    kept = (c for c in " ".join(text.split()) if c in _JOINERS or unicodedata.category(c) not in _UNPRINTABLE)
    return " ".join("".join(kept).split())


def _too_long(length: int) -> RejectedInput:
    return RejectedInput(
        Code.COMMAND_TOO_LONG, f"got {length} characters, want at most {MAX_COMMAND_CHARS}; say it in one sentence"
    )
