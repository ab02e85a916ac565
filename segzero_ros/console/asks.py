"""What a page may ask, checked field by field; anything else is answered with one line and nothing is done."""

import json
from dataclasses import dataclass
from typing import Any

from segzero_ros.answer import Point, Target

MOST_TEXT = 4000  # characters of a command; the node itself says what is too long for it
MOST_OBJECTS, MOST_POINTS = 16, 32  # of one correction
LARGEST = 1e5  # coordinate
MOST_PCM_BYTES = 32_000  # one second of audio at 16 kHz


class BadAskError(Exception):
    """A page asked for something that cannot be; the text says what is wanted."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A command; ``track``: what it finds is followed."""

    text: str
    track: bool


@dataclass(frozen=True, slots=True)
class Stop:
    """End all work."""


@dataclass(frozen=True, slots=True)
class Save:
    """The recorder's button."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Ask what the recorder wrote last again."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture was shown."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Whether pictures are wanted: not by a page that nobody sees."""

    on: bool


@dataclass(frozen=True, slots=True)
class Talk:
    """Somebody begins or ends to speak."""

    on: bool


@dataclass(frozen=True, slots=True)
class Correct:
    """Mask ``targets`` on the picture of answer ``number``; ``serial``: of the question, for its reply."""

    number: int
    serial: int
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Keep:
    """Keep the last correction of answer ``number`` as a row for training."""

    number: int


PageAsk = Ask | Stop | Save | Replay | Seen | Watch | Talk | Correct | Keep
_PLAIN: dict[str, type[Stop | Save | Replay | Seen]] = {"stop": Stop, "save": Save, "replay": Replay, "seen": Seen}


def read_ask(text: str) -> PageAsk:
    """Return what a page asks; ``BadAskError`` for anything else."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        raise BadAskError("got a message that is no JSON") from None
    if not isinstance(given, dict):
        raise BadAskError("got a message that is no JSON object")
    kind = given.get("type")
    if isinstance(kind, str) and kind in _PLAIN:
        return _PLAIN[kind]()
    if kind == "ask":
        return Ask(_text(given, "text"), _flag(given, "track"))
    if kind == "watch":
        return Watch(_flag(given, "on"))
    if kind == "talk":
        return Talk(_flag(given, "on"))
    if kind == "correct":
        return Correct(_whole(given, "number"), _whole(given, "serial"), _targets(given.get("targets")))
    if kind == "keep":
        return Keep(_whole(given, "number"))
    raise BadAskError(f"got a message of type {str(kind)[:40]!r}, which is not known here")


def check_pcm(content: bytes) -> bytes:
    """Return audio if it is that: whole samples of 16 bits, at most a second; ``BadAskError``."""
    if not content or len(content) % 2 or len(content) > MOST_PCM_BYTES:
        raise BadAskError(f"got {len(content)} bytes of audio, want 2 to {MOST_PCM_BYTES}, two per sample")
    return content


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or len(value) > MOST_TEXT:
        raise BadAskError(f"got no {name} of at most {MOST_TEXT} characters")
    return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "")


def _whole(given: dict[str, Any], name: str) -> int:
    value = given.get(name)
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise BadAskError(f"got {str(value)[:40]!r} as {name}, want a whole number")
    return value


def _targets(value: Any) -> tuple[Target, ...]:
    """Read [{"box": [x0, y0, x1, y1], "on": [[x, y], ...], "off": [[x, y], ...]}, ...], pixels of the picture."""
    if not isinstance(value, list) or len(value) > MOST_OBJECTS or not all(isinstance(one, dict) for one in value):
        raise BadAskError(f"got no list of at most {MOST_OBJECTS} objects to correct")
    return tuple(_target(one) for one in value)


def _target(value: dict[str, Any]) -> Target:
    x0, y0, x1, y1 = _numbers(value.get("box"), 4)
    if not (x0 < x1 and y0 < y1):
        raise BadAskError("got a box without an area, want x0 < x1 and y0 < y1")
    on, off = (_points(value.get(name)) for name in ("on", "off"))
    return Target((x0, y0, x1, y1), on, off)


def _points(value: Any) -> tuple[Point, ...]:
    if not isinstance(value, list) or len(value) > MOST_POINTS:
        raise BadAskError(f"got no list of at most {MOST_POINTS} points")
    return tuple((x, y) for x, y in (_numbers(one, 2) for one in value))


def _numbers(value: Any, count: int) -> list[float]:
    if not isinstance(value, list) or len(value) != count:
        raise BadAskError(f"got no list of {count} numbers")
    if not all(type(one) in (int, float) and abs(one) < LARGEST for one in value):  # NaN is not below anything
        raise BadAskError(f"got numbers that are no pixels: {str(value)[:60]}")
    return [float(one) for one in value]


def _flag(given: dict[str, Any], name: str) -> bool:
    value = given.get(name)
    if not isinstance(value, bool):
        raise BadAskError(f"got {str(value)[:40]!r} as {name}, want true or false")
    return value
