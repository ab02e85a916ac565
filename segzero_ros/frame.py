"""A camera frame: raw image fields in, an RGB array or ``RejectedInput`` out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of the camera.

    ``rgb``: uint8 (H, W, 3), contiguous, never written to after construction. ``stamp_ns``: the camera's own stamp,
    ns of whatever clock the camera uses. ``frame_id``: the optical frame's name. Two frames are equal only when they
    are the same object, so ``is`` and ``==`` agree and hashing is cheap.
    """

    rgb: NDArray[np.uint8]
    stamp_ns: int
    frame_id: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.rgb.shape[1], self.rgb.shape[0]


def no_frame() -> Frame:
    """The frame of a command that ended before any picture was there: 0 x 0 pixels, stamp 0."""
    return Frame(np.zeros((0, 0, 3), np.uint8), 0)
