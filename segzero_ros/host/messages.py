"""What node and host say to each other: one class per message, each field with its check.

Times are durations in ms: the two ends need no common clock.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from segzero_ros.command import MAX_COMMAND_CHARS
from segzero_ros.errors import Code
from segzero_ros.frame import MAX_PIXELS, MAX_SIDE

MAX_SLOTS = 320
MAX_TEXT_CHARS = 1 << 20
MAX_NAME_CHARS = 4096
MAX_INSTANCES = 1024
MAX_QUESTION_CHARS = 8192  # of a rendered question: the longest prompt and command have under 1,500
MAX_STOPS = 4  # OpenAI's limit
MAX_STOP_CHARS = 64
MAX_TARGETS = 64
MAX_TARGET_POINTS = 64
MAX_WAITING = 256  # questions of all clients together
_MOST = (1 << 63) - 1

Check = Callable[[Any], Any]


class ProtocolError(Exception):
    """The other end does not speak this protocol; the connection is of no more use."""


def _whole(low: int, high: int) -> Check:
    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"{str(value)[:40]!r}, want a whole number {low}..{high}")
        return value

    return check


def _number(low: float, high: float) -> Check:
    def check(value: Any) -> float:
        if type(value) not in (int, float) or not math.isfinite(value) or not low <= value <= high:
            raise ValueError(f"{str(value)[:40]!r}, want a number {low:g}..{high:g}")
        return float(value)

    return check


def _text(most: int) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, str) or len(value) > most:
            raise ValueError(f"no text of at most {most} characters")
        value.encode()  # a lone surrogate is a ValueError
        return value

    return check


def _one_of(*choices: Any) -> Check:
    def check(value: Any) -> Any:
        if not isinstance(value, (str, int)) or value not in choices:
            raise ValueError(f"{str(value)[:40]!r}, want one of {choices}")
        return value

    return check


def _maybe(inner: Check) -> Check:
    return lambda value: None if value is None else inner(value)


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{str(value)[:40]!r}, want true or false")
    return value


def _numbers(value: Any) -> list[int]:
    """Ids of followed objects."""
    if not isinstance(value, list) or len(value) > MAX_INSTANCES:
        raise ValueError(f"no list of at most {MAX_INSTANCES} ids")
    return [_whole(0, _MOST)(one) for one in value]


_TRACK: tuple[Check, ...] = (_whole(1, _MOST), *(_number(-1e9, 1e9) for _ in range(4)))


def _tracks(value: Any) -> list[list[Any]]:
    """Rows of id, score, presence, and x and y of the mask's inner point."""
    if not isinstance(value, list) or len(value) > MAX_INSTANCES:
        raise ValueError(f"no list of at most {MAX_INSTANCES} tracks")
    for row in value:
        if not isinstance(row, list) or len(row) != len(_TRACK):
            raise ValueError(f"a track that has not {len(_TRACK)} values")
    return [[check(one) for check, one in zip(_TRACK, row, strict=True)] for row in value]


def _settings(value: Any) -> dict[str, Any]:
    """An object of names and plain values."""
    if not isinstance(value, dict) or len(value) > 64:
        raise ValueError("no object of settings")
    for name, one in value.items():
        if not isinstance(one, (str, int, float)) or len(name) > 64:
            raise ValueError(f"the setting {name[:40]!r} that is no plain value")
    return value


_COORDINATE = _number(-1e9, 1e9)
_INSTANCE: tuple[Check, ...] = (_text(MAX_NAME_CHARS), _number(-1e9, 1e9), *(_COORDINATE,) * 6, _whole(1, 65535))


_ROW = (*(_COORDINATE,) * 4,)


def _targets(value: Any) -> list[list[Any]]:
    """Rows of x0, y0, x1, y1, and two lists x, y, x, y, ...: points on the object, and off it."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_TARGETS:
        raise ValueError(f"no list of 1 to {MAX_TARGETS} targets")
    for row in value:
        if not isinstance(row, list) or len(row) != len(_ROW) + 2:
            raise ValueError(f"a target that has not {len(_ROW) + 2} values")
    return [
        [*(check(one) for check, one in zip(_ROW, row, strict=False)), *(_points(flat) for flat in row[len(_ROW) :])]
        for row in value
    ]


def _points(value: Any) -> list[float]:
    if not isinstance(value, list) or len(value) % 2 or len(value) > 2 * MAX_TARGET_POINTS:
        raise ValueError(f"no list of at most {MAX_TARGET_POINTS} points")
    return [_COORDINATE(one) for one in value]


def _texts(value: Any) -> list[str]:
    """A few short texts."""
    if not isinstance(value, list) or len(value) > MAX_STOPS:
        raise ValueError(f"no list of at most {MAX_STOPS} texts")
    return [_text(MAX_STOP_CHARS)(one) for one in value]


def _timings(value: Any) -> dict[str, float]:
    """Milliseconds by what they were spent on."""
    if not isinstance(value, dict) or len(value) > 64:
        raise ValueError("no object of times")
    return {_text(64)(name): _MS(one) for name, one in value.items()}


def _instances(value: Any) -> list[list[Any]]:
    """Rows of label, score, x0, y0, x1, y1, x, y, mask index."""
    if not isinstance(value, list) or len(value) > MAX_INSTANCES:
        raise ValueError(f"no list of at most {MAX_INSTANCES} instances")
    for row in value:
        if not isinstance(row, list) or len(row) != len(_INSTANCE):
            raise ValueError(f"an instance that has not {len(_INSTANCE)} values")
    return [[check(one) for check, one in zip(_INSTANCE, row, strict=True)] for row in value]


def _checked(check: Check, **default: Any) -> Any:
    """A field that takes what ``check`` returns and refuses what it raises ``ValueError`` for."""
    return field(metadata={"check": check}, **default)


_ID = _whole(0, _MOST)
_NAME = _text(MAX_NAME_CHARS)
_LONG = _text(MAX_TEXT_CHARS)
_SIDE = _whole(1, MAX_SIDE)
_CODE = _one_of(*(int(code) for code in Code))
_FAULT = _one_of(*(int(code) for code in Code if code is not Code.OK))
_MS = _number(-1e12, 1e12)
_STAGE = _one_of("reasoning", "segmenting")


class Message:
    """The base of all messages."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Hello(Message):
    """First word of either end. ``version``: of the package. ``name``: who speaks, for logs."""

    protocol: int = _checked(_whole(0, 1 << 31))
    version: str = _checked(_text(100))
    name: str = _checked(_NAME)


# ---- from the node ----


@dataclass(frozen=True, slots=True)
class Open(Message):
    """Open these engines; ``options``: of ``EngineOptions``. Only whoever started the host may say it.

    ``reasoner_only``: no segmenter, for ``Ask`` with messages that come rendered. ``segmenter_only``: no reasoner, for
    ``Prompt``. ``most_waiting``: in the queue.
    """

    bundle: str = _checked(_NAME)
    backend: str = _checked(_text(100))
    options: dict[str, Any] = _checked(_settings)  # noqa: RUF009 - a field, by another name
    self_test: bool = _checked(_flag)
    reasoner_only: bool = _checked(_flag, default=False)
    segmenter_only: bool = _checked(_flag, default=False)
    most_waiting: int = _checked(_whole(1, MAX_WAITING), default=16)


@dataclass(frozen=True, slots=True)
class Map(Message):
    """Shared memory for pixels, its file descriptor beside this message; ``pixels``: that a slot holds."""

    ring: int = _checked(_ID)
    slots: int = _checked(_whole(1, MAX_SLOTS))
    pixels: int = _checked(_whole(1, 2 * MAX_PIXELS))


@dataclass(frozen=True, slots=True)
class Picture(Message):
    """A frame lies in a slot now. ``number`` names it from here on."""

    number: int = _checked(_ID)
    ring: int = _checked(_ID)
    slot: int = _checked(_whole(0, MAX_SLOTS - 1))
    width: int = _checked(_SIDE)
    height: int = _checked(_SIDE)
    stamp_ns: int = _checked(_whole(-_MOST, _MOST))
    frame_id: str = _checked(_NAME)


@dataclass(frozen=True, slots=True)
class Ground(Message):
    """Ground a command on a picture; ends with one ``Result``. ``timeout_ms``: from now on."""

    id: int = _checked(_ID)
    picture: int = _checked(_ID)
    command_id: str = _checked(_NAME)
    text: str = _checked(_text(MAX_COMMAND_CHARS))
    budget: int = _checked(_whole(0, 1 << 20))
    label: str = _checked(_NAME)
    timeout_ms: float | None = _checked(_maybe(_MS))


@dataclass(frozen=True, slots=True)
class Ask(Message):
    """Ask the reasoner alone; ends with one ``Answered`` or ``Refused``. Only whoever started the host may say it.

    ``client``, ``peer``: whose turn it is, see ``host/fair_queue.py``. ``text``: the rendered question. ``budget``:
    thinking tokens. ``most_pieces``, ``stops``: the answer ends after so many pieces (None = all), or behind one of
    these texts. ``timeout_ms``: from now on.
    """

    id: int = _checked(_ID)
    picture: int = _checked(_ID)
    client: str = _checked(_NAME)
    peer: str = _checked(_NAME)
    command_id: str = _checked(_NAME)
    text: str = _checked(_text(MAX_QUESTION_CHARS))
    budget: int = _checked(_whole(0, 1 << 20))
    most_pieces: int | None = _checked(_maybe(_whole(1, 1 << 20)))
    stops: list[str] = _checked(_texts)  # noqa: RUF009
    timeout_ms: float | None = _checked(_maybe(_MS))


@dataclass(frozen=True, slots=True)
class Prompt(Message):
    """Mask what a person points at, by the segmenter alone; ends with one ``Result``. ``timeout_ms``: from now on.

    ``targets``: see ``Target``. ``text``: what they are meant for.
    """

    id: int = _checked(_ID)
    picture: int = _checked(_ID)
    command_id: str = _checked(_NAME)
    text: str = _checked(_text(MAX_COMMAND_CHARS))
    targets: list[list[Any]] = _checked(_targets)  # noqa: RUF009
    timeout_ms: float | None = _checked(_maybe(_MS))


@dataclass(frozen=True, slots=True)
class Look(Message):
    """Prefill a picture; ends with one ``Looked``."""

    id: int = _checked(_ID)
    picture: int = _checked(_ID)


@dataclass(frozen=True, slots=True)
class Track(Message):
    """Follow objects to a picture; ends with one ``Tracked``.

    ``starts``: objects 1..n of the label image in the picture's slot, ``labels`` bytes per pixel, that are followed
    from it on; 0 = find those that are followed already. ``fresh``: forget all before. ``forget``: their ids.
    """

    id: int = _checked(_ID)
    picture: int = _checked(_ID)
    fresh: bool = _checked(_flag)
    starts: int = _checked(_whole(0, MAX_INSTANCES))
    labels: int = _checked(_one_of(0, 1, 2))
    forget: list[int] = _checked(_numbers)  # noqa: RUF009


@dataclass(frozen=True, slots=True)
class Cancel(Message):
    """End that command soon; its ``Result`` still comes."""

    id: int = _checked(_ID)


@dataclass(frozen=True, slots=True)
class Ping(Message):
    """Are you there?"""

    number: int = _checked(_ID)


# ---- from the host ----


@dataclass(frozen=True, slots=True)
class Loading(Message):
    """What the host does before its engines are open."""

    what: str = _checked(_NAME)


@dataclass(frozen=True, slots=True)
class Opened(Message):
    """The engines are open. ``digest``: SHA-256 of the bundle's manifest. ``engines``: which ones and why."""

    bundle: str = _checked(_NAME)
    digest: str = _checked(_text(64))
    profile: str = _checked(_NAME)
    engines: str = _checked(_LONG)
    seconds: float = _checked(_MS)


@dataclass(frozen=True, slots=True)
class Fault(Message):
    """The host is of no use to this client; the connection ends."""

    code: int = _checked(_FAULT)
    detail: str = _checked(_LONG)


@dataclass(frozen=True, slots=True)
class Stage(Message):
    """A command has got so far."""

    id: int = _checked(_ID)
    stage: str = _checked(_STAGE)


@dataclass(frozen=True, slots=True)
class Text(Message):
    """More of a command's answer. ``pieces``: of the engine, that are joined here."""

    id: int = _checked(_ID)
    text: str = _checked(_LONG)
    pieces: int = _checked(_whole(1, MAX_TEXT_CHARS), default=1)


@dataclass(frozen=True, slots=True)
class Result(Message):
    """The end of a command. ``labels``: bytes per pixel of the label image in the picture's slot, 0 = all zero.

    ``queue_ms``: that it waited for other clients' commands.
    """

    id: int = _checked(_ID)
    code: int = _checked(_CODE)
    detail: str = _checked(_LONG)
    reasoning: str = _checked(_LONG)
    text: str = _checked(_LONG)
    instances: list[list[Any]] = _checked(_instances)  # noqa: RUF009
    labels: int = _checked(_one_of(0, 1, 2))
    queue_ms: float = _checked(_MS)
    first_token_ms: float = _checked(_MS)
    reasoning_ms: float = _checked(_MS)
    segmentation_ms: float = _checked(_MS)
    total_ms: float = _checked(_MS)
    tokens: int = _checked(_whole(0, (1 << 32) - 1))
    degraded: str = _checked(_LONG)


@dataclass(frozen=True, slots=True)
class Answered(Message):
    """The end of an ``Ask``: what ``Answer`` has beside its text, which came before."""

    id: int = _checked(_ID)
    tokens: int = _checked(_whole(0, (1 << 32) - 1))
    confidence: float = _checked(_number(-1e9, 1e9))
    timings_ms: dict[str, float] = _checked(_timings)  # noqa: RUF009
    finish: str = _checked(_one_of("stop", "budget", "deadline", "cancelled"))
    steps: int = _checked(_whole(0, (1 << 32) - 1))


@dataclass(frozen=True, slots=True)
class Refused(Message):
    """The end of an ``Ask`` without an answer.

    ``why``: "queue" and "client", where too many wait, of all or of this client; "stopping"; "question", where it is
    at fault itself, or its deadline; "engine".
    """

    id: int = _checked(_ID)
    why: str = _checked(_one_of("queue", "client", "stopping", "question", "engine"))
    code: int = _checked(_FAULT)
    detail: str = _checked(_LONG)


@dataclass(frozen=True, slots=True)
class Looked(Message):
    """The end of a ``Look``; ``detail``: why it failed, "" = it did not."""

    id: int = _checked(_ID)
    detail: str = _checked(_LONG)


@dataclass(frozen=True, slots=True)
class Tracked(Message):
    """The end of a ``Track``: ``code`` 0 and rows of id, score and presence, or why not.

    ``labels``: as ``Result``'s; k is the object of the k-th row. Of objects that begin, score and presence are 0.
    ``how``: ``Tracker.kind`` of the host's.
    """

    id: int = _checked(_ID)
    code: int = _checked(_CODE)
    detail: str = _checked(_LONG)
    how: str = _checked(_text(100))
    tracks: list[list[Any]] = _checked(_tracks)  # noqa: RUF009
    labels: int = _checked(_one_of(0, 1, 2))


@dataclass(frozen=True, slots=True)
class Pong(Message):
    """Yes. ``running_ms``: for how long the present command has been at work, 0 = none is."""

    number: int = _checked(_ID)
    running_ms: float = _checked(_MS)
    waiting: int = _checked(_ID)
    degraded: str = _checked(_LONG)


KINDS: Mapping[str, type[Message]] = MappingProxyType({kind.__name__: kind for kind in Message.__subclasses__()})
