"""SAM 2 around its two graphs: what goes into them and what their outputs mean, whatever engine runs them.

Covered: equal to transformers' ``Sam2Model`` with a box and points per object, the best of its three masks by
predicted IoU, bilinear to the source's size, threshold 0 (tests/export/test_segmenter_onnx.py).
Not covered: mask prompts, and points without a box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from segzero_ros.answer import Target
from segzero_ros.backends.decoding.preprocess import IMAGENET_MEAN, IMAGENET_STD, normalise, resize_to
from segzero_ros.backends.sam2_memory import MemoryEngine
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.segmenter import Masks

FEATURES = ("embedding", "fine", "middle")  # the encoder's outputs and the decoder's first inputs
ON_OBJECT, OFF_OBJECT, NO_POINT = 1, 0, -10  # point labels of SAM 2
MAX_BATCH = 16  # objects decoded at once: bounds the memory (33 MB of masks each with SAM 2 large), not the number


class SegmenterEngine(Protocol):
    """The two graphs on some engine; the encoder's features stay inside, on the device."""

    def encode(self, pixels: NDArray[np.float32]) -> None:
        """Encode normalised pixels (1, 3, H, W) and keep the features."""
        ...

    def decode(self, prompts: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits (N, 3, h, w) and IoUs (N, 3) for "boxes" (N, 4), "points" (N, K, 2) and "point_labels" (N, K)."""
        ...


class Sam2Segmenter:
    """``Segmenter`` over a ``SegmenterEngine``. ``image_size``: (width, height) that the encoder was made for.

    ``memory``: the engine of SAM 2's memory on the same features, where the bundle has one.
    """

    def __init__(
        self, engine: SegmenterEngine, image_size: tuple[int, int], memory: MemoryEngine | None = None
    ) -> None:
        self._engine, self._image_size = engine, image_size
        self.memory = memory
        self._frame: Frame | None = None
        self._scale: NDArray[np.float32] = np.ones(
            2, np.float32
        )  # (x, y) from source pixels to pixels of the resized picture

    @property
    def image_size(self) -> tuple[int, int]:
        """(width, height) that the encoder was made for."""
        return self._image_size

    def set_image(self, frame: Frame) -> None:
        """Encode ``frame``; the same frame object a second time costs nothing."""
        if frame is self._frame:
            return
        self._frame = None  # should the encoder fail, the last picture's features must not answer for this one
        pixels = normalise(resize_to(frame.rgb, self._image_size), IMAGENET_MEAN, IMAGENET_STD)
        self._engine.encode(pixels[None])
        self._scale = np.divide(self._image_size, frame.size, dtype=np.float32)
        self._frame = frame

    def predict(self, targets: tuple[Target, ...]) -> Masks:
        """Masks of all ``targets`` on the frame of the last ``set_image``; RuntimeError before the first."""
        if self._frame is None:
            raise RuntimeError("predict without an image; call set_image first")
        width, height = self._frame.size
        masks = np.zeros((len(targets), height, width), np.bool_)
        scores = np.zeros(len(targets), np.float32)
        for batch in _batches(targets):
            logits, ious = self._engine.decode(self._prompts([targets[index] for index in batch]))
            for index, low, iou in zip(batch, logits, ious, strict=True):
                best = int(iou.argmax())
                masks[index] = cv2.resize(low[best], (width, height), interpolation=cv2.INTER_LINEAR) > 0
                scores[index] = np.clip(iou[best], 0.0, 1.0)
        return Masks(masks, scores)

    def _prompts(self, targets: Sequence[Target]) -> dict[str, NDArray[Any]]:
        """The decoder's prompts for targets that have the same number of points, on and off the object together."""
        boxes = np.array([target.box for target in targets], np.float32) * np.tile(self._scale, 2)
        count = _points_of(targets[0])
        points = np.zeros((len(targets), max(1, count), 2), np.float32)
        labels = np.full(points.shape[:2], NO_POINT, np.int64)
        if count:
            points[:] = np.array([(*target.points, *target.off) for target in targets], np.float32) * self._scale
            labels[:] = [[ON_OBJECT] * len(target.points) + [OFF_OBJECT] * len(target.off) for target in targets]
        return {"boxes": boxes, "points": points, "point_labels": labels}


def check_graphs(
    image_size: tuple[int, int], pixels: Sequence[int | str | None], decoder_inputs: Sequence[str]
) -> None:
    """Refuse (BUNDLE_FORMAT) an encoder whose input is not ``image_size``, or a decoder without our inputs."""
    width, height = image_size
    if list(pixels) != [1, 3, height, width]:
        raise _not_ours(f"an encoder for {list(pixels)}", f"[1, 3, {height}, {width}]")
    missing = {*FEATURES, "boxes", "points", "point_labels"} - set(decoder_inputs)
    if missing:
        raise _not_ours("a decoder", f"one with the inputs {', '.join(sorted(missing))}")


def _points_of(target: Target) -> int:
    return len(target.points) + len(target.off)


def _batches(targets: Sequence[Target]) -> list[list[int]]:
    """Indices grouped by number of points, at most MAX_BATCH each: a padding point is a token the model attends to."""
    batches = []
    for count in sorted({_points_of(target) for target in targets}):
        group = [index for index, target in enumerate(targets) if _points_of(target) == count]
        batches += [group[first : first + MAX_BATCH] for first in range(0, len(group), MAX_BATCH)]
    return batches


def _not_ours(got: str, want: str) -> RejectedInput:
    return RejectedInput(
        Code.BUNDLE_FORMAT, f"segmenter: got {got}, want {want}; export the bundle again with this version of segzero"
    )
