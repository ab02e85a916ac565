"""The demo segmenter as it is trained: its configuration, its prompts in batches, its losses."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Sam2Config, Sam2Model

from segzero_ros.backends.decoding.preprocess import IMAGENET_MEAN, IMAGENET_STD
from training.demo_models.segmenter_data import Sample

SIDE = 256  # pixels of the squashed picture


def demo_config(side: int = SIDE) -> Sam2Config:
    """SAM 2 for side x side pictures in 1.9 million parameters: every module of the real one, narrower and shorter."""
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 32,
        "image_size": [side, side],
        "blocks_per_stage": [1, 2, 4, 1],
        "embed_dim_per_stage": [32, 64, 128, 256],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "window_size_per_stage": [8, 4, 8, 4],
        # Never the first block of a stage: its window would be 0 and the pooled padding divides by it.
        "global_attention_blocks": [5],
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": [256, 128, 64, 32],
        "backbone_feature_sizes": [[side // step, side // step] for step in (4, 8, 16)],
        "fpn_hidden_size": 64,
    }
    return Sam2Config(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": 64, "image_size": side, "patch_size": 16},
        mask_decoder_config={
            "hidden_size": 64,
            "mlp_dim": 256,
            "num_attention_heads": 4,
            "attention_downsample_rate": 1,
            "iou_head_hidden_dim": 64,
        },
    )


def build_model(seed: int, config: Sam2Config | None = None) -> Sam2Model:
    """A Sam2Model with random weights as SAM 2's own code draws them.

    transformers draws every weight with a deviation of 0.02, too small at these widths, and two position codes where
    the released checkpoints have one for prompts and picture.
    """
    torch.manual_seed(seed)
    model = Sam2Model(config or demo_config())
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)):
            module.reset_parameters()
    for lateral in model.vision_encoder.neck.convs:  # the decoder learns first: what it has not seen says nothing yet
        nn.init.zeros_(lateral.weight)
        nn.init.zeros_(lateral.bias)
    with torch.no_grad():
        shared = model.prompt_encoder.shared_embedding.positional_embedding
        model.shared_image_embedding.positional_embedding.copy_(shared)
    return model


@dataclass(slots=True)
class Stacked:
    """Samples stacked, as small as they travel from process to process: `Sample`'s arrays with B pictures in front."""

    rgb: Tensor
    ids: Tensor
    boxes: Tensor
    points: Tensor
    point_labels: Tensor
    asked: Tensor

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "Stacked":
        """Stack samples that have the same number of prompts."""
        names = (field.name for field in fields(cls))
        return cls(*(torch.from_numpy(np.stack([getattr(s, name) for s in samples])) for name in names))

    def to(self, device: torch.device) -> "Stacked":
        """The same on `device`; from pinned memory without waiting."""
        tensors = (getattr(self, field.name) for field in fields(self))
        return Stacked(*(tensor.to(device, non_blocking=True) for tensor in tensors))

    def pin_memory(self) -> "Stacked":
        """The same in memory that a GPU can read while the CPU goes on."""
        return Stacked(*(getattr(self, field.name).pin_memory() for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples stacked: pixels (B, 3, S, S), boxes (B, P, 4), points (B, P, K, 2), point_labels (B, P, K).

    All float32 but the labels, which are int64; masks (B, P, S, S) and foreground (B, S, S) are 0 or 1.
    """

    pixels: Tensor
    boxes: Tensor
    points: Tensor
    point_labels: Tensor
    masks: Tensor
    foreground: Tensor

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "Batch":
        """Stack samples that have the same number of prompts."""
        return cls.made(Stacked.of(samples))

    @classmethod
    def made(cls, stacked: Stacked) -> "Batch":
        """Normalise the pictures and cut out the masks, where they are."""
        gain = 1 / (255 * torch.tensor(IMAGENET_STD, device=stacked.rgb.device))
        mean = 255 * torch.tensor(IMAGENET_MEAN, device=stacked.rgb.device)
        pixels = ((stacked.rgb.float() - mean) * gain).permute(0, 3, 1, 2).contiguous()
        masks = stacked.ids[:, None] == stacked.asked[:, :, None, None]
        foreground = stacked.ids > 0
        return cls(pixels, stacked.boxes, stacked.points, stacked.point_labels, masks.float(), foreground.float())


class Prompted(NamedTuple):
    """What the model says to a batch: logits (B, P, M, S/4, S/4), predicted IoUs (B, P, M), feature maps (B, C, h, w).

    The feature maps go from fine to coarse.
    """

    logits: Tensor
    scores: Tensor
    features: Sequence[Tensor]


def prompt(model: Sam2Model, batch: Batch, multimask: bool) -> Prompted:
    """Encode each picture once and decode all its prompts."""
    out = model(
        pixel_values=batch.pixels,
        input_boxes=batch.boxes,
        input_points=batch.points,
        input_labels=batch.point_labels,
        multimask_output=multimask,
    )
    features = [feature.float() for feature in out.image_embeddings]
    return Prompted(out.pred_masks.float(), out.iou_scores.float(), features)


def prompt_blind(model: Sam2Model, batch: Batch, multimask: bool) -> Prompted:
    """Decode the prompts of a batch as if its pictures showed nothing, at a tenth of the cost.

    Equal to `prompt` as long as the neck is zero, as `build_model` leaves it.
    """
    images, width = len(batch.boxes), model.hidden_dim
    where = batch.boxes.device
    fine, middle, coarse = (torch.zeros(images, width, *size, device=where) for size in model.backbone_feature_sizes)
    decoder = model.mask_decoder
    features = [decoder.conv_s0(fine), decoder.conv_s1(middle), coarse + model.no_memory_embedding.reshape(1, -1, 1, 1)]
    out = model(
        image_embeddings=features,
        input_boxes=batch.boxes,
        input_points=batch.points,
        input_labels=batch.point_labels,
        multimask_output=multimask,
    )
    return Prompted(out.pred_masks.float(), out.iou_scores.float(), ())


class ForegroundHeads(nn.Module):
    """Training only: one 1x1 convolution per feature map that says where any object is."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Conv2d(count, 1, 1) for count in channels)

    def forward(self, features: Sequence[Tensor], foreground: Tensor) -> Tensor:
        """Mean cross-entropy of the heads with the share of foreground (B, S, S) in each cell; 0 without features."""
        total = foreground.new_zeros(())
        for head, feature in zip(self.heads, features, strict=False):
            cover = F.avg_pool2d(foreground[:, None], foreground.shape[-1] // feature.shape[-1])
            total = total + F.binary_cross_entropy_with_logits(head(feature), cover) / len(self.heads)
        return total


def mask_loss(logits: Tensor, masks: Tensor, areas: Tensor) -> Tensor:
    """Cross-entropy over the whole picture per pixel of the object, plus Dice.

    Logits and masks (..., h, w), areas (...) in the same pixels -> (...).
    """
    entropy = F.binary_cross_entropy_with_logits(logits, masks, reduction="none").sum((-2, -1)) / areas
    chance = logits.sigmoid()
    overlap = 2 * (chance * masks).sum((-2, -1)) + 1
    return entropy + 1 - overlap / (chance.sum((-2, -1)) + masks.sum((-2, -1)) + 1)


def true_iou(logits: Tensor, masks: Tensor) -> Tensor:
    """IoU of logits > 0 with masks, both (..., h, w) -> (...)."""
    found = (logits > 0).float()
    both = (found * masks).sum((-2, -1))
    return both / (found.sum((-2, -1)) + masks.sum((-2, -1)) - both).clamp(min=1)


def segmentation_loss(logits: Tensor, scores: Tensor, masks: Tensor) -> dict[str, Tensor]:
    """Losses of one batch: logits (B, P, M, h, w), scores (B, P, M), masks (B, P, S, S).

    `mask` trains the best of M only, `every` all of them, `score` their predicted IoUs. The best is compared at twice
    the logits' resolution: the bilinear upsampling of the runtime is then part of what is learned, at a quarter of the
    full cost.
    """
    size = (2 * logits.shape[-2], 2 * logits.shape[-1])
    cover = F.avg_pool2d(masks, masks.shape[-1] // size[1])
    coarse = F.avg_pool2d(cover, 2)[:, :, None].expand_as(logits)
    every = mask_loss(logits, coarse, coarse.sum((-2, -1)).clamp(min=1))
    best = every.detach().argmin(2)
    with torch.no_grad():
        fine = F.interpolate(logits.flatten(0, 1), size, mode="bilinear").unflatten(0, logits.shape[:2])
        ious = true_iou(fine, (cover >= 0.5).float()[:, :, None])
    chosen = logits.gather(2, best[:, :, None, None, None].expand(-1, -1, 1, *logits.shape[-2:]))[:, :, 0]
    losses = mask_loss(F.interpolate(chosen, size, mode="bilinear"), cover, cover.sum((-2, -1)).clamp(min=1))
    return {
        "mask": losses.mean(),
        "every": every.mean(),
        "score": (scores - ious).abs().mean(),
        "iou": ious.gather(2, best[:, :, None]).mean(),
        "picked_iou": ious.gather(2, scores.detach().argmax(2, keepdim=True)).mean(),
    }
