"""What is asked: questions about rendered tables that no model here was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segzero_ros.command import Command, read_command
from segzero_ros.frame import Frame


@dataclass(frozen=True, slots=True)
class Question:
    """A picture and what is asked about it."""

    frame: Frame
    command: Command

    def afresh(self) -> Question:
        """Return the same question on a new frame object: nothing anybody kept about the old one helps."""
        return Question(Frame(self.frame.rgb, self.frame.stamp_ns, self.frame.frame_id), self.command)


def tabletop_questions(count: int, seed: int, size: tuple[int, int] = (640, 480)) -> list[Question]:
    """Return ``count`` questions of the demo world's test split, pictures of ``size`` (width, height)."""
    from segzero_ros.tabletop.samples import samples

    return [
        Question(
            Frame(np.ascontiguousarray(sample.view.rgb), sample.index),
            read_command(sample.instruction.text, f"bench-{sample.index}"),
        )
        for sample in samples("test", seed, count, size)
    ]
