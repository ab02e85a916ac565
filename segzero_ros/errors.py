"""The outside's faults: one code per way an input can be refused or a command can end.

There are two kinds of failure. ``RejectedInput`` is the outside's fault: it is counted, reported and never fatal.
Any other exception is a defect of this package and has to fail a test.
"""

import enum
import re
from collections.abc import Iterable


class Code(enum.IntEnum):
    """How a command ended, or why an input was refused; same numbers in ``msg/Segmentation.msg`` and docs/codes.md."""

    OK = 0
    NO_TARGET = 1
    ANSWER_UNREADABLE = 2
    ANSWER_TRUNCATED = 3
    TIMEOUT = 4
    CANCELLED = 5
    PREEMPTED = 6
    BUSY = 7
    TRACK_HIDDEN = 8
    TRACK_LOST = 9

    COMMAND_EMPTY = 10
    COMMAND_TOO_LONG = 11
    COMMAND_UNREADABLE = 12

    IMAGE_ENCODING = 20
    IMAGE_SIZE = 21
    IMAGE_LAYOUT = 22
    IMAGE_UNREADABLE = 23
    NO_FRAME = 24
    STALE_FRAME = 25
    DEPTH_UNUSABLE = 26

    REASONER_FAILED = 30
    SEGMENTER_FAILED = 31
    SERVER_UNREACHABLE = 32
    SERVER_STALLED = 33
    SERVER_REFUSED = 34
    REASONER_DIED = 35
    ENGINE_COORDINATES = 36

    NOT_ACTIVE = 40
    UNSUPPORTED = 41
    LOADING = 42
    HOST_UNUSABLE = 43
    TRACK_REFUSED = 44
    TRACK_UNKNOWN = 45

    BUNDLE_MISSING = 50
    BUNDLE_FORMAT = 51
    BUNDLE_ALTERED = 52
    BUNDLE_PROFILE = 53
    BUNDLE_BACKEND = 54

    CONFIG_UNKNOWN = 60
    CONFIG_VALUE = 61

    INTERNAL = 99


ANSWERED = frozenset({Code.OK, Code.NO_TARGET})
"""The codes of a command that was carried out: only then a mask, empty or not, says something about the scene."""


class RejectedInput(Exception):
    """An input that cannot be used; ``code`` says which kind, ``detail`` what came, what was wanted, what to do.

    ``detail`` may quote what came: it is one printable line, whatever that holds, and so is the exception's text.
    """

    def __init__(self, code: Code, detail: str) -> None:
        detail = one_line(detail)
        super().__init__(f"{code.name}: {detail}")
        self.code = code
        self.detail = detail


_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean_text(text: str) -> str:
    """Return ``text`` as valid UTF-8 a ROS string takes and a terminal survives.

    Surrogate pairs become the character they mean, lone surrogates U+FFFD; NUL and the other control characters go,
    but for line feed and tab.
    """
    whole = text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _CONTROLS.sub("", whole)


def one_line(text: str) -> str:
    """Return ``text`` clean and in one line, for a log or a terminal: nothing in it begins another or turns it around.

    White space of every kind becomes a space; controls, bidi and other invisible characters go.
    """
    if text.isprintable():
        return text
    kept = (char if char.isprintable() else " " if char.isspace() else "" for char in clean_text(_spaced(text)))
    return "".join(kept)


def _spaced(text: str) -> str:
    return text.replace("\r", "\n").replace("\x85", "\n").replace("\x0b", "\n").replace("\x0c", "\n")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest of ``known``, or ``"; known: a, b"`` when nothing is close.

    To be appended to a sentence that says which name came.
    """
    import difflib  # a millisecond that most starts have no use for

    choices = sorted(known)
    close = difflib.get_close_matches(name[:100], choices, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(choices)}"
