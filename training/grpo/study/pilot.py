"""What thinking is worth to a base, before anything is reinforced: answers behind no list, the right one, another one.

Two ways of asking. *Forced*: every question once, greedily, behind each of `FORCED`. *Sampled*: every question several
times as it comes, sorted by what the thinking happens to name. The base's lists are drawn without a look at the
question, so that both measure the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segzero_ros.profile import Profile
from training.demo_models.reasoner_model import SIZE, demo_profile
from training.demo_models.shards import things_of
from training.demo_models.supervised_text import Thing
from training.evaluation.match_answer import match_answer
from training.grpo.options import NO_THINKING
from training.grpo.study.answers import Asked, choose_questions
from training.grpo.study.asking import Policy, ask, open_policy
from training.grpo.study.measures import named_things, thinking_of
from training.grpo.study.orders import groups

FORCED = ("empty", "candidates", "other")
SORTS = ("empty", "names all", "names the target", "names others", "unreadable")


def listing(things: Sequence[Thing]) -> str:
    """The thinking that lists these things, as the base writes it."""
    return ", ".join(f"{one.colour} {one.kind} ({round(one.point[0])},{round(one.point[1])})" for one in things) + "."


def behind(one: Asked, how: str) -> str:
    """The text that the answer is made to begin with; "other": a list without any candidate, empty where none is."""
    if how == "empty":
        return NO_THINKING
    named = groups(things_of({"objects": one.things}, SIZE)).values()
    ids = [{thing.id for thing in some} for some in named]
    fits = [
        some
        for some, of_some in zip(named, ids, strict=True)
        if (of_some == one.candidates if how == "candidates" else not of_some & one.candidates)
    ]
    rng = np.random.default_rng(one.number)
    return f"<think>{listing(fits[int(rng.integers(len(fits)))])}</think><answer>" if fits else NO_THINKING


def sort_of(text: str, one: Asked) -> str:
    """Which of `SORTS` an answer's thinking belongs to."""
    if text.startswith(NO_THINKING):
        return "empty"
    if "</think>" not in text:
        return "unreadable"
    named = named_things(thinking_of(text), one.things, SIZE)
    if one.candidates <= named:
        return "names all"
    return "names the target" if set(one.targets) <= named else "names others"


def right(text: str, one: Asked, profile: Profile) -> bool:
    """Whether the answer's box is the one meant."""
    return bool(match_answer(text, one.question.truth, profile)["hit"])


def measure(policy: Policy, asked: Sequence[Asked], times: int) -> dict[str, Any]:
    """Shares right behind each of `FORCED` and, of `times` samples each, in each of `SORTS`, with their numbers."""
    found: dict[str, Any] = {"questions": len(asked), "forced": {}}
    for how in FORCED:
        some = [one for one in asked if how == "empty" or behind(one, how) != NO_THINKING]
        found["forced"][how] = _share(_answers(policy, some, [behind(one, how) for one in some], 0.0), some)
    own = _answers(policy, asked, [""] * len(asked), 0.0)
    found["greedy"] = _share(own, asked) | by_sort(own, asked)
    torch.manual_seed(0)
    samples = [one for one in asked for _ in range(times)]
    found["sampled"] = by_sort(_answers(policy, samples, [""] * len(samples), 1.0), samples)
    return found


def _answers(policy: Policy, asked: Sequence[Asked], forced: Sequence[str], temperature: float) -> list[str]:
    return ask(policy, [one.question for one in asked], forced, temperature)


def _share(texts: Sequence[str], asked: Sequence[Asked]) -> dict[str, Any]:
    profile = demo_profile()
    hits = [right(text, one, profile) for text, one in zip(texts, asked, strict=True)]
    return {"answers": len(hits), "right": round(float(np.mean(hits)), 4) if hits else None}


def by_sort(texts: Sequence[str], asked: Sequence[Asked]) -> dict[str, Any]:
    """Number of answers and share right in each of `SORTS`."""
    sorts = [sort_of(text, one) for text, one in zip(texts, asked, strict=True)]
    chosen = {name: [n for n, sort in enumerate(sorts) if sort == name] for name in SORTS}
    return {name: _share([texts[n] for n in some], [asked[n] for n in some]) for name, some in chosen.items()}


def run(base: Path, data: Path, count: int, times: int) -> dict[str, Any]:
    """Measure a checkpoint on questions of a folder that the study does not use."""
    return measure(open_policy(base), choose_questions(data, count), times)
