"""How far a run has come, in steps or on the clock, how quickly, and how long it waited for its data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")


def choose_device(name: str) -> torch.device:
    """`cpu`, `cuda`, or for `auto` the second where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def arithmetic(device: torch.device, wanted: bool | None = None) -> torch.autocast:
    """The forward pass in bfloat16 where `wanted`, by default on a GPU; weights and optimisers stay in float32."""
    enabled = device.type == "cuda" if wanted is None else wanted
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A run of `steps`, or of `seconds` in which the clock passes through these steps however many are made.

    `began`: when, by `time.monotonic`, which all processes of a machine share; less what an earlier part took.
    """

    steps: int
    seconds: float | None = None
    began: float = 0.0

    @property
    def used(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began

    def at(self, step: int) -> int:
        """The step of the recipe, 0..steps, that belongs to the run's step number `step`, now."""
        return step if self.seconds is None else min(self.steps, int(self.steps * self.used / self.seconds))

    def over(self, step: int) -> bool:
        """Whether the run has come to its end."""
        return self.at(step) >= self.steps


@dataclass(slots=True)
class Pace:
    """Counts pictures and what waiting for data took; `line` says both once per `every` seconds."""

    every: float = 60.0
    pictures: int = 0
    waited: float = 0.0
    since: float = field(default_factory=time.monotonic)

    def timed(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items; what it takes to get one counts as waiting."""
        source = iter(items)
        while True:
            asked = time.monotonic()
            try:
                item = next(source)
            except StopIteration:
                return
            self.waited += time.monotonic() - asked
            yield item

    def line(self) -> dict[str, Any] | None:
        """`pictures_per_s` and `waiting`, a share of the time, since the last line; None before its time."""
        took = time.monotonic() - self.since
        if took < self.every:
            return None
        found = {"pictures_per_s": round(self.pictures / took, 1), "waiting": round(self.waited / took, 3)}
        self.pictures, self.waited, self.since = 0, 0.0, time.monotonic()
        return found
