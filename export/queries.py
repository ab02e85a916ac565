"""What an export is compared on and a benchmark asks: drawn pictures, or rendered tables no model was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segzero_ros.command import Command, read_command
from segzero_ros.frame import Frame


@dataclass(frozen=True, slots=True)
class EvalQuery:
    """A picture and what is asked about it."""

    frame: Frame
    command: Command

    def afresh(self) -> EvalQuery:
        """Return the same question on a new frame object: nothing anybody kept about the old one helps."""
        return EvalQuery(Frame(self.frame.rgb, self.frame.stamp_ns, self.frame.frame_id), self.command)


def tabletop_questions(count: int, seed: int, size: tuple[int, int] = (640, 480)) -> list[EvalQuery]:
    """Return ``count`` questions of the demo world's test split, pictures of ``size`` (width, height)."""
    from segzero_ros.tabletop.samples import samples

    return [
        EvalQuery(
            Frame(np.ascontiguousarray(sample.view.rgb), sample.index),
            read_command(sample.instruction.text, str(sample.index)),
        )
        for sample in samples("test", seed, count, size)
    ]


def drawn_questions(count: int, seed: int) -> list[EvalQuery]:
    """Pictures of coloured rectangles under noise, with commands about them: enough to compare arithmetic."""
    rng = np.random.default_rng(seed)
    names = ("red", "green", "blue", "yellow")
    kinds = ("mug", "book", "ball", "lamp")
    return [
        EvalQuery(_drawing(rng), read_command(f"the {rng.choice(names)} {rng.choice(kinds)}", str(index)))
        for index in range(count)
    ]


def _drawing(rng: np.random.Generator) -> Frame:
    rgb = np.full((240, 320, 3), rng.integers(0, 256, 3), np.float64)
    for _ in range(5):
        x, y, width, height = rng.integers(0, 240), rng.integers(0, 180), rng.integers(10, 80), rng.integers(10, 60)
        rgb[y : y + height, x : x + width] = rng.integers(0, 256, 3)
    return Frame(np.clip(rgb + rng.normal(0, 8, rgb.shape), 0, 255).astype(np.uint8), 0)
