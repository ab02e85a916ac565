"""The grammar of answers: what may come next, character by character, and what must.

An answer is JSON with a fixed skeleton, so most of its text is no decision of the model's. Where only one way on is
left, that text is handed to the decoder in one pass instead of token by token (jump-forward); where the model decides,
it decides among the tokens that the grammar goes on with. Numbers are whole, inside the picture, and a box's second
corner lies beyond its first: such an answer is always readable.

The skeleton is spelled as upstream's prompts spell it, with a space after colons and none between numbers, unless the
prompt's own example is compact: a spelling that a model did not learn costs it the numbers after it. Profiles without
``<answer>`` tags answer freely and have no grammar.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple

from segzero_ros.answer import MAX_TARGETS
from segzero_ros.profile import Profile

CLOSE_THINKING = "</think><answer>"
END = "</answer>"
_DIGITS = "0123456789"


@dataclass(frozen=True, slots=True)
class _Text:
    text: str
    then: int


@dataclass(frozen=True, slots=True)
class _Number:
    """A coordinate: ``kind`` "x"/"y" = anywhere, "x0"/"y0" = a box's first corner, "x1"/"y1" = its second."""

    kind: Literal["x", "y", "x0", "y0", "x1", "y1"]
    then: int


@dataclass(frozen=True, slots=True)
class _Choice:
    """Ways on that differ in their first character: another object, or the end of the list."""

    more: int
    end: int


_Node = _Text | _Number | _Choice | None


class State(NamedTuple):
    """A place in an answer: the node, the characters of it that are there, the box so far, the objects so far."""

    node: int
    done: str = ""
    box: tuple[int, ...] = ()
    objects: int = 0


class AnswerGrammar:
    """The answers of one profile; a ``State`` walks through it."""

    def __init__(self, profile: Profile) -> None:
        """ValueError for a profile without tags, whose answers are free."""
        if not profile.tags:
            raise ValueError(f"the profile {profile.name} has no <answer> tags, so its answers have no grammar")
        self._width, self._height = profile.coordinate_size()
        self._nodes: list[_Node] = []
        self.start = State(0)
        (self._v1 if profile.grammar == "v1" else self._v2)(profile)

    def walk(self, state: State, text: str) -> State | None:
        """Return where ``text`` leads from ``state``, None when it is not a way on."""
        for char in text:
            after = self._step(state, char)
            if after is None:
                return None
            state = after
        return state

    def forced(self, state: State, *, closing: bool = False) -> tuple[str, State]:
        """Return the text that must come next, up to the next decision, and the state after it.

        ``closing``: the list is to end as soon as it can.
        """
        text: list[str] = []
        while len(ways := list(islice(self._ways(state, closing), 2))) == 1:
            text.append(ways[0])
            after = self._step(state, ways[0])
            assert after is not None  # noqa: S101 - _ways only names what _step takes
            state = after
        return "".join(text), state

    def openings(self, state: State) -> list[str]:
        """Return how the text may go on from a decision, a few characters each, for a tokenizer to look ahead at."""
        found = []
        for way in self.ways(state):
            after = self._step(state, way)
            found.append(way + (self.forced(after)[0][:8] if after else ""))
        return found

    def ended(self, state: State) -> bool:
        """Whether the answer is complete, its closing tag included."""
        return self._nodes[state.node] is None

    def ways(self, state: State, *, closing: bool = False) -> list[str]:
        """Return the characters that may come next; ``closing``: of a list's two ways on, its end alone."""
        return list(self._ways(state, closing))

    # ---- walking ----

    def _step(self, state: State, char: str) -> State | None:
        node = self._nodes[state.node]
        if isinstance(node, _Text):
            return self._along(node, state, char)
        if isinstance(node, _Number):
            if char in _DIGITS:
                digits = state.done + char
                return state._replace(done=digits) if self._may_become(node, state, digits) else None
            return self._step(self._after_number(node, state), char) if self._complete(node, state) else None
        if isinstance(node, _Choice):
            for way in self._options(node, state):
                after = self._step(state._replace(node=way), char)
                if after is not None:
                    return after
        return None

    def _along(self, node: _Text, state: State, char: str) -> State | None:
        if node.text[len(state.done)] != char:
            return None
        done = state.done + char
        if len(done) < len(node.text):
            return state._replace(done=done)
        return state._replace(node=node.then, done="")

    def _ways(self, state: State, closing: bool) -> Iterator[str]:
        node = self._nodes[state.node]
        if isinstance(node, _Text):
            yield node.text[len(state.done)]
        elif isinstance(node, _Number):
            yield from (digit for digit in _DIGITS if self._may_become(node, state, state.done + digit))
            if self._complete(node, state):
                yield from self._first(node.then)
        elif isinstance(node, _Choice):
            options = [node.end] if closing else self._options(node, state)
            for option in options:
                yield from self._first(option)

    def _first(self, index: int) -> list[str]:
        node = self._nodes[index]
        return [node.text[0]] if isinstance(node, _Text) else []

    def _options(self, node: _Choice, state: State) -> list[int]:
        return [node.more, node.end] if state.objects < MAX_TARGETS else [node.end]

    def _after_number(self, node: _Number, state: State) -> State:
        value = int(state.done)
        box = (*state.box, value) if len(node.kind) == 2 else ()
        objects = state.objects + (node.kind == "x0")
        return State(node.then, "", box if len(box) < 4 else (), objects)

    def _range(self, node: _Number, state: State) -> tuple[int, int]:
        side = self._width if node.kind[0] == "x" else self._height
        if node.kind in ("x1", "y1"):
            return state.box[0 if node.kind == "x1" else 1] + 1, side
        return 0, side - 1

    def _complete(self, node: _Number, state: State) -> bool:
        low, high = self._range(node, state)
        return bool(state.done) and low <= int(state.done) <= high

    def _may_become(self, node: _Number, state: State, digits: str) -> bool:
        """Whether ``digits`` and more of them (also none) are a number of its range; no leading zeros."""
        if len(digits) > 1 and digits[0] == "0":
            return False
        low, high = self._range(node, state)
        first = last = int(digits)
        while first <= high:
            if last >= low:
                return True
            if first == 0:
                return False
            first, last = first * 10, last * 10 + 9
        return False

    # ---- building ----

    def _v1(self, profile: Profile) -> None:
        quote = '"' if '"bbox"' in profile.prompt else "'"
        colon, comma = _spacing(profile, f"{quote}bbox{quote}:[")
        keys = [f"{quote}{key}{quote}:{colon}[" for key in ("bbox", "points_1", "points_2")]
        self._text(CLOSE_THINKING + "{" + keys[0])
        self._numbers("x0", "y0", "x1", "y1")
        self._text(f"],{comma}{keys[1]}")
        self._numbers("x", "y")
        self._text(f"],{comma}{keys[2]}")
        self._numbers("x", "y")
        self._text("]}" + END)
        self._nodes.append(None)

    def _v2(self, profile: Profile) -> None:
        colon, comma = _spacing(profile, '"bbox_2d":[')
        one = f'{{"bbox_2d":{colon}['
        if profile.abstains:
            self._text(CLOSE_THINKING + "[")
            choice = len(self._nodes)
            self._nodes.append(None)
            self._text(one)
        else:
            self._text(CLOSE_THINKING + "[" + one)
        numbers = len(self._nodes)
        self._numbers("x0", "y0", "x1", "y1")
        self._text(f'],{comma}"point_2d":{colon}[')
        self._numbers("x", "y")
        self._text("]}")
        after = len(self._nodes)
        self._nodes += [
            _Choice(after + 1, after + 2),
            _Text(f",{comma}{one}", numbers),
            _Text("]" + END, after + 3),
            None,
        ]
        if profile.abstains:
            self._nodes[choice] = _Choice(choice + 1, after + 2)

    def _text(self, text: str) -> None:
        self._nodes.append(_Text(text, len(self._nodes) + 1))

    def _numbers(self, *kinds: Literal["x", "y", "x0", "y0", "x1", "y1"]) -> None:
        for kind in kinds[:-1]:
            self._nodes.append(_Number(kind, len(self._nodes) + 1))
            self._text(",")
        self._nodes.append(_Number(kinds[-1], len(self._nodes) + 1))


def _spacing(profile: Profile, compact: str) -> tuple[str, str]:
    """Return what stands after a colon and after a comma between objects; ``compact``: how a prompt tells without."""
    return ("", "") if compact in profile.prompt else (" ", " ")
