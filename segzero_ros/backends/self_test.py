"""The coordinate self-test: one picture, a few questions, known boxes; asked of engines when they are opened.

An engine or a server that answers in another grid, swaps the axes, keeps the aspect of the picture, sees it at another
size or has damaged weights says nothing of it: its boxes are wrong without a word. Here they are held against those
that the bundle carries (``python -m export.self_test`` puts them there).
Covered: every backend, through the whole pipeline: boxes, points, masks; a server with a fall-back again each time it
was away. Not covered: a server that changes while it answers; damage that leaves easy questions right.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from segzero_ros.answer import Target
from segzero_ros.bundle import Bundle
from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.matching import Box, all_matched, box_iou
from segzero_ros.pipeline import Pipeline, Segmentation
from segzero_ros.profile import PROFILES, Profile
from segzero_ros.reasoner import Answer, Reasoner, Request
from segzero_ros.segmenter import Masks

LEAST_IOU = 0.5  # of a box with the known one: engines of fewer bits differ by a few pixels, a wrong grid by far more
LEAST_INSIDE = 0.5  # of a mask's pixels, inside its known box
LEAST_FILLED = 0.15  # of the known boxes, by the mask: a lamp with a thin foot fills a third of its box
LIMIT_S = 120.0  # for all questions: a first answer warms a GPU up
MAX_QUESTIONS = 8
UNEXPLAINED = "no known grid explains it: another prompt or model, or damaged weights; export the bundle again"
PICTURE = "self_test/picture.png"

_NO_ANSWER = frozenset(  # says nothing about coordinates
    {
        *(Code.TIMEOUT, Code.CANCELLED, Code.REASONER_FAILED, Code.SEGMENTER_FAILED),
        *(Code.SERVER_UNREACHABLE, Code.SERVER_STALLED, Code.SERVER_REFUSED),
    }
)
_NUMBERS = re.compile(r"\[\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*\]")
Size = tuple[int, int]
_Fault = Callable[[Box, Size, Size], Box]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and the boxes (x0, y0, x1, y1) that are right, in pixels of the picture."""

    text: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SelfTest:
    """The picture and what is asked about it.

    ``has_to_know``: this model finds what is asked for; of another only a fault that can be named is held against it.
    """

    frame: Frame
    questions: tuple[Question, ...]
    has_to_know: bool = True


def read_self_test(bundle: Bundle) -> SelfTest | None:
    """Return the bundle's self-test, None without one; ``RejectedInput`` BUNDLE_FORMAT for one that is no test."""
    noted = bundle.self_test
    if not noted:
        return None
    try:
        if noted["picture"] != PICTURE:
            raise ValueError(f"picture {str(noted['picture'])[:100]!r}")
        questions = tuple(_read_question(one) for one in noted["questions"])
        if not 1 <= len(questions) <= MAX_QUESTIONS:
            raise ValueError(f"{len(questions)} questions")
        return SelfTest(_read_picture(bundle.path / PICTURE), questions)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise RejectedInput(
            Code.BUNDLE_FORMAT, f"{bundle.path}: got a self-test that is none ({error}); python -m export.self_test"
        ) from None


def _read_question(noted: Mapping[str, Any]) -> Question:
    text, boxes = noted["text"], [tuple(map(float, box)) for box in noted["boxes"]]
    if not isinstance(text, str) or not boxes or any(len(box) != 4 for box in boxes):
        raise ValueError("a question without text or boxes")
    return Question(text, tuple((box[0], box[1], box[2], box[3]) for box in boxes))


def _read_picture(path: Path) -> Frame:
    bgr = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError("a picture that cannot be decoded")
    return Frame(np.ascontiguousarray(bgr[:, :, ::-1]), 0)


def drawn_self_test() -> SelfTest:
    """Return a test for whoever knows pictures in general: three plain shapes on a plain ground, none in the middle.

    Twice as wide as high: an aspect that is kept leaves a fifth of a box or less where it must be.
    """
    rgb = np.full((320, 640, 3), 235, np.uint8)
    cv2.rectangle(rgb, (480, 40), (559, 119), (220, 30, 30), -1)
    cv2.circle(rgb, (220, 245), 42, (30, 60, 220), -1)
    cv2.fillPoly(rgb, [np.array([[330, 110], [430, 110], [380, 22]])], (20, 150, 60))
    boxes: dict[str, Box] = {
        "the red square": (480, 40, 560, 120),
        "the blue circle": (178, 203, 263, 288),
        "the green triangle": (330, 22, 431, 111),
    }
    return SelfTest(Frame(rgb, 0), tuple(Question(text, (box,)) for text, box in boxes.items()))


def check_coordinates(pipeline: Pipeline, bundle: Bundle, *, limit_s: float = LIMIT_S) -> str:
    """Ask the self-test's questions; return a line about what was seen, for the log.

    A bundle without one is not tested, unless a server reasons: that gets `drawn_self_test`. A server with a fall-back
    (`Judged`) that fails is one that does not answer: the local bundle does, and is tested, too. The thinking budget is
    the pipeline's default, whatever commands get.
    Raises ``RejectedInput`` ENGINE_COORDINATES with what was seen, what was expected and what it looks like; the
    engine's or server's own code where no answer came.
    """
    test = read_self_test(bundle)
    if test is None and getattr(pipeline.reasoner, "is_remote", False):
        test = replace(drawn_self_test(), has_to_know=is_published(pipeline.profile))
    if test is None:
        return "no self-test in this bundle (python -m export.self_test BUNDLE puts one there)"
    began, reasoner, known, right = time.monotonic(), pipeline.reasoner, test, 0

    def judge(server: Reasoner, request: Request | None) -> bool:
        if request is not None:
            return _is_back(Pipeline(pipeline.profile, server, FilledBoxes()), known, request)
        nonlocal right
        right = _ask(Pipeline(pipeline.profile, server, pipeline.segmenter), known, limit_s)
        return True

    fault = reasoner.judge_by(judge) if isinstance(reasoner, Judged) else None
    if fault is not None or not isinstance(reasoner, Judged):
        right = _ask(Pipeline(pipeline.profile, reasoner, pipeline.segmenter), test, limit_s)
    if fault is not None:
        return f"the server is not asked, the local bundle answers: {fault.detail}"
    if right < len(test.questions):
        return f"self-test: {right} of {len(test.questions)} drawn shapes found, not all of which it need know"
    return f"self-test passed, {len(test.questions)} questions in {time.monotonic() - began:.2f} s"


def is_published(profile: Profile) -> bool:
    """Whether this is a published family, asked as it was trained: models that know what a red square is."""
    known = PROFILES.get(profile.name)
    return known is not None and (known.prompt, known.image_size) == (profile.prompt, profile.image_size)


def check_served(reasoner: Reasoner, bundle: Bundle, *, limit_s: float = LIMIT_S) -> str:
    """Ask a server's own reasoner, to which messages come rendered; the masks are for those who ask it."""
    return check_coordinates(
        Pipeline(bundle.profile, _Rendering(reasoner, bundle), FilledBoxes()), bundle, limit_s=limit_s
    )


class _Rendering:
    """``Reasoner`` that puts the bundle's prompt around the question, as a server's clients do."""

    def __init__(self, reasoner: Reasoner, bundle: Bundle) -> None:
        self._reasoner, self._profile = reasoner, bundle.profile

    def reason(self, request: Request) -> Answer:
        """Answer; see ``Reasoner``."""
        message = self._profile.render(request.command.text)
        return self._reasoner.reason(replace(request, command=replace(request.command, text=message)))


@runtime_checkable
class Judged(Protocol):
    """A reasoner that asks a server, and another where that is away or wrong."""

    def judge_by(self, judge: Callable[[Reasoner, Request | None], bool]) -> RejectedInput | None:
        """Have the server judged now, and in the time of a request whenever it was away; return why it is not asked.

        ``judge`` raises ``RejectedInput`` for a server that is wrong, and returns False where it could not be seen.
        """
        ...


class FilledBoxes:
    """``Segmenter`` whose masks are the boxes: where a reasoner alone is judged."""

    def set_image(self, frame: Frame) -> None:
        """Take the size of ``frame``."""
        self._shape = frame.rgb.shape[:2]

    def predict(self, targets: tuple[Target, ...]) -> Masks:
        """Return the boxes, filled; see ``Segmenter``."""
        masks = [_filled((target.box,), self._shape) for target in targets]
        return Masks(np.array(masks, np.bool_).reshape(-1, *self._shape), np.ones(len(targets), np.float32))


def _ask(pipeline: Pipeline, test: SelfTest, limit_s: float) -> int:
    """Ask all questions; return how many are answered rightly."""
    deadline_ns, right = time.monotonic_ns() + int(limit_s * 1e9), 0
    for number, question in enumerate(test.questions):
        result = pipeline.ground(test.frame, Command(f"self-test {number}", question.text), deadline_ns=deadline_ns)
        right += _check(result, question, pipeline.profile, test.has_to_know)
    return right


def _is_back(pipeline: Pipeline, test: SelfTest, request: Request) -> bool:
    """Ask a server that was away the first question, as long as ``request`` may take; whether it could be judged."""
    question, frame = test.questions[0], Frame(test.frame.rgb, 0)
    result = pipeline.ground(
        frame, Command("self-test", question.text), deadline_ns=request.deadline_ns, cancelled=request.cancelled
    )
    if result.code in (Code.TIMEOUT, Code.CANCELLED):
        return False
    _check(result, question, pipeline.profile, test.has_to_know)
    return True


def _check(result: Segmentation, question: Question, profile: Profile, has_to_know: bool) -> bool:
    """Return whether the answer is right.

    Raises ENGINE_COORDINATES for a wrong one (one that nothing explains only where the model ``has_to_know``), the code
    of what failed where there is none.
    """
    if result.code in _NO_ANSWER:
        got = f"got {result.code.name}: {result.detail}"
        raise RejectedInput(result.code, f"self-test: asked for {question.text!r}, {got}")
    wrong = _judge(result, question, profile)
    if wrong and (has_to_know or not wrong.endswith(UNEXPLAINED)):
        raise RejectedInput(Code.ENGINE_COORDINATES, f"self-test: asked for {question.text!r}, {wrong}")
    return not wrong


def _judge(result: Segmentation, question: Question, profile: Profile) -> str:
    """Return what is wrong with an answer and what to do, "" where nothing is."""
    expected = f"want {_shown(question.boxes)}"
    found = [instance.box for instance in result.instances]
    if result.code is Code.OK and all_matched(found, question.boxes, LEAST_IOU):
        return _judge_points(result, question.boxes) or _judge_mask(result, question.boxes)
    seen = _shown(found) if found else f"{result.code.name} ({result.detail[:200]})"
    cause = fault_named(result.text, question.boxes, result.frame.size, profile)
    return f"got {seen}, {expected}; {cause}"


def _judge_points(result: Segmentation, boxes: tuple[Box, ...]) -> str:
    """Return what is wrong with the points, which have to lie in a known box, "" where nothing is."""
    for instance in result.instances:
        x, y = instance.point
        if not any(x0 <= x <= x1 and y0 <= y <= y1 for x0, y0, x1, y1 in boxes):
            where = f"the point ({x:.0f}, {y:.0f}) lies in none"
            return (
                f"the boxes are right and {where}: points in another grid, or damaged weights; export the bundle again"
            )
    return ""


def _judge_mask(result: Segmentation, boxes: tuple[Box, ...]) -> str:
    """Return what is wrong with the masks, which have to lie in the known boxes and fill them, "" where nothing is."""
    mask = result.labels > 0
    allowed = _filled(boxes, mask.shape)
    both = float((mask & allowed).sum())
    inside, filled = both / max(1, mask.sum()), both / max(1, allowed.sum())
    if inside >= LEAST_INSIDE and filled >= LEAST_FILLED:
        return ""
    return (
        f"the boxes are right and {100 * inside:.0f} % of the mask lies in them, want {100 * LEAST_INSIDE:.0f}, "
        f"and fills {100 * filled:.0f} % of them, want {100 * LEAST_FILLED:.0f}; "
        "the segmenter's engine is wrong: build or export it again"
    )


def _filled(boxes: tuple[Box, ...], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return bool (H, W), True in the boxes."""
    filled = np.zeros(shape, np.bool_)
    for x0, y0, x1, y1 in boxes:
        filled[max(0, round(y0)) : round(y1), max(0, round(x0)) : round(x1)] = True
    return filled


def _shown(boxes: Any) -> str:
    return "; ".join("[" + ", ".join(f"{side:.0f}" for side in box) + "]" for box in list(boxes)[:3])


# ---- which fault it looks like ----
#
# Each maps the right box in the profile's grid to what a faulty engine writes; arguments: box, grid, picture's size.


def _scaled(box: Box, x: float, y: float) -> Box:
    return box[0] * x, box[1] * y, box[2] * x, box[3] * y


def _fitted(box: Box, grid: Size, picture: Size) -> Box:
    scale = min(grid[0] / picture[0], grid[1] / picture[1])
    return _scaled(box, picture[0] * scale / grid[0], picture[1] * scale / grid[1])


def _letterboxed(box: Box, grid: Size, picture: Size) -> Box:
    _, _, width, height = _fitted((0, 0, *grid), grid, picture)
    x, y = (grid[0] - width) / 2, (grid[1] - height) / 2
    inner = _fitted(box, grid, picture)
    return inner[0] + x, inner[1] + y, inner[2] + x, inner[3] + y


FAULTS: Mapping[str, _Fault] = MappingProxyType(
    {
        "answers in a grid of 0-1000": lambda box, grid, _: _scaled(box, 1000 / grid[0], 1000 / grid[1]),
        "answers in a grid of 0-1": lambda box, grid, _: _scaled(box, 1 / grid[0], 1 / grid[1]),
        "swaps x and y": lambda box, _grid, _size: (box[1], box[0], box[3], box[2]),
        "sees the picture at half its size": lambda box, _grid, _size: _scaled(box, 0.5, 0.5),
        "sees the picture at twice its size": lambda box, _grid, _size: _scaled(box, 2, 2),
        "answers in the camera's pixels": lambda box, grid, size: _scaled(box, size[0] / grid[0], size[1] / grid[1]),
        "keeps the picture's aspect and pads it on both sides": _letterboxed,
        "keeps the picture's aspect and pads it on one side": _fitted,
    }
)


def fault_named(text: str, boxes: tuple[Box, ...], picture: Size, profile: Profile) -> str:
    """Say which fault an answer's own numbers look like, and what to do."""
    grid = profile.coordinate_size()
    right = [_scaled(box, grid[0] / picture[0], grid[1] / picture[1]) for box in boxes]
    written = [_as_box(found.groups()) for found in _NUMBERS.finditer(text)]
    for name, fault in FAULTS.items():
        faulty = [fault(box, grid, picture) for box in right]
        if any(one is not None and max(box_iou(one, box) for box in faulty) > LEAST_IOU for one in written):
            return f"it looks as if the engine {name}, want a grid of {grid[0]} x {grid[1]}; mend its processor"
    return UNEXPLAINED


def _as_box(texts: tuple[str, ...]) -> Box | None:
    try:
        x0, y0, x1, y1 = map(float, texts)
    except ValueError:
        return None
    return x0, y0, x1, y1
