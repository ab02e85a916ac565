"""How good a segmenter is on held-out scenes: masks from true and from jittered boxes, scored at the source's size.

The prompts are what a reasoner gives: a box and one point. No object is dropped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from transformers import Sam2Model

from segzero_ros.backends.decoding.preprocess import IMAGENET_MEAN, IMAGENET_STD, normalise, resize_to
from segzero_ros.backends.torch_cuda.weights import load_whole
from segzero_ros.matching import mask_iou
from training.demo_models.segmenter_data import POSITIVE_POINT, Scene, Shards, jitter_box


@dataclass(frozen=True, slots=True)
class ScoredMask:
    """One object of one scene: the IoU of its mask at source size, the IoU the model predicted, and what it is."""

    scene: int
    iou: float
    predicted: float
    kind: str
    colour: str
    pixels: int
    visible: float


def scene_prompts(
    scene: Scene, jitter: float, side: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes (K, 4) and points (K, 1, 2) of a scene's objects in pixels of the squashed picture.

    Edges are moved by up to `jitter` of the box's side.
    """
    boxes = np.array([thing["box"] for thing in scene.record["objects"]], np.float32).reshape(-1, 4) * side
    points = np.array([thing["point"] for thing in scene.record["objects"]], np.float32).reshape(-1, 1, 2) * side
    if jitter:
        boxes = np.stack([jitter_box(box, jitter, rng, side) for box in boxes])
    return boxes, points


@torch.no_grad()
def predict(
    model: Sam2Model, rgb: NDArray[np.uint8], boxes: NDArray[np.float32], points: NDArray[np.float32]
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Masks bool (K, H, W) at the source's size and predicted IoUs (K): of three the best by predicted IoU."""
    side = model.config.prompt_encoder_config.image_size
    pixels = torch.from_numpy(normalise(resize_to(rgb, (side, side)), IMAGENET_MEAN, IMAGENET_STD))[None]
    labels = torch.full(points.shape[:2], POSITIVE_POINT)[None]
    where = model.device
    out = model(
        pixel_values=pixels.to(where),
        input_boxes=torch.from_numpy(boxes)[None].to(where),
        input_points=torch.from_numpy(points)[None].to(where),
        input_labels=labels.to(where),
    )
    best = out.iou_scores[0].argmax(1)
    pick = torch.arange(len(best), device=where)
    logits = F.interpolate(out.pred_masks[0][pick, best][:, None], rgb.shape[:2], mode="bilinear")[:, 0]
    return (logits > 0).cpu().numpy(), out.iou_scores[0][pick, best].cpu().numpy()


def score_objects(model: Sam2Model, shards: Shards, *, jitter: float, most: int, seed: int = 0) -> Iterator[ScoredMask]:
    """Every object of the first `most` scenes, asked for by its box and its point. No object is dropped."""
    model.eval()
    rng = np.random.default_rng(seed)
    for number, scene in zip(range(most), shards.scenes(), strict=False):
        things = scene.record["objects"]
        if not things:
            continue
        boxes, points = scene_prompts(scene, jitter, model.config.prompt_encoder_config.image_size, rng)
        masks, scores = predict(model, scene.rgb, boxes, points)
        for thing, mask, score in zip(things, masks, scores, strict=True):
            truth = scene.labels == thing["id"]
            about = thing["kind"], thing["colour"], int(truth.sum()), thing["visible"]
            yield ScoredMask(number, mask_iou(mask, truth), float(score), *about)


def mean_with_interval(scored: Sequence[ScoredMask], seed: int = 0) -> dict[str, Any]:
    """Mean IoU with its 95 % interval, and the shares above thresholds.

    The bootstrap draws scenes, not objects: objects of one scene are not independent.
    """
    ious = np.array([item.iou for item in scored])
    scenes = np.array([item.scene for item in scored])
    numbers, place = np.unique(scenes, return_inverse=True)
    sums, counts = np.bincount(place, ious), np.bincount(place)
    draws = np.random.default_rng(seed).integers(len(numbers), size=(2000, len(numbers)))
    means = sums[draws].sum(1) / counts[draws].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    shares = {f"iou_above_{threshold}": round(float((ious > threshold).mean()), 4) for threshold in (0.5, 0.75, 0.9)}
    rounded = {"mean_iou": round(float(ious.mean()), 4), "interval_95": [round(float(low), 4), round(float(high), 4)]}
    return {
        "objects": len(ious),
        "scenes": len(numbers),
        **rounded,
        "median_iou": round(float(np.median(ious)), 4),
        **shares,
    }


def evaluate(checkpoint: Path, data: Path, most: int) -> dict[str, Any]:
    """The report of a checkpoint on held-out scenes: true boxes, jittered boxes, and where it is weak."""
    model = load_whole(Sam2Model, checkpoint)
    shards = Shards(data)
    exact = list(score_objects(model, shards, jitter=0.0, most=most))
    groups = {kind: [item for item in exact if item.kind == kind] for kind in sorted({item.kind for item in exact})}
    sizes = {"below_300_px": (0, 300), "300_to_1000_px": (300, 1000), "above_1000_px": (1000, 10**9)}
    error = float(np.mean([abs(item.iou - item.predicted) for item in exact]))
    return {
        "checkpoint_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "shards": shards.names,
        "prompt": "box and one point",
        "true_boxes": mean_with_interval(exact),
        **{
            f"boxes_jittered_{share}": mean_with_interval(list(score_objects(model, shards, jitter=share, most=most)))
            for share in (0.1, 0.2)
        },
        "predicted_iou_mean_error": round(error, 4),
        "by_kind": {kind: mean_with_interval(items) for kind, items in groups.items()},
        "by_size": {
            name: mean_with_interval(items)
            for name, (low, high) in sizes.items()
            if (items := [item for item in exact if low <= item.pixels < high])
        },
        "mostly_hidden": mean_with_interval(hidden)
        if (hidden := [item for item in exact if item.visible < 0.5])
        else None,
    }
