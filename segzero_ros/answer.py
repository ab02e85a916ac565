r"""A reasoner's text -> targets: the only parser, shared by the robot, training and evaluation.

The text is untrusted: pictures and commands can make a model write anything. One invariant: ``parse_answer`` returns
boxes that are finite, ordered and inside the image, at most MAX_TARGETS of them, or raises ``RejectedInput``.
It is linear in the text: tags are found in one pass (reasoner.py), and what stands between them is read token by token,
each character once. (Upstream's ``<answer>\s*(.*?)\s*</answer>`` is cubic on an unclosed tag followed by spaces.)

Read, because models write it: single quotes, code fences, words around the JSON, trailing commas, objects without their
list: side by side, line by line, a list or a fence each. Refused, because a robot must not guess: numbers that are not
plain (NaN, 1e999, true, "12", 5,000 digits), nesting, keys given twice, two boxes in one object, boxes without area
inside the image, half an answer of several objects, two answers, a box beside the JSON that is none of its own, tags of
thinking in another spelling.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from segzero_ros.errors import Code, RejectedInput, clean_text
from segzero_ros.profile import Profile
from segzero_ros.reasoner import CLOSE, END, OPEN, START, Finish, find_answer

MAX_TARGETS = 64  # more than a scene on a table holds; bounds the segmenter's batch
MAX_ANSWER_CHARS = 16_384  # 64 objects take about 6,000 characters; bounds the work per answer
_MAX_DEPTH = 4  # list, object, coordinates, and one to spare for a key we do not read
_MAX_SHOWN = 60  # characters of the model's text quoted in a detail
_BOX = "bbox"  # in the key of every box
_OPENING = re.compile(r"[\[{]")
_KEY = re.compile(r"""["'][^"'\n]{1,60}["']\s{0,9}:""")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_FOUR = re.compile(
    r"(?<![\w.])(?:-?[0-9]{1,9}(?:\.[0-9]{1,20})?[\s,;()\[\]]{1,9}){3}-?[0-9]{1,9}(?:\.[0-9]{1,20})?(?![\w.])"
)
_TAG_LIKE = re.compile(r"<\s{0,9}/?\s{0,9}(?:think|thinking|thought|thoughts|reasoning|answer)\s{0,9}>", re.IGNORECASE)

Value = float | str | None | list["Value"] | dict[str, "Value"]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Target:
    """One object the model points at.

    ``box``: (x0, y0, x1, y1) source pixels, half-open, x0 < x1, y0 < y1, inside the image. ``points``: one or two
    (x, y) on the object, source pixels, inside the image. ``off``: points that are not on it; models give none, people
    who correct a mask do, and any number of ``points``, or none.
    """

    box: tuple[float, float, float, float]
    points: tuple[Point, ...]
    off: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Parsed:
    """A readable answer: the thinking (clean text, may be empty) and the targets; no targets = "no such object"."""

    thinking: str
    targets: tuple[Target, ...]


def parse_answer(text: str, profile: Profile, source_size: tuple[int, int], *, finish: Finish = "stop") -> Parsed:
    """Read a model's whole text; coordinates come back in pixels of the source image of (width, height).

    Raises ``RejectedInput``: ANSWER_TRUNCATED when the generation was cut (``finish`` other than "stop") before the
    answer was complete, ANSWER_UNREADABLE for everything else that is no answer, an empty list included unless the
    profile abstains.
    """
    passage = find_answer(text, tags=profile.tags)
    body, closed = _unfence(passage.body) if passage else ("", False)
    whole = passage is not None and passage.whole
    try:
        if passage is None:
            raise _unreadable(_shown(text), "an answer behind the thinking")
        *earlier, body = body.split(START)
        if any(_BOX in answer for answer in earlier):
            raise _unreadable("several answers one after the other", "one, with all objects in it")
        if tag := next((tag for tag in _TAG_LIKE.findall(body) if tag not in (START, END)), None):
            raise _unreadable(f"{_shown(tag)} in the answer", f"thinking in {OPEN} and {CLOSE} before it")
        items = _items(_read(body), profile)
        parsed = Parsed(clean_text(passage.thinking).strip(), _targets(items, profile, source_size))
    except RejectedInput as error:
        if finish != "stop" and not (whole or (closed and not profile.tags)):
            raise _cut(text, finish) from error
        raise
    if finish != "stop" and not whole:  # what was cut may have held another object
        raise _cut(text, finish)
    return parsed


def split_thinking(text: str) -> tuple[str, str]:
    """Split a model's text, cleaned, complete or not, into (thinking, the rest from ``<answer>`` on).

    Without tags everything is the rest. For showing and logging; ``parse_answer`` is what reads.
    """
    start = text.find(OPEN)
    if start < 0:
        return "", text.strip()
    thinking, closing, rest = text[start + len(OPEN) :].rpartition(CLOSE)
    if not closing:
        thinking, rest = rest.partition(START)[0], ""
    return thinking.strip(), rest.strip()


def _unfence(text: str) -> tuple[str, bool]:
    """Return what stands in the ``` fences (all of the text where a box stands outside), and whether all are closed."""
    parts = text.split("```")
    closed = len(parts) > 1 and len(parts) % 2 == 1
    if not closed or any(_BOX in part or _KEY.search(part) or _FOUR.search(part) for part in parts[::2]):
        return " ".join(parts), closed
    return "\n".join(parts[1::2]), closed


# ---- the JSON as models write it ----

_TOKEN = re.compile(
    r"""[ \t\r\n]*(?:
      (?P<mark>[\[\]{}:,])
    | (?P<number>-?[0-9]{1,9}(?:\.[0-9]{1,20})?)(?![0-9A-Za-z_.+-])
    | "(?P<double>[^"\\]*(?:\\.[^"\\]*)*)"
    | '(?P<single>[^'\\]*(?:\\.[^'\\]*)*)'
    | (?P<word>true|false|null|True|False|None)\b
    )""",
    re.VERBOSE | re.DOTALL,
)


class _Reader:
    """Reads one value; every character is looked at once, because the first token that does not fit ends it."""

    def __init__(self, text: str, at: int) -> None:
        self.text = text
        self.at = at

    def value(self, depth: int = 0) -> Value:
        kind, word = self._next()
        if word == "[" and kind == "mark":
            return self._list(depth + 1)
        if word == "{" and kind == "mark":
            return self._dict(depth + 1)
        if kind == "number":
            return float(word)
        if kind in ("double", "single"):
            return word
        if kind == "word":
            return None  # of no use to us, and never a coordinate
        raise self._unfit("a value")

    def _list(self, depth: int) -> list[Value]:
        self._limit(depth)
        items: list[Value] = []
        while not self._take("]"):
            items.append(self.value(depth))
            if not self._take(","):
                self._expect("]")
                break
        return items

    def _dict(self, depth: int) -> dict[str, Value]:
        self._limit(depth)
        items: dict[str, Value] = {}
        while not self._take("}"):
            kind, key = self._next()
            if kind not in ("double", "single") or key in items:
                raise self._unfit("a key in quotes, once")
            self._expect(":")
            items[key] = self.value(depth)
            if not self._take(","):
                self._expect("}")
                break
        return items

    def _next(self) -> tuple[str, str]:
        found = _TOKEN.match(self.text, self.at)
        if found is None or found.lastgroup is None:
            raise self._unfit("JSON")
        self.at = found.end()
        return found.lastgroup, found[found.lastgroup]

    def _take(self, mark: str) -> bool:
        found = _TOKEN.match(self.text, self.at)
        if found is None or found.lastgroup != "mark" or found["mark"] != mark:
            return False
        self.at = found.end()
        return True

    def _expect(self, mark: str) -> None:
        if not self._take(mark):
            raise self._unfit(repr(mark))

    def _limit(self, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise self._unfit("at most a list of objects with coordinates")

    def _unfit(self, wanted: str) -> RejectedInput:
        return _unreadable(
            f"{_shown(self.text[self.at : self.at + _MAX_SHOWN])} at character {self.at} of the answer", wanted
        )


def _read(body: str) -> list[Value]:
    """Read every list and object in ``body``; words around them do not count, behind the last box brackets neither."""
    last, at = body.rfind(_BOX), 0
    values: list[Value] = []
    words = []
    while (opening := _OPENING.search(body, at)) and (not values or opening.start() <= last):
        if not values and len(body) - opening.start() > MAX_ANSWER_CHARS:
            raise _unreadable(f"an answer of {len(body)} characters", f"at most {MAX_ANSWER_CHARS}")
        words.append(body[at : opening.start()])
        reader = _Reader(body, opening.start())
        values.append(reader.value())
        at = reader.at
    if not values:
        raise _unreadable(_shown(body), "a JSON answer")
    _check_words([*words, body[at:]], values)
    return values


def _check_words(words: list[str], values: list[Value]) -> None:
    """Refuse words around the JSON that name an object which it does not: a key, or four numbers of no box in it."""
    known = set(_fours(values))
    for text in words:
        if key := _KEY.search(text):
            raise _unreadable(f"{_shown(text[key.start() :])} beside the JSON", "every object in it, with a box")
        for four in _FOUR.finditer(text):
            if tuple(map(float, _NUMBER.findall(four[0]))) not in known:
                raise _unreadable(f"{_shown(four[0])} beside the JSON", "every box in it")


def _fours(value: Value) -> Iterator[tuple[float, ...]]:
    """Yield every list of four numbers in ``value``; as deep as the reader goes."""
    if isinstance(value, list) and len(value) == 4 and all(isinstance(number, float) for number in value):
        yield tuple(number for number in value if isinstance(number, float))
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _fours(part)


# ---- what it means ----


def _items(values: list[Value], profile: Profile) -> list[Value]:
    """Return the objects of all values: lists of them, single ones, or both."""
    items: list[Value] = []
    for value in values:
        items += value if isinstance(value, list) else [value]
    if profile.grammar == "v1" and len(items) != 1:
        raise _unreadable(f"{len(items)} objects", "exactly one")
    if not items and not profile.abstains:
        raise _unreadable("an empty list", f"an object ({profile.name} was not trained to say there is none)")
    return items


def _targets(items: list[Value], profile: Profile, source_size: tuple[int, int]) -> tuple[Target, ...]:
    """Scale, order and clamp each item; the same target twice counts once."""
    targets = dict.fromkeys(_target(item, profile, source_size) for item in items)
    if len(targets) > MAX_TARGETS:
        raise _unreadable(f"{len(targets)} objects", f"at most {MAX_TARGETS}")
    return tuple(targets)


def _target(item: Value, profile: Profile, source_size: tuple[int, int]) -> Target:
    if not isinstance(item, dict):
        raise _unreadable(_shown(repr(item)), "an object with a box and a point")
    if sum(isinstance(item[key], list) for key in _keys(item, _BOX)) > 1 or any(map(_holds_box, item.values())):
        raise _unreadable(f"several boxes in one object, {_shown(repr(item))}", "an object for each")
    x0, y0, x1, y1 = _scale(_coordinates(item, _BOX, 4), profile, source_size)
    width, height = source_size
    box = (
        _clamp(min(x0, x1), width),
        _clamp(min(y0, y1), height),
        _clamp(max(x0, x1), width),
        _clamp(max(y0, y1), height),
    )
    if not (box[0] < box[2] and box[1] < box[3]):
        raise _unreadable(f"the box {item[_keys(item, _BOX)[0]]}", "one with area inside the image")
    return Target(box, _points(item, box, profile, source_size))


def _points(
    item: Mapping[str, Value], box: tuple[float, float, float, float], profile: Profile, source_size: tuple[int, int]
) -> tuple[Point, ...]:
    """Return two points (v1), one (v2), or the box's centre where a stock model, asked without tags, gave none."""
    keys = _keys(item, "point")
    if not keys and not profile.tags:
        return (((box[0] + box[2]) / 2, (box[1] + box[3]) / 2),)
    wanted = 2 if profile.grammar == "v1" else 1
    if len(keys) < wanted:
        raise _unreadable(f"the keys {_shown(', '.join(item))}", f"{wanted} with 'point' in it")
    return tuple(_point(item, key, profile, source_size) for key in keys[:wanted])


def _point(item: Mapping[str, Value], key: str, profile: Profile, source_size: tuple[int, int]) -> Point:
    x, y = _scale(_coordinates(item, key, 2), profile, source_size)
    return _clamp(x, source_size[0] - 1), _clamp(y, source_size[1] - 1)


def _holds_box(value: Value) -> bool:
    """Whether an object with a box stands inside of ``value``; as deep as the reader goes."""
    if isinstance(value, dict):
        return bool(_keys(value, _BOX)) or any(map(_holds_box, value.values()))
    return isinstance(value, list) and any(map(_holds_box, value))


def _keys(item: Mapping[str, Value], part: str) -> list[str]:
    return [key for key in item if part in key]


def _coordinates(item: Mapping[str, Value], part: str, count: int) -> list[float]:
    """Return the ``count`` plain numbers under the first key that contains ``part``."""
    keys = _keys(item, part)
    if not keys:
        raise _unreadable(f"the keys {_shown(', '.join(item))}", f"one with {part!r} in it")
    value = item[keys[0]]
    numbers = [number for number in value if isinstance(number, float)] if isinstance(value, list) else []
    if not isinstance(value, list) or len(value) != count or len(numbers) != count:
        raise _unreadable(f"{_shown(keys[0])} = {_shown(repr(value))}", f"{count} numbers")
    return numbers


def _scale(numbers: list[float], profile: Profile, source_size: tuple[int, int]) -> list[float]:
    """Map x y x y ... from the profile's coordinates to source pixels."""
    space = profile.coordinate_size()
    return [number * source_size[at % 2] / space[at % 2] for at, number in enumerate(numbers)]


def _clamp(value: float, most: float) -> float:
    return min(max(0.0, value), float(most))


def _shown(text: str) -> str:
    return repr(clean_text(text[:_MAX_SHOWN]))


def _cut(text: str, finish: Finish) -> RejectedInput:
    return RejectedInput(
        Code.ANSWER_TRUNCATED,
        f"got an answer cut off by the {finish} after {len(text)} characters, want a complete one; "
        "allow more tokens or time",
    )


def _unreadable(got: str, wanted: str) -> RejectedInput:
    return RejectedInput(
        Code.ANSWER_UNREADABLE, f"got {got}, want {wanted}; ask again in other words, or check the bundle's profile"
    )
