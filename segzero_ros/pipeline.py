"""The way from a frame and a command to masks: the one page everybody calls.

The node, the command line, the evaluation and the benchmarks ground through ``Pipeline.ground``; there is no second
copy of the path. No threads, no clock of its own, no ROS.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segzero_ros.answer import Target, parse_answer, split_thinking
from segzero_ros.command import Command, Stage
from segzero_ros.errors import Code, RejectedInput, clean_text, one_line
from segzero_ros.frame import Frame, no_frame
from segzero_ros.matching import distinct
from segzero_ros.profile import Profile
from segzero_ros.reasoner import Answer, EarlyReasoner, Reasoner, Request, ignore, never
from segzero_ros.segmenter import EarlySegmenter, Masks, Segmenter, Tracker

DEFAULT_BUDGET = 256  # thinking tokens; upstream's models need 60-110
MAX_TOKENS = 2**32 - 1  # what the message's field holds
MAX_DETAIL_CHARS = 500  # of a failed engine's message, which can be pages long
_MOST_UINT8_INSTANCES = 254  # 255 stays free: other people's label images use it for "ignore"

Labels = NDArray[np.uint8] | NDArray[np.uint16]
Cancelled = Callable[[], bool]
OnText = Callable[[str], None]
OnStage = Callable[[Stage], None]


@dataclass(frozen=True, slots=True)
class Instance:
    """One object found: ``score`` 0..1; ``box`` (x0, y0, x1, y1) and ``point`` (x, y) in source pixels.

    ``mask_index``: k >= 1, the value this object's pixels have in ``Segmentation.labels``. ``track_id``: the same
    object in later frames has the same, from 1 on; 0 = not followed.
    """

    label: str
    score: float
    box: tuple[float, float, float, float]
    point: tuple[float, float]
    mask_index: int
    track_id: int = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time went, ms by stage; ``total_ms`` is from the command's arrival to its end.

    ``first_token_ms``: from the reasoner's start to its first text. ``dropped_frames``: frames that came while the
    command was at work and were not used.
    """

    queue_ms: float = 0.0
    first_token_ms: float = 0.0
    reasoning_ms: float = 0.0
    segmentation_ms: float = 0.0
    tracking_ms: float = 0.0
    total_ms: float = 0.0
    tokens: int = 0
    dropped_frames: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The end of one command; every command has exactly one.

    ``detail``: never empty unless ``code`` is OK; a caution where there is one: about the picture, a thing that was
    named twice and is there once, a box in which the segmenter saw nothing. ``reasoning``: the
    model's thinking, untrusted text, clean UTF-8.
    ``labels``: uint8 (uint16 above 254 instances), (H, W) of ``frame``: 0 = background, k = ``instances[k - 1]``;
    where masks overlap the better score wins. ``frame``: the picture it was grounded on (0 x 0 when there was
    none). ``text``: the raw answer, clean UTF-8. ``tracked``: the masks were carried here from the frame of the stamp
    ``grounded_ns``, which the reasoner looked at.
    """

    command: Command
    code: Code
    detail: str
    reasoning: str
    instances: tuple[Instance, ...]
    labels: Labels
    frame: Frame
    timing: Timing
    text: str
    tracked: bool = False
    grounded_ns: int | None = None


class Pipeline:
    """A profile, a reasoner and a segmenter that belong together; not thread-safe, the worker owns it."""

    def __init__(
        self,
        profile: Profile,
        reasoner: Reasoner,
        segmenter: Segmenter,
        *,
        budget: int = DEFAULT_BUDGET,
        label: str = "",
        engines: str = "",
        caution: Callable[[Frame], str] = lambda _: "",
        make_tracker: Callable[[], Tracker] | None = None,
        now: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """``budget``: thinking tokens per command. ``label``: every instance's label, the command's text if empty.

        ``engines``: which engines these are and why, for logs and diagnostics. ``caution``: what to say beside an
        answer about this frame, "" = nothing. ``make_tracker``: see ``new_tracker``.
        """
        self.profile = profile
        self.reasoner = reasoner
        self.segmenter = segmenter
        self.engines = engines
        self._budget = budget
        self._label = label
        self._caution = caution
        self._make_tracker = make_tracker
        self._now = now

    def for_client(self, *, budget: int, label: str) -> "Pipeline":
        """Return the same engines with another budget and label; both may be used, by one thread at a time."""
        return Pipeline(
            self.profile,
            self.reasoner,
            self.segmenter,
            budget=budget,
            label=label,
            engines=self.engines,
            caution=self._caution,
            make_tracker=self._make_tracker,
            now=self._now,
        )

    @property
    def not_ready(self) -> tuple[Code, str] | None:
        """Why no command can be taken now; engines in this process are open or not there at all."""
        return None

    @property
    def degraded_reason(self) -> str:
        """What keeps the reasoner from its best while it answers all the same (a server that was lost), else ""."""
        return str(getattr(self.reasoner, "degraded_reason", ""))

    def ground(
        self,
        frame: Frame,
        command: Command,
        *,
        deadline_ns: int | None = None,
        cancelled: Cancelled = never,
        on_text: OnText = ignore,
        on_stage: OnStage = ignore,
    ) -> Segmentation:
        """Find what ``command`` names in ``frame``; whatever the outside does wrong becomes the result's code.

        ``deadline_ns``: on the monotonic clock; the reasoner then answers early. ``cancelled`` is asked between tokens
        and stages. ``on_text`` gets the growing answer piece by piece, ``on_stage`` each stage as it begins.
        """
        run = _Run(frame, command, self._now)
        try:
            if deadline_ns is not None and self._now() >= deadline_ns:
                raise RejectedInput(Code.TIMEOUT, "got no time to look, the deadline had passed; allow more time")
            on_stage(Stage.REASONING)
            with engine_faults(Code.SEGMENTER_FAILED):
                self._begin(frame)
            request = Request(frame, command, self._budget, deadline_ns, cancelled, on_text)
            answer = run.reason(self.reasoner, request)
            targets = run.read(answer, self.profile)
            if cancelled():
                raise _cancelled()
            if not targets:
                nothing = f"the model sees nothing that matches {command.text!r}"
                return run.end(Code.NO_TARGET, "; ".join(filter(None, (nothing, self._caution(frame)))))
            on_stage(Stage.SEGMENTING)
            masks = run.segment(self.segmenter, targets)
            targets, masks, said = _said_once(targets, masks)
            return run.found(
                targets, masks, self._label or command.text, "; ".join(filter(None, (said, self._caution(frame))))
            )
        except RejectedInput as error:
            return run.end(error.code, error.detail)

    def mask(
        self, frame: Frame, command: Command, targets: tuple[Target, ...], *, deadline_ns: int | None = None
    ) -> Segmentation:
        """Return the masks of ``targets``, which a person gives and no reasoner; ``command``: what they are meant for.

        Ends as ``ground`` does, with one instance per target; SEGMENTER_FAILED for whatever the segmenter does wrong.
        """
        run = _Run(frame, command, self._now)
        try:
            if deadline_ns is not None and self._now() >= deadline_ns:
                raise RejectedInput(Code.TIMEOUT, "got no time to mask, the deadline had passed; allow more time")
            return run.found(targets, run.segment(self.segmenter, targets), self._label or command.text, "")
        except RejectedInput as error:
            return run.end(error.code, error.detail)

    def prefill_image(self, frame: Frame) -> None:
        """Do on ``frame`` what needs no command (vision, the picture's part of the prompt, SAM 2's encoder).

        A command on the same frame object then starts with its text: a warm frame. What an engine raises is
        ``RejectedInput`` REASONER_FAILED or SEGMENTER_FAILED.
        """
        with engine_faults(Code.SEGMENTER_FAILED):
            self._begin(frame)
        if isinstance(self.reasoner, EarlyReasoner):
            with engine_faults(Code.REASONER_FAILED):
                self.reasoner.prefill_image(frame)
        with engine_faults(Code.SEGMENTER_FAILED):
            self.segmenter.set_image(frame)

    def new_tracker(self) -> Tracker:
        """Return a tracker of its own on these engines; same thread. UNSUPPORTED where they have none."""
        if self._make_tracker is None:
            raise RejectedInput(Code.UNSUPPORTED, "these engines cannot follow things; use a bundle with SAM 2")
        return self._make_tracker()

    def _begin(self, frame: Frame) -> None:
        if isinstance(self.segmenter, EarlySegmenter):
            self.segmenter.begin(frame)


class _Run:
    """One command on its way: what it has produced so far and how long that took."""

    def __init__(self, frame: Frame, command: Command, now: Callable[[], int]) -> None:
        self.frame = frame
        self.command = command
        self.timing = Timing()
        self.reasoning = ""
        self.text = ""
        self._now = now
        self._start_ns = now()

    def reason(self, reasoner: Reasoner, request: Request) -> Answer:
        """Ask the reasoner; REASONER_FAILED for whatever it raises or returns that is no ``Answer``."""
        start_ns = self._now()
        pieces: list[str] = []

        def on_text(piece: str) -> None:
            if not pieces:
                self.timing = replace(self.timing, first_token_ms=self._ms_since(start_ns))
            pieces.append(piece)
            request.on_text(clean_text(piece))

        try:
            with engine_faults(Code.REASONER_FAILED):
                answer = reasoner.reason(replace(request, on_text=on_text))
                _check_answer(answer)
        except RejectedInput as error:
            if error.code is Code.REASONER_FAILED:
                self._set_text("".join(piece for piece in pieces if isinstance(piece, str)))
            raise
        finally:
            self.timing = replace(self.timing, reasoning_ms=self._ms_since(start_ns))
        self.timing = replace(self.timing, tokens=min(answer.tokens, MAX_TOKENS))
        self._set_text(answer.text)
        return answer

    def read(self, answer: Answer, profile: Profile) -> tuple[Target, ...]:
        """Parse the answer; a cancelled one is not read, and a deadline without an answer is a TIMEOUT."""
        if answer.finish == "cancelled":
            raise _cancelled()
        try:
            text = answer.text[answer.lost_chars :]
            parsed = parse_answer(text, profile, self.frame.size, finish=answer.finish)
        except RejectedInput as error:
            if answer.finish == "deadline" and error.code is Code.ANSWER_TRUNCATED:
                raise RejectedInput(
                    Code.TIMEOUT, f"got no answer before the deadline ({answer.tokens} tokens); allow more time"
                ) from error
            raise
        lost = clean_text(answer.text[: answer.lost_chars]).removeprefix("<think>").lstrip()
        self.reasoning = lost + parsed.thinking
        return parsed.targets

    def segment(self, segmenter: Segmenter, targets: tuple[Target, ...]) -> Masks:
        """Ask the segmenter; SEGMENTER_FAILED for whatever it raises or returns that are no masks of these targets."""
        start_ns = self._now()
        try:
            with engine_faults(Code.SEGMENTER_FAILED):
                segmenter.set_image(self.frame)
                masks = segmenter.predict(targets)
                _check_masks(masks, len(targets), self.frame)
                return masks
        finally:
            self.timing = replace(self.timing, segmentation_ms=self._ms_since(start_ns))

    def found(self, targets: tuple[Target, ...], masks: Masks, label: str, detail: str) -> Segmentation:
        """End OK, with one instance per target in the order of the answer."""
        instances = tuple(
            Instance(label, float(score), target.box, target.points[0] if target.points else _middle(target.box), k)
            for k, (target, score) in enumerate(zip(targets, masks.scores, strict=True), start=1)
        )
        return self.end(Code.OK, detail, instances, paint_labels(masks))

    def end(
        self, code: Code, detail: str, instances: tuple[Instance, ...] = (), labels: Labels | None = None
    ) -> Segmentation:
        """End, without ``labels`` with all of them zero."""
        labels = no_labels(self.frame) if labels is None else labels
        timing = replace(self.timing, total_ms=self._ms_since(self._start_ns))
        return Segmentation(
            self.command, code, detail, self.reasoning, instances, labels, self.frame, timing, self.text
        )

    def _set_text(self, text: str) -> None:
        self.text = clean_text(text)
        self.reasoning = split_thinking(self.text)[0]

    def _ms_since(self, start_ns: int) -> float:
        return (self._now() - start_ns) / 1e6


def _middle(box: tuple[float, float, float, float]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def unanswered(command: Command, code: Code, detail: str, frame: Frame | None = None) -> Segmentation:
    """Return the end of a command that found nothing, for whichever reason; ``frame``: what it was grounded on."""
    frame = frame or no_frame()
    return Segmentation(command, code, detail, "", (), no_labels(frame), frame, Timing(), "")


def no_labels(frame: Frame) -> Labels:
    """Return the label image of ``frame`` with nothing on it."""
    return np.zeros(frame.rgb.shape[:2], np.uint8)


def paint_labels(masks: Masks) -> Labels:
    """Return the label image (H, W) of ``masks``: k where mask k - 1 is, the better score on top."""
    order = np.argsort(masks.scores, kind="stable")
    if not len(order):
        return np.zeros(masks.masks.shape[1:], np.uint8)
    dtype = np.uint8 if len(order) <= _MOST_UINT8_INSTANCES else np.uint16
    labels: Labels = np.multiply(masks.masks[order[0]], dtype(order[0] + 1), dtype=dtype)
    for k in order[1:]:
        np.copyto(labels, k + 1, where=masks.masks[k], casting="unsafe")
    return labels


def labels_of(mask: Any) -> Labels:
    """Return the label image (H, W) of a sensor_msgs/Image, mono8 or mono16; 0 x 0 where there was no picture."""
    if not mask.height:
        return np.zeros((0, 0), np.uint8)
    is_wide = mask.encoding == "mono16"
    stored = np.frombuffer(mask.data, (">u2" if mask.is_bigendian else "<u2") if is_wide else "u1")
    rows = stored.reshape(mask.height, -1)[:, : mask.width]
    return rows.astype(np.uint16) if is_wide else rows.astype(np.uint8)


@contextlib.contextmanager
def engine_faults(code: Code) -> Iterator[None]:
    """Turn whatever an engine raises into ``RejectedInput`` ``code``; only Ctrl-C is nobody's fault.

    Not all of it is an ``Exception``: a panic in an engine written in Rust is a BaseException.
    """
    try:
        yield
    except (RejectedInput, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise _failed(code, error) from error


def _check_answer(answer: Answer) -> None:
    if not isinstance(answer, Answer) or not isinstance(answer.text, str):
        raise TypeError(f"the reasoner returned {type(answer).__name__}, want Answer with text")
    if type(answer.tokens) is not int or answer.tokens < 0:
        raise TypeError(f"the reasoner returned {answer.tokens!r} tokens, want a number of them")


def _said_once(targets: tuple[Target, ...], masks: Masks) -> tuple[tuple[Target, ...], Masks, str]:
    """Leave out what the model named a second time, and say so, as well as which thing has no pixel."""
    kept = distinct(masks.masks, [target.box for target in targets])
    said = []
    if repeated := len(targets) - len(kept):
        said.append(f"the model named {repeated} of {len(targets)} things a second time; left out")
        targets, masks = tuple(targets[k] for k in kept), Masks(masks.masks[kept], masks.scores[kept])
    said += [f"the segmenter saw nothing in box {k}" for k, mask in enumerate(masks.masks, 1) if not mask.any()]
    return targets, masks, "; ".join(said)


def _check_masks(masks: Masks, count: int, frame: Frame) -> None:
    if not isinstance(masks, Masks):
        raise TypeError(f"the segmenter returned {type(masks).__name__}, want Masks")
    wanted = (count, *frame.rgb.shape[:2])
    if masks.masks.shape != wanted or masks.masks.dtype != np.bool_ or masks.scores.shape != (count,):
        raise ValueError(
            f"the segmenter returned {masks.masks.dtype} {masks.masks.shape} and scores {masks.scores.shape}, "
            f"want bool {wanted} and ({count},)"
        )
    if not np.isfinite(masks.scores).all():
        raise ValueError("the segmenter returned a score that is no number")


def error_text(error: BaseException) -> str:
    """Return an exception as one clean line of at most MAX_DETAIL_CHARS characters, to be published."""
    return one_line(f"{type(error).__name__}: {error}")[:MAX_DETAIL_CHARS]


def _failed(code: Code, error: BaseException) -> RejectedInput:
    return RejectedInput(code, f"got {error_text(error)}; see the log, then verify the bundle or change the backend")


def _cancelled() -> RejectedInput:
    return RejectedInput(Code.CANCELLED, "cancelled before the answer was complete; send the command again if wanted")
