"""Texts -> rewards, the segmenter asked where a rule wants masks; and matches -> what a validation reports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segzero_ros.answer import Target
from segzero_ros.profile import Profile
from segzero_ros.segmenter import Segmenter
from training.evaluation.match_answer import Ious, match_answer, read_targets
from training.grpo.masks import mask_ious
from training.grpo.questions import Questions
from training.rewards.grounded import Grounded, grounded_v3
from training.rewards.published import seg_zero_v1, vision_reasoner_v2
from training.rewards.truth import Reward, Truth

_HARD_BELOW = 0.5  # a group is hard when its mean box IoU is lower


@dataclass(frozen=True, slots=True, eq=False)
class Scorer:
    """One reward rule over the questions of a run.

    `segmenter`: None where no mask is wanted; box IoU then takes the mask's place in grounded_v3.
    """

    rule: str
    profile: Profile
    questions: Questions
    settings: Grounded
    segmenter: Segmenter | None = None

    def score(
        self,
        texts: Sequence[str],
        numbers: Sequence[int],
        tokens: Sequence[int],
        uncertainty: Sequence[float],
        group: int,
    ) -> list[Reward]:
        """Rewards of `texts`, each about question `numbers[n]`; `group` of them follow each other about the same one.

        `tokens`: generated before the answer's tag; `uncertainty`: PixelThink's, 0 where the rollouts do not tell.
        """
        truths = {number: self.questions[number].truth for number in set(numbers)}
        if self.rule != "grounded_v3":
            rule = {
                "seg_zero_v1": seg_zero_v1,
                "seg_zero_v1_soft": lambda text, truth: seg_zero_v1(text, truth, strict=False),
                "vision_reasoner_v2": vision_reasoner_v2,
            }[self.rule]
            return [rule(text, truths[number]) for text, number in zip(texts, numbers, strict=True)]
        masks: Sequence[Ious | None] = self.mask_ious(texts, numbers)
        hard = self._hard(texts, [truths[number] for number in numbers], group)
        return [
            grounded_v3(
                text,
                truths[number],
                profile=self.profile,
                settings=self.settings,
                mask_ious=None if ious is None else ious.tolist(),
                thinking_tokens=count,
                uncertainty=doubt,
                hard=difficult,
            )
            for text, number, ious, count, doubt, difficult in zip(
                texts, numbers, masks, tokens, uncertainty, hard, strict=True
            )
        ]

    def mask_ious(self, texts: Sequence[str], numbers: Sequence[int]) -> list[Ious | None]:
        """Per text the mask IoUs of its targets with the true objects; None without a segmenter or without truth."""
        result: list[Ious | None] = [None] * len(texts)
        if self.segmenter is None:
            return result
        by_picture: dict[str, list[int]] = defaultdict(list)
        for place, number in enumerate(numbers):
            by_picture[self.questions.pictures[number]].append(place)
        for places in by_picture.values():
            rgb, _ = self.questions.source(numbers[places[0]])
            known = [(place, self.questions.source(numbers[place])[1]) for place in places]
            known = [(place, truth) for place, truth in known if truth is not None]
            frame = self.profile.coordinate_size()
            scale = (rgb.shape[1] / frame[0], rgb.shape[0] / frame[1])
            read = [read_targets(texts[place], self.profile, frame) or () for place, _ in known]
            answers = [tuple(_scaled(target, scale) for target in targets) for targets in read]
            found = mask_ious(self.segmenter, rgb, answers, [truth for _, truth in known])
            for (place, _), ious in zip(known, found, strict=True):
                result[place] = ious
        return result

    def _hard(self, texts: Sequence[str], truths: Sequence[Truth], group: int) -> list[bool]:
        """Whether each text's group gets its question wrong more often than right (PixelThink's difficulty)."""
        if not self.settings.length_slope:
            return [False] * len(texts)
        ious = [match_answer(text, truth, self.profile)["iou"] for text, truth in zip(texts, truths, strict=True)]
        means = np.array(ious).reshape(-1, group).mean(1)
        return np.repeat(means < _HARD_BELOW, group).tolist()


def _scaled(target: Target, scale: tuple[float, float]) -> Target:
    """A target of the profile's frame in source pixels."""
    x, y = scale
    x0, y0, x1, y1 = target.box
    return Target((x0 * x, y0 * y, x1 * x, y1 * y), tuple((px * x, py * y) for px, py in target.points))


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Means over all rows, over the single objects and by kind; `n_acc` over the questions without an object."""
    kinds = sorted({row["kind"] for row in rows if row["kind"]})
    absent = [row for row in rows if not row["objects"]]
    result = {"all": _means(rows)}
    if absent:
        result["all"]["n_acc"] = round(float(np.mean([row["empty"] for row in absent])), 4)
    single = [row for row in rows if row["objects"] == 1 and row["kind"] != "several"]
    if single and len(kinds) > 1:
        result["single"] = _means(single)
    return result | {kind: _means([row for row in rows if row["kind"] == kind]) for kind in kinds}


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    names = ("hit", "iou", "mask", "valid", "tokens", "thinking")
    means = {name: float(np.mean([float(row[name]) for row in rows])) for name in names}
    return {"count": len(rows)} | {name: round(value, 4) for name, value in means.items() if value == value}
