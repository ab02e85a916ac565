"""A second opinion on questions about in, on and under: from their words and the triangles of the scene."""

import re

from segzero_ros.tabletop import View
from tests.tabletop import oracle, oracle_composed
from tests.tabletop.rich import geometry

WHERE = {
    "in": r"in|inside|contains",
    "on": r"on|on top of|carries",
    "under": r"under|below|underneath|beneath|stands over",
}
POT = re.compile(r"plant (?:in|with|that stands in) (?:the|a) (\w+) pot")
PLACED = re.compile(
    r"(.*?)\b(inside|in|on top of|on|underneath|under|below|beneath) (the (?!left|right|far|other|one)[a-z ]+)"
)
HOLDING = (
    re.compile(r"(.*?) (?:with|that has) (an? [a-z ]+?) (in|on|under) it\b"),
    re.compile(r"(.*?) (?:in|on|under) which there is (an? [a-z ]+)"),
    re.compile(r"(.*?) that (?:contains|carries|stands over) (an? [a-z ]+)"),
)


def how_of(word: str) -> str:
    return next(how for how, pattern in WHERE.items() if re.fullmatch(pattern, word))


def answer(view: View, type_: str, text: str, grammar: str = "plain") -> set[int]:
    """The ids a careful reader of the text would mark."""
    plain = POT.sub(r"\1 plant", re.sub(r"\bcan (?=you |i |one |light |read|pour|a )|\?", "", text))
    if type_ != "function" and "in front of" not in plain and "in between" not in plain:
        for pattern in HOLDING:
            if match := pattern.search(plain):
                return holders(view, plain, match)
        match = PLACED.search(plain)
        if match and (oracle.kind_in(match[3]) or oracle.colour_in(match[3])):
            return placed(view, match)
    return oracle.answer(view, type_, text) if grammar == "plain" else oracle_composed.answer(view, type_, text)


def placed(view: View, match: re.Match) -> set[int]:
    (stone,) = oracle_composed.those(view, match[3])
    there = {one for one, how, other in geometry.relations(view.scene) if (how, other) == (how_of(match[2]), stone.id)}
    return {thing.id for thing in oracle_composed.those(view, match[1])} & there


def holders(view: View, text: str, match: re.Match) -> set[int]:
    how = next(how for how, words in WHERE.items() if re.search(rf"\b(?:{words})\b", text[match.end(1) : match.end()]))
    inside = {thing.id for thing in oracle_composed.those(view, match[2])}
    fitting = {thing.id for thing in oracle_composed.those(view, match[1])}
    return {other for one, word, other in geometry.relations(view.scene) if word == how and one in inside} & fitting
