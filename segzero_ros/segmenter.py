"""The segmenter: a frame once, then targets in, masks with scores out."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from segzero_ros.answer import Target
from segzero_ros.frame import Frame


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
