"""The ranges of shapes that engines are built for, and which graphs of a bundle become engines.

A profile gives (least, usual, most) per input with a dynamic axis; TensorRT chooses kernels for the usual one. The
decoder of the reasoner has two: a few rows (a token, or some guessed ahead) and many (picture, question, forced text).
"""

from __future__ import annotations

from collections.abc import Mapping

from segzero_ros.backends.decoding.generation import ReasonerShape
from segzero_ros.backends.sam2 import MAX_BATCH

Shape = tuple[int, ...]
Range = tuple[Shape, Shape, Shape]
Profile = Mapping[str, Range]
Profiles = tuple[Profile, ...]

#: Role -> (part of the bundle, its graph).
ROLES: Mapping[str, tuple[str, str]] = {
    "segmenter.encoder": ("segmenter", "encoder"),
    "segmenter.decoder": ("segmenter", "decoder"),
    "reasoner.vision": ("reasoner", "vision"),
    "reasoner.embeddings": ("reasoner", "embeddings"),
    "reasoner.decoder": ("reasoner", "decoder"),
}
STEP, PREFILL = 0, 1  # the decoder's profiles
STEP_ROWS = 8  # rows of the first one at most: what speculation and short forced texts append
USUAL_OBJECTS, MAX_POINTS = 2, 4  # an answer has one or two points per object


def segmenter_profiles(graph: str) -> Profiles:
    """Profiles of SAM 2's ``graph``; the encoder's shapes are fixed."""
    if graph == "encoder":
        return ()
    objects = (1, USUAL_OBJECTS, MAX_BATCH)
    points = (1, 1, MAX_POINTS)
    pairs = tuple(zip(objects, points, strict=True))
    return (
        {
            "boxes": _range(*((count, 4) for count in objects)),
            "points": _range(*((count, each, 2) for count, each in pairs)),
            "point_labels": _range(*pairs),
        },
    )


def reasoner_profiles(graph: str, shape: ReasonerShape) -> Profiles:
    """Profiles of the reasoner's ``graph``; the vision graph's shapes are fixed."""
    if graph == "vision":
        return ()
    picture = shape.token_grid[0] * shape.token_grid[1]
    usual = min(picture + 128, shape.max_length)
    if graph == "embeddings":
        return ({"ids": _range((1,), (usual,), (shape.max_length,))},)
    return _rows(shape, (1, 1, STEP_ROWS)), _rows(shape, (1, usual, shape.max_length))


def _rows(shape: ReasonerShape, counts: tuple[int, int, int]) -> Profile:
    widths = {"embeds": shape.hidden_size, "cos": shape.head_dim // 2, "sin": shape.head_dim // 2}
    return {name: _range(*((count, width) for count in counts)) for name, width in widths.items()}


def _range(*shapes: Shape) -> Range:
    least, usual, most = shapes
    return least, usual, most
