"""A command: what a person wants found, cleaned, and the life cycle it goes through."""

import enum
from dataclasses import dataclass


class Stage(enum.StrEnum):
    """Where a command is; ``TRANSITIONS`` says where it may go from there."""

    QUEUED = "queued"
    REASONING = "reasoning"
    SEGMENTING = "segmenting"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Command:
    """A cleaned command: ``text`` is one printable line of 1..MAX_COMMAND_CHARS characters, valid UTF-8, no NUL."""

    id: str
    text: str
