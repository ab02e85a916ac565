"""The segmenter in the reward's loop: masks of what the samples point at, compared with the true masks.

A picture is encoded once per step and all boxes of its samples are decoded together, each distinct box once. The
published recipes leave SAM 2 out of the loop; GenSeg-R1 (arXiv 2602.09701) and SAM-R1 put it in.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from segzero_ros import backends
from segzero_ros.answer import Target
from segzero_ros.backends import EngineOptions
from segzero_ros.backends.decoding.preprocess import IMAGENET_MEAN, IMAGENET_STD, normalise, resize_to
from segzero_ros.backends.torch_cuda.weights import load_whole
from segzero_ros.bundle import open_bundle
from segzero_ros.frame import Frame
from segzero_ros.segmenter import Masks, Segmenter

Masking = NDArray[np.bool_]


class TorchSegmenter:
    """`facebook/sam2.1-hiera-large` and its like through transformers' Sam2Model, one frame at a time.

    Boxes and points go in, the best of three masks by predicted IoU comes out, bilinear to the source's size.
    """

    def __init__(self, checkpoint: str, device: str, batch: int = 64) -> None:
        from transformers import Sam2Model

        self.model = load_whole(Sam2Model, checkpoint).to(device).eval()
        self.device, self.batch = device, batch
        self.side = int(self.model.config.prompt_encoder_config.image_size)
        self._embeddings: list[torch.Tensor] = []
        self._frame: Frame | None = None

    @torch.no_grad()
    def set_image(self, frame: Frame) -> None:
        """Encode `frame`; the same frame object a second time costs nothing."""
        if frame is self._frame:
            return
        self._frame = None  # should the encoder fail, the last picture's features must not answer for this one
        pixels = normalise(resize_to(frame.rgb, (self.side, self.side)), IMAGENET_MEAN, IMAGENET_STD)
        self._embeddings = self.model.get_image_embeddings(torch.from_numpy(pixels)[None].to(self.device))
        self._frame = frame

    @torch.no_grad()
    def predict(self, targets: tuple[Target, ...]) -> Masks:
        """Masks of all `targets` on the last frame; RuntimeError before the first."""
        if self._frame is None:
            raise RuntimeError("predict without an image; call set_image first")
        width, height = self._frame.size
        masks = np.zeros((len(targets), height, width), np.bool_)
        scores = np.zeros(len(targets), np.float32)
        for start in range(0, len(targets), self.batch):
            part = slice(start, start + self.batch)
            masks[part], scores[part] = self._decode(targets[part], (width, height))
        return Masks(masks, scores)

    def _decode(self, targets: Sequence[Target], size: tuple[int, int]) -> tuple[Masking, NDArray[np.float32]]:
        scale = torch.tensor([self.side / size[0], self.side / size[1]])
        boxes = torch.tensor([target.box for target in targets]) * scale.repeat(2)
        points = torch.tensor([target.points for target in targets]) * scale
        out = self.model(
            image_embeddings=self._embeddings,
            input_boxes=boxes[None].to(self.device),
            input_points=points[None].to(self.device),
            input_labels=torch.ones(points.shape[:2], dtype=torch.long)[None].to(self.device),
        )
        ious = out.iou_scores[0]
        rows = torch.arange(len(targets), device=ious.device)
        best = ious.argmax(1)
        logits = functional.interpolate(out.pred_masks[0][rows, best][:, None].float(), size[::-1], mode="bilinear")
        return (logits[:, 0] > 0).cpu().numpy(), ious[rows, best].clamp(0, 1).float().cpu().numpy()


def open_segmenter(name: str, device: str, threads: int) -> Segmenter:
    """A bundle's segmenter when `name` is a folder with bundle.json, else a Sam2Model checkpoint."""
    folder = Path(name)
    if (folder / "bundle.json").exists():
        options = EngineOptions(threads=threads, encode_ahead=False)
        return backends.open_segmenter("onnx", open_bundle(folder), options)
    return TorchSegmenter(name, device)


def mask_ious(
    segmenter: Segmenter, rgb: NDArray[np.uint8], answers: Sequence[tuple[Target, ...]], truths: Sequence[Masking]
) -> list[NDArray[np.float64]]:
    """Per answer a matrix (its targets, its true objects) of mask IoUs; all answers are about the picture `rgb`.

    `truths[n]`: bool (M, H, W), the objects that answer n should have found.
    """
    distinct = {target: None for answer, truth in zip(answers, truths, strict=True) if len(truth) for target in answer}
    place = {target: n for n, target in enumerate(distinct)}
    if not place:
        return [np.zeros((len(answer), len(truth))) for answer, truth in zip(answers, truths, strict=True)]
    segmenter.set_image(Frame(np.ascontiguousarray(rgb), 0))
    found = segmenter.predict(tuple(place)).masks.reshape(len(place), -1).astype(np.float32)
    areas = found.sum(1)
    result = []
    for answer, truth in zip(answers, truths, strict=True):
        rows = [place[target] for target in answer] if len(truth) else []
        result.append(_ious(found[rows], areas[rows], truth) if rows else np.zeros((len(answer), len(truth))))
    return result


def _ious(found: NDArray[np.float32], areas: NDArray[np.float32], truth: Masking) -> NDArray[np.float64]:
    flat = truth.reshape(len(truth), -1).astype(np.float32)
    both = found @ flat.T
    either = areas[:, None] + flat.sum(1)[None] - both
    return np.divide(both, either, out=np.zeros(both.shape), where=either > 0)
