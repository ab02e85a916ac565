"""A second opinion on what a composed question means: from its words and the labels, sharing no code with `query`."""

import re

import numpy as np

from segzero_ros.tabletop import View
from segzero_ros.tabletop.rich.palette import RICH_COLOURS as COLOURS
from tests.tabletop.oracle import RELATIONS, colour_in, distance, kind_in, kinds_for, middle, words_of

COLOUR = f"({'|'.join(COLOURS)})"
NOT_THIS = rf"\b(?:not|non|but|but not the|not the|except the|than|anything but) {COLOUR}\b"
BETWEEN = r"(.+?) (?:that is |standing |in )?between (.+) and (.+)|(.+) with (.+) on one side and (.+) on the other(.*)"
ENDS = (
    (r"left", middle),
    (r"right", lambda v, t: -middle(v, t)),
    (r"front|closest|nearest", distance),
    (r"back|farthest|distant|rearmost", lambda v, t: -distance(v, t)),
)
SMALL, BIG = r"\b(?:small\w*|tiniest|little)\b", r"\b(?:big\w*|large\w*)\b"


def those(view: View, phrase: str) -> list:
    """The things a phrase with one noun fits, "not red" included."""
    banned = re.search(NOT_THIS, phrase)
    rest = re.sub(NOT_THIS, "", phrase)
    kind, colour = kind_in(rest), colour_in(rest)
    fitting = [t for t in view.things if kind in (None, t.kind) and colour in (None, t.colour)]
    return [t for t in fitting if not banned or t.colour != banned[1]]


def verb_free(text: str) -> str:
    """Without the verbs "can" and "left" and without a closing mark."""
    return re.sub(r"\bcan (?=you |i |one |light |read|pour)|, somebody left it here", "", text).rstrip("?")


def answer(view: View, type_: str, text: str) -> set[int]:
    """The ids a careful reader of the text would mark."""
    text = verb_free(text)
    if type_ == "function" or (type_ == "absent" and kind_in(text) is None and "third" not in text):
        return used(view, text)
    if type_ in ("attribute", "several"):
        return {t.id for t in those(view, text)}
    for reader in (nth, between, related, outermost, sized):
        found = reader(view, text)
        if found is not None:
            return found
    return {t.id for t in those(view, text)}


def used(view: View, text: str) -> set[int]:
    purpose = re.split(r", | and it ", text)[0]
    kinds = kinds_for(view, purpose)
    wanted = [w for w in words_of(text) if w in COLOURS][-1]
    return {t.id for t in view.things if t.kind in kinds and t.colour == wanted}


def nth(view: View, text: str) -> set[int] | None:
    ordinal = re.search(r"\b(second|third)\b", text)
    if not ordinal:
        return None
    key = next(key for pattern, key in ENDS if re.search(pattern, text))
    ranked = sorted(those(view, text), key=lambda t: key(view, t))
    place = {"second": 1, "third": 2}[ordinal[1]]
    return {t.id for t in ranked[place : place + 1]}


def between(view: View, text: str) -> set[int] | None:
    """The one that sees the two others in the most opposite directions, if nearly opposite at all."""
    match = re.search(BETWEEN, text)
    if not match:
        return None
    subject, one, other = (part for part in match.groups()[:6] if part is not None)
    ((left,), (right,)) = those(view, one), those(view, other)
    things = [t for t in those(view, subject) if t.id not in (left.id, right.id)]
    angles = {t.id: angle(t.position, left.position, right.position) for t in things}
    best = max(angles, key=lambda n: angles[n])
    assert angles[best] > 95
    assert all(size < 95 for n, size in angles.items() if n != best)
    return {best}


def angle(at, one, other) -> float:
    a, b = (np.subtract(end[:2], at[:2]) for end in (one, other))
    return float(np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))))


def related(view: View, text: str) -> set[int] | None:
    for pattern, side in RELATIONS:
        if match := re.search(pattern, text):
            (stone,) = those(view, text[match.end() :])
            things = [t for t in those(view, text[: match.start()]) if t.id != stone.id]
            return {t.id for t in things if HOLDS[side](view, t, stone, things)}
    return None


HOLDS = {
    "left": lambda v, t, stone, _: middle(v, t) < middle(v, stone),
    "right": lambda v, t, stone, _: middle(v, t) > middle(v, stone),
    "behind": lambda v, t, stone, _: distance(v, t) > distance(v, stone),
    "front": lambda v, t, stone, _: distance(v, t) < distance(v, stone),
    "nearest": lambda v, t, stone, all_: t is min(all_, key=lambda o: apart(o, stone)),
}


def apart(one, other) -> float:
    return float(np.hypot(*np.subtract(one.position[:2], other.position[:2])))


EXTREMES = (
    (r"leftmost|far left|furthest to the left|on the left\b", middle),
    (r"rightmost|far right|furthest to the right|on the right\b", lambda v, t: -middle(v, t)),
    (r"frontmost|closest to me|at the front|closest to the camera|closest to us", distance),
    (r"rearmost|farthest away|at the back|farthest from", lambda v, t: -distance(v, t)),
)


def outermost(view: View, text: str) -> set[int] | None:
    for pattern, key in EXTREMES:
        if re.search(pattern, text):
            return {t.id for t in sorted(those(view, text), key=lambda t: key(view, t))[:1]}
    return None


def sized(view: View, text: str) -> set[int] | None:
    if not re.search(f"{SMALL}|{BIG}", text):
        return None
    ranked = sorted(those(view, text), key=lambda t: t.size, reverse=not re.search(SMALL, text))
    return {t.id for t in ranked[:1]}
