"""The ranges of shapes that engines are built for, and which graphs of a bundle become engines.

A profile gives (least, usual, most) per input with a dynamic axis; TensorRT chooses kernels for the usual one. The
decoder of the reasoner has two: a few rows (a token, or some guessed ahead) and many (picture, question, forced text).
A side of ``OWN`` is the one that the graph fixes; the builder asks it.
"""

from __future__ import annotations

from collections.abc import Mapping

from segzero_ros.backends.decoding.generation import ReasonerShape
from segzero_ros.backends.sam2 import MAX_BATCH
from segzero_ros.backends.sam2_memory import GRAPHS, POINTERS, RECENT
from segzero_ros.segmenter import MAX_FOLLOWED

Shape = tuple[int, ...]
Range = tuple[Shape, Shape, Shape]
Profile = Mapping[str, Range]
Profiles = tuple[Profile, ...]

#: Role -> (part of the bundle, its graph). The memory's are there only where the bundle can follow by it.
MEMORY_ROLES: tuple[str, ...] = tuple(f"segmenter.{graph}" for graph in GRAPHS)
ROLES: Mapping[str, tuple[str, str]] = {
    "segmenter.encoder": ("segmenter", "encoder"),
    "segmenter.decoder": ("segmenter", "decoder"),
    "reasoner.vision": ("reasoner", "vision"),
    "reasoner.embeddings": ("reasoner", "embeddings"),
    "reasoner.decoder": ("reasoner", "decoder"),
    **{role: ("segmenter", graph) for role, graph in zip(MEMORY_ROLES, GRAPHS, strict=True)},
}
OWN = -1
STEP, PREFILL = 0, 1  # the decoder's profiles
STEP_ROWS = 8  # rows of the first one at most: what speculation and short forced texts append
USUAL_OBJECTS, MAX_POINTS = 2, 4  # an answer has one or two points per object
ATTENDED = 4  # objects whose memories are attended to at once: bounds what the engine holds (docs/tracking.md)


def segmenter_profiles(graph: str) -> Profiles:
    """Profiles of SAM 2's ``graph``; the encoder's shapes are fixed."""
    if graph == "encoder":
        return ()
    if graph in GRAPHS:
        return (memory_profile(graph),)
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


def memory_profile(graph: str) -> Profile:
    """Profile of a graph of SAM 2's memory: objects, and of the attention also what each of them remembers."""
    objects = (1, USUAL_OBJECTS, ATTENDED if graph == "memory_attention" else MAX_FOLLOWED)
    slots, pointers = (1, RECENT + 1, RECENT + 1), (1, POINTERS + 1, POINTERS + 1)
    many, tokens = tuple(zip(objects, slots, strict=True)), tuple(zip(objects, pointers, strict=True))
    one = tuple((count,) for count in objects)
    profiles: Mapping[str, Profile] = {
        "mask_prompt": {"masks": _own(one, 2)},
        "track_decoder": {"seen": _own(one, 3)},
        "memory_encoder": {"masks": _own(one, 2), "given": _own(one, 0), "presence": _own(one, 0)},
        "memory_attention": {
            "memories": _own(many, 2),
            "ages": _own(many, 0),
            "pointers": _own(tokens, 1),
            "pointer_ages": _own(tokens, 0),
        },
    }
    return profiles[graph]


def _own(shapes: tuple[Shape, ...], sides: int) -> Range:
    """The shapes, each followed by so many sides that the graph fixes."""
    return _range(*((*shape, *((OWN,) * sides)) for shape in shapes))


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
