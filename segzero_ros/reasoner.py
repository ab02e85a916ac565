"""The reasoner: a frame and a command in, the model's text out, streamed and cancellable; how that text is laid out."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from segzero_ros.command import Command
from segzero_ros.frame import Frame

Finish = Literal["stop", "budget", "deadline", "cancelled"]
LATE_S = 2.0  # after a deadline, to close the thinking and answer; the worker gives up after 3 (GRACE_S)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model generated.

    ``text``: the whole generated text, tags included. ``tokens``: generated tokens. ``confidence``: mean gap between
    the two best probabilities over the generated tokens, 0..1 (PixelThink, arXiv 2505.23727; 1 = certain).
    ``timings_ms``: "vision", "prefill", "first_token" (from the call on), "decode". ``finish``: why it ended; with
    "budget" or "deadline" the thinking was closed early and the answer asked for all the same. ``steps``: passes of
    the decoder after the prompt, fewer than tokens where several went in one; 0 = not known. ``lost_chars``: of the
    text, what a server had said before it was lost and another reasoner began anew; no part of the answer.
    """

    text: str
    tokens: int
    confidence: float
    timings_ms: Mapping[str, float]
    finish: Finish
    steps: int = 0
    lost_chars: int = 0


def never() -> bool:
    """Return False: the default of ``cancelled``."""
    return False


def ignore(_: object) -> None:
    """Do nothing: the default of callbacks."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What a reasoner is asked: ``command`` on ``frame``.

    ``budget``: at most so many *thinking* tokens. ``deadline_ns``: on ``time.monotonic_ns()``, None = none. When either
    runs out the thinking is closed (``</think><answer>``) and the answer still given. ``cancelled`` is asked between
    tokens. ``on_text`` gets each new piece, in order; the pieces add up to ``Answer.text``.
    """

    frame: Frame
    command: Command
    budget: int
    deadline_ns: int | None = None
    cancelled: Callable[[], bool] = never
    on_text: Callable[[str], None] = ignore


class Reasoner(Protocol):
    """Answers, in text, where on a frame the thing commanded is."""

    def reason(self, request: Request) -> Answer:
        """Answer ``request.command`` on ``request.frame``."""
        ...


@runtime_checkable
class EarlyReasoner(Protocol):
    """A reasoner that can prefill a picture before anybody asks, so that an answer on it begins sooner."""

    def prefill_image(self, frame: Frame) -> object:
        """Do all that ``reason`` would do on ``frame`` before it reads the command; a second time costs nothing."""
        ...


# ---- where the thinking ends and the answer begins: one rule, for the parser and for a text that still grows ----
#
# A model quotes its prompt, drafts answers and spells tags while it thinks; none of that is its answer. Tags of
# thinking nest: the thinking is over where they are level again, and the answer is the <answer> right behind that, or
# at the very start of a text that does not think.

OPEN, CLOSE, START, END = _TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_TAG = re.compile("|".join(_TAGS))


class TagReader:
    """The rule for a text that still grows: ``push`` each piece; positions are characters from the text's start.

    ``depth``: thinking tags that are open. ``last_tag_end``: where the last tag seen ended. ``thought_at``: where the
    thinking's last tag did, ``answer_at``: where the answer begins, ``ended_at``: behind its ``</answer>``, final; each
    None before that.
    """

    def __init__(self) -> None:
        self.depth = self.length = self.last_tag_end = 0
        self.thought_at: int | None = None
        self.answer_at: int | None = None
        self.ended_at: int | None = None
        self._blank = True  # nothing but white space since the start or the thinking's end
        self._rest = ""  # what may become a tag

    @property
    def thinking(self) -> bool:
        """Whether what comes next is still thinking, as far as the tags tell."""
        return self.thought_at is None and self.answer_at is None

    def push(self, piece: str) -> None:
        """Go on with ``piece``."""
        text, begin, at = self._rest + piece, self.length - len(self._rest), 0
        self.length += len(piece)
        for tag in _TAG.finditer(text):
            self._words(text[at : tag.start()])
            self._tag(tag[0], begin + tag.end())
            at = tag.end()
        cut = text.rfind("<", max(at, len(text) - len(END) + 1))
        self._rest = text[cut:] if cut >= 0 and any(tag.startswith(text[cut:]) for tag in _TAGS) else ""
        self._words(text[at : len(text) - len(self._rest)])

    def _words(self, text: str) -> None:
        self._blank = self._blank and not text.strip()

    def _tag(self, tag: str, end: int) -> None:
        self.last_tag_end = end
        if self.answer_at is not None:
            if tag == END and self.ended_at is None:
                self.ended_at = end
        elif tag == START and not self.depth and self._blank:
            self.answer_at = end
        else:
            self._thinking_tag(tag, end)

    def _thinking_tag(self, tag: str, end: int) -> None:
        self._blank = False
        if tag == OPEN:
            self.depth, self.thought_at = self.depth + 1, None
        elif tag == CLOSE:
            self.depth = max(0, self.depth - 1)
            self.thought_at = None if self.depth else end
            self._blank = not self.depth


@dataclass(frozen=True, slots=True)
class Passage:
    """Where an answer stands in a whole text: its thinking, and the text that should hold the JSON.

    ``whole``: nothing is missing before or after it, so that it counts even where the text was cut short.
    """

    thinking: str
    body: str
    whole: bool


def find_answer(text: str, *, tags: bool) -> Passage | None:
    """Return the answer's place in ``text``, None when there is none; several in a row are one passage.

    ``tags``: it stands in ``<answer>`` tags; without, it is all that follows the thinking, and never known to be whole.
    A text that ends right behind its answer may have spelled a ``<think>`` too many before it.
    """
    found = list(_TAG.finditer(text))
    last = max((at for at, tag in enumerate(found) if tag[0] == CLOSE), default=-1)
    thought_at = found[last].end() if last >= 0 else 0
    if not tags:
        reopened = any(tag[0] == OPEN for tag in found[last + 1 :])
        return None if reopened else Passage(_thinking(text[:thought_at]), text[thought_at:], False)
    starts = [tag for tag in found[last + 1 :] if tag[0] == START]
    if not starts:
        return None
    start = starts[0]
    ends = [tag for tag in found if tag[0] == END and tag.start() >= start.end()]
    before, between = text[: start.start()], text[thought_at : start.start()]
    at_end = not ends or not text[ends[-1].end() :].strip()
    body = text[start.end() : ends[-1].start() if ends else None]
    reader = TagReader()
    reader.push(before)
    level = not reader.depth
    if not level and not (at_end and not between.removeprefix(OPEN if last < 0 else "").strip()):
        return None
    return Passage(_thinking(before), body, level and not between.strip() and bool(ends) and at_end)


def _thinking(before: str) -> str:
    """Return what stands in the thinking's outer tags, either of which may be missing."""
    opening, closing = before.find(OPEN), before.rfind(CLOSE)
    first = opening + len(OPEN) if opening >= 0 else 0
    return before[first : closing if closing >= first else None]
