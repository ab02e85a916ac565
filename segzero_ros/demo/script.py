"""The demo's commands, and the values that hold what came of them; no ROS in here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segzero_ros.pipeline import Segmentation

if TYPE_CHECKING:
    from segzero_ros.tabletop import Instruction

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Line:
    """One command to send. ``way``: "topic" or "action"; ``cancel``: cancel it as soon as the node reasons."""

    number: int
    instruction: "Instruction"
    way: str
    cancel: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Glimpse:
    """A moment while a command was at work: the newest picture, uint8 (H, W, 3), and the thinking so far."""

    picture: Picture
    thought: str


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A command with its answer.

    ``picture``: the frame the reasoner looked at; the newest one where it had none. ``iou``: of all masks with all
    objects meant in that frame; None where there is no answer to compare, or where people would not agree. ``meant``:
    how many objects that were, None = unclear. ``answers``: how many came; one is right.
    """

    line: Line
    result: Segmentation
    picture: Picture
    stamp_ns: int
    iou: float | None
    meant: int | None
    answers: int
    glimpses: tuple[Glimpse, ...]


def script(instructions: "Sequence[Instruction]") -> list[Line]:
    """Return what to send, by topic and action in turn; the one in the middle is cancelled while the node reasons."""
    middle = len(instructions) // 2
    again = instructions[min(2, middle)]
    order = [*instructions[:middle], again, *instructions[middle:]]
    ways = ["action" if at == middle or at % 2 else "topic" for at in range(len(order))]
    return [Line(at + 1, instruction, ways[at], at == middle) for at, instruction in enumerate(order)]
