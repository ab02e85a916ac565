"""Deterministic engines for tests and for trying the wiring without a bundle, and faulty ones for every failure.

``FakeReasoner`` answers with the texts it is given; ``FakeSegmenter`` fills the box it is given. The faulty ones each
do one thing wrong, so that every code has a cause in the tests.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from segzero_ros.answer import Target
from segzero_ros.command import Command
from segzero_ros.frame import Frame
from segzero_ros.profile import Profile, get_profile
from segzero_ros.reasoner import Answer, Finish, Request
from segzero_ros.segmenter import Masks

PROFILE = "abstaining_v2"  # the fakes' profile unless another is named
GARBAGE = "<think>\ud83d\x00</think><answer>[{\"bbox_2d\": [NaN, 1e999, true, '5'], " + "[" * 500


def centre_answer(profile: Profile | None = None, *, thinking: str = "Something stands in the middle.") -> str:
    """Return an answer in ``profile``'s grammar: the middle half of the picture."""
    profile = profile or get_profile(PROFILE)
    width, height = profile.coordinate_size()
    box, point = [width // 4, height // 4, 3 * width // 4, 3 * height // 4], [width // 2, height // 2]
    if profile.grammar == "v1":
        body = f"{{'bbox': {box}, 'points_1': {point}, 'points_2': {point}}}"
    else:
        body = f'[{{"bbox_2d": {box}, "point_2d": {point}}}]'
    return f"<think>{thinking}</think><answer>{body}</answer>" if profile.tags else f"```json\n{body}\n```"


class FakeReasoner:
    """Says the given texts, one per command, the last one for ever; a token is a piece of four characters.

    It keeps the protocol: pieces stream, ``cancelled`` is asked before each, the budget counts the thinking's pieces,
    and a budget or deadline that runs out jumps to the answer. ``before_piece(index)`` is called before each piece;
    tests put their events there.
    """

    def __init__(
        self,
        *texts: str,
        piece: int = 4,
        now: Callable[[], int] = lambda: 0,
        before_piece: Callable[[int], None] = lambda _index: None,
    ) -> None:
        """``now``: the clock deadlines are compared with; without one no deadline ever passes."""
        self.texts: Sequence[str] = texts or (centre_answer(),)
        self.commands: list[Command] = []
        self.frames: list[Frame] = []
        self._piece = piece
        self._now = now
        self._before_piece = before_piece

    def reason(self, request: Request) -> Answer:
        """Answer with the next text; see ``Reasoner``."""
        text = self.texts[min(len(self.commands), len(self.texts) - 1)]
        self.commands.append(request.command)
        self.frames.append(request.frame)
        thinking, closing, rest = text.partition("</think>")
        if not closing:
            thinking, rest = "", text
        pieces: list[str] = []
        finish: Finish = "stop"
        for part, is_thinking in ((thinking, True), (closing + rest, False)):
            for at in range(0, len(part), self._piece):
                self._before_piece(len(pieces))
                if request.cancelled():
                    return self._answer(pieces, "cancelled")
                if is_thinking and len(pieces) >= request.budget:
                    finish = "budget"
                    break
                if is_thinking and request.deadline_ns is not None and self._now() >= request.deadline_ns:
                    finish = "deadline"
                    break
                pieces.append(part[at : at + self._piece])
                request.on_text(pieces[-1])
        return self._answer(pieces, finish)

    def _answer(self, pieces: list[str], finish: Finish) -> Answer:
        timings = {"vision": 0.0, "prefill": 0.0, "first_token": 0.0, "decode": 0.0}
        return Answer("".join(pieces), len(pieces), 1.0, timings, finish)


class FakeSegmenter:
    """Fills each target's box, or the ellipse in it; ``encoded`` counts the frames really encoded."""

    def __init__(self, *, ellipse: bool = False, score: float = 0.9) -> None:
        """``score``: of every mask; masks are told apart by an ever smaller score."""
        self.encoded = 0
        self._ellipse = ellipse
        self._score = score
        self._frame: Frame | None = None

    def set_image(self, frame: Frame) -> None:
        """Remember ``frame``."""
        if frame is not self._frame:
            self._frame = frame
            self.encoded += 1

    def predict(self, targets: tuple[Target, ...]) -> Masks:
        """Masks of the targets' boxes; see ``Segmenter``."""
        if self._frame is None:
            raise RuntimeError("no image is set; call set_image(frame) first")
        height, width = self._frame.rgb.shape[:2]
        masks = [self._mask(target.box, height, width) for target in targets]
        scores = [self._score * 0.99**k for k in range(len(targets))]
        return Masks(np.array(masks, bool).reshape(-1, height, width), np.array(scores, np.float32))

    def _mask(self, box: tuple[float, float, float, float], height: int, width: int) -> np.ndarray[Any, Any]:
        x0, y0, x1, y1 = box
        x, y = np.arange(width) + 0.5, (np.arange(height) + 0.5)[:, None]
        if self._ellipse:
            return ((2 * x - x0 - x1) / (x1 - x0)) ** 2 + ((2 * y - y0 - y1) / (y1 - y0)) ** 2 <= 1
        return (x >= x0) & (x < x1) & (y >= y0) & (y < y1)


# ---- faulty ones ----


class RaisingReasoner(FakeReasoner):
    """Says a few pieces, then raises."""

    def __init__(self, error: BaseException | None = None, *, after: int = 3) -> None:
        """``error``: what to raise; ``after``: how many pieces come before it."""

        def fail(index: int) -> None:
            if index >= after:
                raise error or RuntimeError("the engine fell over")

        super().__init__(before_piece=fail)


class WrongTypeReasoner(FakeReasoner):
    """Returns ``value`` (None, a string, ...) where an Answer belongs."""

    def __init__(self, value: object = None) -> None:
        super().__init__()
        self._value = value

    def reason(self, request: Request) -> Answer:
        """Say everything, then return the wrong thing."""
        super().reason(request)
        return cast(Answer, self._value)


class GarbageReasoner(FakeReasoner):
    """Says what no parser should choke on."""

    def __init__(self) -> None:
        super().__init__(GARBAGE)


class WaitingReasoner(FakeReasoner):
    """Goes on thinking until cancelled; ``started`` is set when it has begun.

    Each further piece needs one ``go()``; ``cancelled`` is asked again after each, as an engine does between tokens.
    """

    def __init__(self) -> None:
        self.started = threading.Event()
        self._steps = threading.Semaphore(0)
        super().__init__("<think>" + "hm, " * 10_000 + centre_answer(), before_piece=self._wait)

    def go(self, steps: int = 1) -> None:
        """Let it make ``steps`` more tokens."""
        self._steps.release(steps)

    def _wait(self, _index: int) -> None:
        self.started.set()
        self._steps.acquire()


class HangingReasoner(FakeReasoner):
    """Hangs inside one engine call, deaf to cancel and deadline, until ``release`` is set."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.release = threading.Event()
        super().__init__(before_piece=self._hang)

    def _hang(self, _index: int) -> None:
        self.started.set()
        self.release.wait()


class RaisingSegmenter(FakeSegmenter):
    """Raises in ``set_image`` or in ``predict``."""

    def __init__(self, error: BaseException | None = None, *, on: str = "predict") -> None:
        """``on``: the method that raises."""
        super().__init__()
        self._error = error or RuntimeError("the engine fell over")
        self._on = on

    def set_image(self, frame: Frame) -> None:
        """Raise, if here is the place."""
        if self._on == "set_image":
            raise self._error
        super().set_image(frame)

    def predict(self, targets: tuple[Target, ...]) -> Masks:
        """Raise, if here is the place."""
        if self._on == "predict":
            raise self._error
        return super().predict(targets)


class RaisingEarlySegmenter(FakeSegmenter):
    """Raises in ``begin``, before anybody has asked the reasoner."""

    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__()
        self._error = error or RuntimeError("the encoder fell over")

    def begin(self, frame: Frame) -> None:  # noqa: ARG002 - the protocol has it
        """Raise."""
        raise self._error


class WrongMasksSegmenter(FakeSegmenter):
    """Returns ``value`` where the masks belong: None, masks of another size, too few, scores that are no numbers."""

    def __init__(self, value: object = None) -> None:
        super().__init__()
        self._value = value

    def predict(self, targets: tuple[Target, ...]) -> Masks:
        """Return the wrong thing."""
        super().predict(targets)
        return cast(Masks, self._value)
