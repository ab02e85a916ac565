"""A reasoner's text -> targets: the only parser, shared by the robot, training and evaluation."""

from dataclasses import dataclass

MAX_TARGETS = 64  # more than a scene on a table holds; bounds the segmenter's batch


@dataclass(frozen=True, slots=True)
class Target:
    """One object the model points at.

    ``box``: (x0, y0, x1, y1) source pixels, half-open, x0 < x1, y0 < y1, inside the image. ``points``: one or two
    (x, y) on the object, source pixels, inside the image.
    """

    box: tuple[float, float, float, float]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Parsed:
    """A readable answer: the thinking (clean text, may be empty) and the targets; no targets = "no such object"."""

    thinking: str
    targets: tuple[Target, ...]
