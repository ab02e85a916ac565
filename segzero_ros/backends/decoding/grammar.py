"""The grammar of answers: what may come next, character by character, and what must.

An answer is JSON with a fixed skeleton, so most of its text is no decision of the model's. Where only one way on is
left, that text is handed to the decoder in one pass instead of token by token (jump-forward); where the model decides,
it decides among the tokens that the grammar goes on with. Numbers are whole, inside the picture, and a box's second
corner lies beyond its first: such an answer is always readable.

Spaces and quotes are the model's own: the bundle says how it writes them, as was seen when it was exported, and that is
forced. Where it is not known, and where a token of the model's own choice brings another, the grammar lets the model
choose, and ``learn`` keeps the choice for the rest of that answer, and of that one only: no answer depends on those
before it. A spelling that a model did not learn costs it the numbers after it
(docs/decisions/0007), and the prompts' examples do not tell: Seg-Zero's shows single quotes and no spaces, and its
models write double quotes and spaces.
Profiles without ``<answer>`` tags answer freely and have no grammar.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Literal, NamedTuple

from segzero_ros import reasoner
from segzero_ros.answer import MAX_TARGETS
from segzero_ros.profile import Profile

OPEN_THINKING, CLOSE_THINKING, OPEN_ANSWER, END = reasoner.OPEN, reasoner.CLOSE, reasoner.START, reasoner.END
MAX_GAP = 12  # characters of white space between two signs; indented JSON needs about 8
_DIGITS = "0123456789"
_WHITE = " \n"
_QUOTES = "\"'"

Kind = Literal["x", "y", "x0", "y0", "x1", "y1"]


@dataclass(frozen=True, slots=True)
class _Text:
    text: str
    then: int


@dataclass(frozen=True, slots=True)
class _Gap:
    """White space, as much as this model writes at such places."""

    slot: str
    then: int


@dataclass(frozen=True, slots=True)
class _Quote:
    then: int


@dataclass(frozen=True, slots=True)
class _Number:
    """A coordinate: ``kind`` "x"/"y" = anywhere, "x0"/"y0" = a box's first corner, "x1"/"y1" = its second."""

    kind: Kind
    then: int


@dataclass(frozen=True, slots=True)
class _Choice:
    """Ways on that differ in their first character: another object, or the end of the list."""

    more: int
    end: int


_Node = _Text | _Gap | _Quote | _Number | _Choice | None


class State(NamedTuple):
    """A place in an answer: the node, the characters of it that are there, the box so far, the objects so far.

    ``closing``: the list is to end where it can, with no more white space than is known. ``quote``: the one this answer
    began with.
    """

    node: int
    done: str = ""
    box: tuple[int, ...] = ()
    objects: int = 0
    closing: bool = False
    quote: str = ""


class AnswerGrammar:
    """The answers of one profile and, as it comes to be known, of one model; a ``State`` walks through it."""

    def __init__(self, profile: Profile, spelling: Mapping[str, str] = MappingProxyType({})) -> None:
        """ValueError for a profile without tags, whose answers are free. ``spelling``: what is known of it."""
        if not profile.tags:
            raise ValueError(f"the profile {profile.name} has no <answer> tags, so its answers have no grammar")
        self._width, self._height = profile.coordinate_size()
        self._given = dict(spelling)
        self._learned: dict[str, str] = {}
        self._nodes: list[_Node] = []
        self.start = State(0)
        self._add(CLOSE_THINKING, "tags?", OPEN_ANSWER, "open?")
        if profile.grammar == "v1":
            self._v1()
        else:
            self._v2(abstains=profile.abstains)

    @property
    def spelling(self) -> Mapping[str, str]:
        """What is known: slot -> white space, and "quote" -> the one."""
        return MappingProxyType({**self._given, **self._learned})

    def for_answer(self) -> AnswerGrammar:
        """Return this grammar for one answer: what it learns there is kept for no other answer, nor another robot's."""
        one = copy.copy(self)
        vars(one)["_learned"] = dict(self._learned)
        return one

    def walk(self, state: State, text: str) -> State | None:
        """Return where ``text`` leads from ``state``, None when it is not a way on."""
        for char in text:
            after = self._step(state, char)
            if after is None:
                return None
            state = after
        return state

    def learn(self, state: State, text: str) -> None:
        """Keep how ``text``, the model's own choice at ``state``, is spelled."""
        for char in text:
            node = self._nodes[state.node]
            if isinstance(node, _Choice):
                ways = (state._replace(node=way) for way in self._options(node, state))
                state = next((way for way in ways if self._step(way, char) is not None), state)
                node = self._nodes[state.node]
            if isinstance(node, _Gap) and char not in _WHITE:
                self._learned.setdefault(node.slot, state.done)
                state = state._replace(node=node.then, done="")
                node = self._nodes[state.node]
            if isinstance(node, _Quote):
                self._learned.setdefault("quote", char)
            after = self._step(state, char)
            if after is None:
                return
            state = after

    def opening(self) -> str:
        """Return what ends the thinking and opens the answer, for a model that did not come to it by itself."""
        return CLOSE_THINKING + (self._known("tags") or "") + OPEN_ANSWER

    def forced(self, state: State) -> tuple[str, State]:
        """Return the text that must come next, up to the next decision, and the state after it."""
        text: list[str] = []
        while len(ways := list(islice(self._ways(state), 2))) == 1:
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

    def ways(self, state: State) -> list[str]:
        """Return the characters that may come next."""
        return list(self._ways(state))

    # ---- walking ----

    def _step(self, state: State, char: str) -> State | None:
        node = self._nodes[state.node]
        if isinstance(node, _Text):
            return self._along(node, state, char)
        if isinstance(node, _Number):
            return self._count(node, state, char)
        if isinstance(node, _Gap):
            return self._space(node, state, char)
        if isinstance(node, _Quote):
            allowed = state.quote or self._learned.get("quote", _QUOTES)
            return state._replace(node=node.then, quote=char) if char in allowed else None
        if isinstance(node, _Choice):
            steps = (self._step(state._replace(node=way), char) for way in self._options(node, state))
            return next((after for after in steps if after is not None), None)
        return None

    def _along(self, node: _Text, state: State, char: str) -> State | None:
        if node.text[len(state.done)] != char:
            return None
        done = state.done + char
        if len(done) < len(node.text):
            return state._replace(done=done)
        return state._replace(node=node.then, done="")

    def _count(self, node: _Number, state: State, char: str) -> State | None:
        if char in _DIGITS:
            digits = state.done + char
            return state._replace(done=digits) if self._may_become(node, state, digits) else None
        return self._step(self._after_number(node, state), char) if self._complete(node, state) else None

    def _space(self, node: _Gap, state: State, char: str) -> State | None:
        learned, known = self._learned.get(node.slot), self._known(node.slot)
        if char in _WHITE:
            longer = state.done + char
            longest = 0 if state.closing else MAX_GAP
            free = learned is None and len(longer) <= longest
            return state._replace(done=longer) if free or (known or "").startswith(longer) else None
        if learned is None or learned == state.done:
            return self._step(state._replace(node=node.then, done=""), char)
        return None

    def _ways(self, state: State) -> Iterator[str]:
        node = self._nodes[state.node]
        if isinstance(node, _Text):
            yield node.text[len(state.done)]
        elif isinstance(node, _Number):
            yield from (digit for digit in _DIGITS if self._may_become(node, state, state.done + digit))
            if self._complete(node, state):
                yield from self._ways(self._after_number(node, state))
        elif isinstance(node, _Gap):
            yield from self._gap_ways(node, state)
        elif isinstance(node, _Quote):
            yield from self._quotes(state)
        elif isinstance(node, _Choice):
            for option in self._options(node, state):
                yield from self._ways(state._replace(node=option, done=""))

    def _known(self, slot: str) -> str | None:
        """Return how this answer spells ``slot``, or else how the bundle says that its model does."""
        return self._learned.get(slot, self._given.get(slot))

    def _quotes(self, state: State) -> str:
        return state.quote or self._known("quote") or _QUOTES

    def _gap_ways(self, node: _Gap, state: State) -> Iterator[str]:
        known = self._known(node.slot)
        if known is not None and known.startswith(state.done) and known != state.done:
            yield known[len(state.done)]
            return
        yield from self._ways(state._replace(node=node.then, done=""))
        if known is None and len(state.done) < MAX_GAP and not state.closing:
            yield from _WHITE

    def _options(self, node: _Choice, state: State) -> list[int]:
        return [node.end] if state.closing or state.objects >= MAX_TARGETS else [node.more, node.end]

    def _after_number(self, node: _Number, state: State) -> State:
        value = int(state.done)
        box = (*state.box, value) if len(node.kind) == 2 else ()
        objects = state.objects + (node.kind == "x0")
        box = box if len(box) < 4 else ()
        return state._replace(node=node.then, done="", box=box, objects=objects)

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

    def _v1(self) -> None:
        self._add("{", "brace?")
        self._pair("bbox", "x0", "y0", "x1", "y1")
        for key in ("points_1", "points_2"):
            self._add(",", "key?")
            self._pair(key, "x", "y")
        self._add("unbrace?", "}", "close?", END)
        self._nodes.append(None)

    def _v2(self, *, abstains: bool) -> None:
        self._add("[")
        empty = len(self._nodes)
        if abstains:
            self._nodes.append(None)  # a choice, once it is known where the end is
        self._add("list?")
        one = len(self._nodes)
        self._add("{", "brace?")
        self._pair("bbox_2d", "x0", "y0", "x1", "y1")
        self._add(",", "key?")
        self._pair("point_2d", "x", "y")
        self._add("unbrace?", "}", "unlist?")
        after = len(self._nodes)
        self._nodes += [_Choice(after + 1, after + 3), _Text(",", after + 2), _Gap("object", one)]
        self._add("]", "close?", END)
        self._nodes.append(None)
        if abstains:
            self._nodes[empty] = _Choice(empty + 1, after + 3)

    def _pair(self, key: str, *kinds: Kind) -> None:
        """Add a key and the numbers in its brackets."""
        self._nodes.append(_Quote(len(self._nodes) + 1))
        self._add(key)
        self._nodes.append(_Quote(len(self._nodes) + 1))
        self._add(":", "colon?", "[")
        for index, kind in enumerate(kinds):
            if index:
                self._add(",", "number?")
            self._nodes.append(_Number(kind, len(self._nodes) + 1))
        self._add("]")

    def _add(self, *parts: str) -> None:
        """Add text, and gaps, which are named with a question mark."""
        for part in parts:
            after = len(self._nodes) + 1
            self._nodes.append(_Gap(part[:-1], after) if part.endswith("?") else _Text(part, after))
