"""Contestants side by side: each question is asked of all of them in turn, so that a busy machine slows all alike."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from export.queries import EvalQuery


@dataclass(frozen=True, slots=True)
class Measured:
    """What one contestant needed for one question: ``ms`` by stage ("total" always), counts, and what it said.

    ``interleave`` adds "cpu": CPU time of this process, all threads, which a busy machine does not stretch.
    """

    ms: Mapping[str, float]
    counts: Mapping[str, float] = field(default_factory=dict)
    text: str = ""
    code: str = "OK"


Contestant = Callable[[EvalQuery], Measured]


def interleave(
    contestants: Mapping[str, Contestant], questions: Sequence[EvalQuery], *, warmup: int = 3, label: str = ""
) -> dict[str, list[Measured]]:
    """Ask every contestant every question; who begins changes from question to question.

    The first ``warmup`` questions are asked but not counted: caches fill, compilers compile. Each question comes on a
    new frame object.
    """
    names = list(contestants)
    found: dict[str, list[Measured]] = {name: [] for name in names}
    gc.collect()
    for number, question in enumerate(questions):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            before = time.process_time()
            measured = contestants[name](question.afresh())
            used = (time.process_time() - before) * 1e3
            if number >= warmup:
                found[name].append(replace(measured, ms={"cpu": used, **measured.ms}))
        _show_progress(f"{label} {number + 1}/{len(questions)}", last=number + 1 == len(questions))
    return found


def _show_progress(line: str, *, last: bool) -> None:
    if sys.stderr.isatty():
        print(f"\r{line} ", end="\n" if last else "", file=sys.stderr, flush=True)
