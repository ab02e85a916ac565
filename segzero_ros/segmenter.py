"""The segmenter: a frame once, then targets in, masks with scores out; and the tracker, which follows such masks."""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from segzero_ros.answer import Point, Target
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame

MAX_FOLLOWED = 16  # objects that a tracker follows at once: bounds its memory and the time of a step


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """One mask per target, in the targets' order.

    ``masks``: bool (N, H, W) at the source frame's size. ``scores``: float32 (N,), the model's own predicted IoU, 0..1.
    """

    masks: NDArray[np.bool_]
    scores: NDArray[np.float32]


class Segmenter(Protocol):
    """Turns boxes and points on one frame into masks."""

    def set_image(self, frame: Frame) -> None:
        """Encode ``frame``; the same frame object a second time costs nothing."""
        ...

    def predict(self, targets: tuple[Target, ...]) -> Masks:
        """Masks of all ``targets`` on the frame of the last ``set_image``, decoded in one batch."""
        ...


@runtime_checkable
class EarlySegmenter(Protocol):
    """A segmenter that can encode a picture while something else is being done."""

    def begin(self, frame: Frame) -> None:
        """Begin to encode ``frame`` and return at once; ``set_image`` waits for it and raises what went wrong."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """Where the followed objects are in one frame, in the order in which they were started.

    ``ids``: N numbers from 1 on, never given twice. ``masks``: bool (N, H, W) at the frame's size, empty where the
    object is not seen. ``scores``: float32 (N,), the model's own estimate of the mask's IoU, 0..1. ``presence``:
    float32 (N,), how likely the object is in the picture at all, 0..1; below 0.5 its mask is empty. ``points``: the
    ``inner_point`` of each mask, (0, 0) of an empty one, where another process has looked for them.
    """

    ids: tuple[int, ...]
    masks: NDArray[np.bool_]
    scores: NDArray[np.float32]
    presence: NDArray[np.float32]
    points: tuple[Point, ...] | None = field(default=None, kw_only=True)


class Tracker(Protocol):
    """Follows up to ``MAX_FOLLOWED`` things. One thread at a time; its memory is bounded however long it runs.

    ``kind``: how it follows, "memory" (SAM 2's memory) or "prompted" (the last mask gives the next prompt).
    """

    kind: str

    def start(self, frame: Frame, masks: NDArray[np.bool_]) -> tuple[int, ...]:
        """Follow the objects under ``masks`` (N, H, W) of ``frame`` from now on; returns their ids.

        ``RejectedInput`` TRACK_REFUSED when a mask is empty, of another size than the frame, or one too many.
        """
        ...

    def step(self, frame: Frame) -> Tracks:
        """Find all objects in the next frame, which may have another size than the last."""
        ...

    def forget(self, track_id: int) -> None:
        """Follow one object no longer; an id that is not followed is left alone."""
        ...


def check_start(frame: Frame, masks: NDArray[np.bool_], followed: int) -> None:
    """Refuse (TRACK_REFUSED) what no tracker can follow; ``followed``: objects that it follows already."""
    if masks.ndim != 3 or masks.shape[1:] != frame.rgb.shape[:2]:
        width, height = frame.size
        raise _refused(f"got masks of shape {masks.shape}, want (N, {height}, {width}) as the frame")
    empty = np.flatnonzero(~masks.any((1, 2)))
    if empty.size:
        raise _refused(f"got an empty mask (number {int(empty[0]) + 1}), want at least one pixel of each object")
    if followed + len(masks) > MAX_FOLLOWED:
        raise _refused(
            f"got {len(masks)} more objects than the {followed} that are followed, want at most {MAX_FOLLOWED}; "
            "stop some first"
        )


def _refused(detail: str) -> RejectedInput:
    return RejectedInput(Code.TRACK_REFUSED, detail)
