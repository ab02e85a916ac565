"""``grounded_v3``: what a robot wants from an answer, paid in degrees, on the runtime's own parser.

After the first trials of thresholded rewards lifted the share of good boxes and let the mean IoU fall, every measure
of a place is graded here. What it adds to VisionReasoner's reward, and from whom: the IoU of the segmenter's own
masks (GenSeg-R1, arXiv 2602.09701; SAM-R1, 2505.22596), credit for saying rightly that there is nothing
(GenSeg-R1-G), thinking that stays within a budget (PixelThink, 2505.23727). Weights are this project's.

An answer that the robot could not read, ``[]`` where something is, and boxes where nothing is, earn nothing at all,
form included: so none of them can ever pay more than an honest attempt, however long that thinks.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from export.assignment import best_pairs
from segzero_ros.answer import Parsed, Point, Target, parse_answer
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.matching import Box, box_ious
from segzero_ros.profile import Profile
from training.rewards.published import repeats_itself, thinks_then_answers
from training.rewards.truth import Reward, Truth

TIERS = (0.5, 0.75, 0.9)  # mask IoUs, each a step of the "tiered" grading
MAX_FORM_SHARE = 0.25  # of the accuracy's weight; more, and form pays better than looking
_ROUNDING = 1e-3  # of a softmax in half precision
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


@dataclass(frozen=True, slots=True)
class Grounded:
    """Weights and switches of ``grounded_v3``; 0 switches a part off. Raises CONFIG_VALUE for what makes no sense.

    ``format``: one thinking, then one answer, each in its tags, and the answer nothing but its JSON.
    ``box``: graded box IoU. ``mask``: graded mask IoU, as it is ("linear"), "squared" (the last pixels pay most), or
    "tiered" (half of it in steps at TIERS). ``point``: the points lie in their own and in the true box.
    ``count``: fewer over more of the two numbers of objects.
    ``abstain``: the share of box + mask + point + count that a correct ``[]`` earns.
    ``non_repeat``: v2's rule on the thinking alone; in the answer, decimals would pass for sentences.
    ``length_slope``: what each token of thinking over the budget costs of the whole. The budget, in tokens, is
    ``easy_budget``, or for hard questions ``hard_budget`` + ``uncertainty_budget`` times the uncertainty.
    """

    format: float = 0.1
    box: float = 1.0
    mask: float = 1.0
    mask_grading: Literal["linear", "squared", "tiered"] = "linear"
    point: float = 0.25
    count: float = 0.1
    abstain: float = 1.0
    non_repeat: float = 0.05
    length_slope: float = 0.002
    easy_budget: float = 96.0
    hard_budget: float = 256.0
    uncertainty_budget: float = 25.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.name != "mask_grading":
                _check_weight(field.name, getattr(self, field.name))
        if self.mask_grading not in ("linear", "squared", "tiered"):
            raise _unfit(f"mask_grading {self.mask_grading!r}", "linear, squared or tiered")
        if self.box + self.mask <= 0:
            raise _unfit("box and mask both 0", "one of them above 0, or nothing pays for the right place")
        if self.abstain > 1:
            raise _unfit(f"abstain {self.abstain}", "a share of the accuracy's weight, 0 to 1")
        form = self.format + self.non_repeat
        if form > MAX_FORM_SHARE * self.accuracy:
            raise _unfit(
                f"format + non_repeat = {form:g}",
                f"at most a quarter of box + mask + point + count ({self.accuracy:g}), or form pays without looking",
            )

    @property
    def accuracy(self) -> float:
        """What a perfect answer earns for being right."""
        return self.box + self.mask + self.point + self.count

    def length_factor(self, tokens: int, uncertainty: float, *, hard: bool) -> float:
        """Return 0..1, what is left of a reward after that much thinking (PixelThink's soft length penalty)."""
        budget = self.hard_budget + self.uncertainty_budget * uncertainty if hard else self.easy_budget
        return min(1.0, max(0.0, 1.0 - self.length_slope * (tokens - budget)))


def _check_weight(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise _unfit(f"{name} {value!r}", "a number, 0 (off) or more")


def _unfit(got: str, wanted: str) -> RejectedInput:
    return RejectedInput(Code.CONFIG_VALUE, f"got the reward setting {got}, want {wanted}; see docs/rewards.md")


DEFAULT = Grounded()


def grounded_v3(
    text: str,
    truth: Truth,
    *,
    profile: Profile,
    settings: Grounded = DEFAULT,
    mask_ious: Sequence[Sequence[float]] | None = None,
    thinking_tokens: int = 0,
    uncertainty: float = 0.0,
    hard: bool = False,
) -> Reward:
    """Reward one answer, 0..(format + accuracy + non_repeat) of ``settings``; the part "length" is what it cost.

    ``mask_ious[i][j]``: IoU of the segmenter's mask for target i, in ``parse_answer``'s order, with the mask of true
    object j; None lets the box IoU stand in. ``thinking_tokens``: all that was generated before the answer's tag.
    ``uncertainty``: 0..1, ``mean_uncertainty``. ``hard``: which of the budgets. Whatever the text, it does not raise;
    ``ValueError`` for ``mask_ious`` that are not as many as targets and objects, and for impossible counts.
    """
    if thinking_tokens < 0 or not 0 <= uncertainty <= 1:
        raise ValueError(f"got {thinking_tokens} tokens, uncertainty {uncertainty}; want 0 or more, and 0 to 1")
    parts = dict.fromkeys(("format", "box", "mask", "point", "count", "abstain", "non_repeat"), 0.0)
    answer = _read(text, truth, profile)
    if answer is not None and bool(answer.targets) == bool(truth.boxes):
        targets = answer.targets
        parts |= _accuracy(targets, truth, settings, mask_ious) if targets else _abstention(settings)
        parts["format"] = settings.format * _well_formed(text, profile)
        parts["non_repeat"] = settings.non_repeat * (not repeats_itself(answer.thinking))
    earned = Reward(parts).total
    return Reward(parts | {"length": earned * (settings.length_factor(thinking_tokens, uncertainty, hard=hard) - 1.0)})


def mean_uncertainty(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the mean over tokens of 1 - (p1 - p2), the likeliest and second likeliest token's probabilities.

    0 = sure of every token, 1 = two equals every time; 0 without tokens (PixelThink).
    """
    gaps = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    if not ((gaps >= -_ROUNDING) & (gaps <= 1 + _ROUNDING)).all():
        raise ValueError(f"got probability gaps from {gaps.min()} to {gaps.max()}, want p1 >= p2, both 0 to 1")
    return float(1.0 - gaps.clip(0.0, 1.0).mean()) if gaps.size else 0.0


def _read(text: str, truth: Truth, profile: Profile) -> Parsed | None:
    """Return what the robot would act on, in the truth's frame; None when it would refuse."""
    try:
        return parse_answer(text, profile, truth.size)
    except RejectedInput:
        return None


def _well_formed(text: str, profile: Profile) -> bool:
    """Return whether ``text`` is one thinking and one answer, each tag once, and the answer nothing but its JSON.

    Stricter than the published format, which lets a model think on inside the answer, where no budget counts.
    """
    if not profile.tags:
        return True
    text = text.strip()
    body = text[text.find("<answer>") + len("<answer>") : -len("</answer>")].strip()
    once = all(text.count(tag) == 1 for tag in _TAGS)
    return once and thinks_then_answers(text) and body[:1] in ("[", "{") and body[-1:] in ("]", "}")


def _abstention(settings: Grounded) -> dict[str, float]:
    return {"abstain": settings.abstain * settings.accuracy}


def _accuracy(
    targets: Sequence[Target], truth: Truth, settings: Grounded, mask_ious: Sequence[Sequence[float]] | None
) -> dict[str, float]:
    """Return box, mask, point and count of the best one-to-one pairing, over the longer of the two lists."""
    boxes = box_ious([target.box for target in targets], truth.boxes)
    masks = _graded(boxes if mask_ious is None else _checked(mask_ious, boxes.shape), settings.mask_grading)
    points = np.array([[_points_inside(target, box) for box in truth.boxes] for target in targets])
    pairs = {"box": settings.box * boxes, "mask": settings.mask * masks, "point": settings.point * points}
    best = best_pairs(sum(pairs.values()))
    fewer, more = sorted(boxes.shape)
    return {name: float(paid[best].sum()) / more for name, paid in pairs.items()} | {
        "count": settings.count * fewer / more
    }


def _graded(ious: NDArray[np.float64], grading: str) -> NDArray[np.float64]:
    """Return what mask IoUs pay, 0..1, more for every pixel: never in steps alone, which would let the mean fall."""
    if grading == "squared":
        return ious**2
    if grading == "tiered":
        return (ious + np.mean([ious >= tier for tier in TIERS], axis=0)) / 2
    return ious


def _checked(mask_ious: Sequence[Sequence[float]], shape: tuple[int, ...]) -> NDArray[np.float64]:
    ious = np.asarray(mask_ious, np.float64)
    if ious.shape != shape or not ((ious >= 0) & (ious <= 1)).all():
        raise ValueError(f"got mask IoUs of shape {ious.shape}, want {shape} (targets, objects), each 0 to 1")
    return ious


def _points_inside(target: Target, true: Box) -> float:
    """Return the share of the target's points that lie in its own box and in the true one (half-open both)."""
    return sum(_within(point, target.box) and _within(point, true) for point in target.points) / len(target.points)


def _within(point: Point, box: Box) -> bool:
    return box[0] <= point[0] < box[2] and box[1] <= point[1] < box[3]
