"""The reasoner: a frame and a command in, the model's text out, streamed and cancellable."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from segzero_ros.command import Command
from segzero_ros.frame import Frame

Finish = Literal["stop", "budget", "deadline", "cancelled"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model generated.

    ``text``: the whole generated text, tags included. ``tokens``: generated tokens. ``confidence``: mean gap between
    the two best probabilities over the generated tokens, 0..1 (PixelThink, arXiv 2505.23727; 1 = certain).
    ``timings_ms``: "vision", "prefill", "first_token" (from the call on), "decode". ``finish``: why it ended; with
    "budget" or "deadline" the thinking was closed early and the answer asked for all the same. ``steps``: passes of
    the decoder after the prompt, fewer than tokens where several went in one; 0 = not known.
    """

    text: str
    tokens: int
    confidence: float
    timings_ms: Mapping[str, float]
    finish: Finish
    steps: int = 0


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
