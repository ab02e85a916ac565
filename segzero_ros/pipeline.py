"""The way from a frame and a command to masks: the one page everybody calls."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segzero_ros.command import Command
from segzero_ros.errors import Code
from segzero_ros.frame import Frame

Labels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Instance:
    """One object found: ``score`` 0..1; ``box`` (x0, y0, x1, y1) and ``point`` (x, y) in source pixels.

    ``mask_index``: k >= 1, the value this object's pixels have in ``Segmentation.labels``.
    """

    label: str
    score: float
    box: tuple[float, float, float, float]
    point: tuple[float, float]
    mask_index: int


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time went, ms by stage; ``total_ms`` is from the command's arrival to its end.

    ``first_token_ms``: from the reasoner's start to its first text. ``dropped_frames``: frames that came and were
    replaced by newer ones while the command was at work.
    """

    queue_ms: float = 0.0
    first_token_ms: float = 0.0
    reasoning_ms: float = 0.0
    segmentation_ms: float = 0.0
    tracking_ms: float = 0.0
    total_ms: float = 0.0
    tokens: int = 0
    dropped_frames: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The end of one command; every command has exactly one.

    ``detail``: never empty unless ``code`` is OK. ``reasoning``: the model's thinking, untrusted text, clean UTF-8.
    ``labels``: uint8 (uint16 above 254 instances), (H, W) of ``frame``: 0 = background, k = ``instances[k - 1]``.
    ``frame``: the picture the reasoner looked at (0 x 0 when there was none). ``text``: the raw answer, clean UTF-8.
    """

    command: Command
    code: Code
    detail: str
    reasoning: str
    instances: tuple[Instance, ...]
    labels: Labels
    frame: Frame
    timing: Timing
    text: str
