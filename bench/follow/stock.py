"""SAM 2 that transformers and we can both run: checkpoints of random weights, and transformers' way of following.

Random weights cost what trained ones cost. The demo's own width of 64 is the memory's, which transformers cannot run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Sam2Model, Sam2VideoConfig, Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from segzero_ros.backends.decoding.preprocess import IMAGENET_MEAN, IMAGENET_STD, normalise, resize_to
from segzero_ros.frame import Frame
from training.demo_models.segmenter_model import build_model, demo_config
from training.tracker.model import build_tracker

DEMO_WIDE, TINY = "demo, width 128", "hiera-tiny, 512 x 512"
STRUCTURES = (DEMO_WIDE, TINY)
SURE = 3.0  # the logit with which random weights say that an object is there


def write_checkpoint(structure: str, folder: Path) -> Path:
    """Write a Sam2VideoModel of random weights: the demo's shape twice as wide, or hiera-tiny's on smaller pictures."""
    model = _demo_wide() if structure == DEMO_WIDE else _tiny(512)
    with torch.no_grad():
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(SURE)
    model.save_pretrained(folder)
    return folder


def _demo_wide() -> Sam2VideoModel:
    config = demo_config()
    for part, name in (
        ("vision", "fpn_hidden_size"),
        ("prompt_encoder", "hidden_size"),
        ("mask_decoder", "hidden_size"),
    ):
        setattr(getattr(config, f"{part}_config"), name, 128)
    segmenter: Sam2Model = build_model(0, config)
    return build_tracker(segmenter, 0)


def _tiny(side: int) -> Sam2VideoModel:
    """Every width, head and block of sam2.1-hiera-tiny, which sees 1024 x 1024: 16 times the attention of 512 x 512."""
    torch.manual_seed(0)
    config = Sam2VideoConfig().to_dict()
    vision, prompts = config["vision_config"], config["prompt_encoder_config"]
    vision["backbone_config"]["image_size"] = [side, side]
    vision["backbone_feature_sizes"] = [[side // step, side // step] for step in (4, 8, 16)]
    prompts["image_size"] = side
    return Sam2VideoModel(
        Sam2VideoConfig(
            vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=config["mask_decoder_config"],
            image_size=side, memory_attention_rope_feat_sizes=[side // 16, side // 16],
        )
    ).eval()  # fmt: skip


class StockTracker:
    """transformers' ``Sam2VideoModel``, a frame at a time; the attention is the one that it takes by itself."""

    def __init__(self, checkpoint: Path) -> None:
        self._model = Sam2VideoModel.from_pretrained(checkpoint).eval()
        self._side = int(self._model.config.image_size)
        self._session: Any = None

    def start(self, frame: Frame, masks: NDArray[np.bool_]) -> None:
        """Begin with the masks (N, H, W) of a frame."""
        width, height = frame.size
        self._session = Sam2VideoInferenceSession(video_height=height, video_width=width, dtype=torch.float32)
        self._session.add_new_frame(self._pixels(frame), 0)
        for number, mask in enumerate(masks, 1):
            squashed = (
                cv2.resize(mask.astype(np.float32), (self._side, self._side), interpolation=cv2.INTER_AREA) >= 0.5
            )
            self._session.add_mask_inputs(
                self._session.obj_id_to_idx(number), 0, torch.from_numpy(squashed)[None, None].float()
            )
            self._session.obj_with_new_inputs.append(number)
        with torch.inference_mode():
            self._model(self._session, frame_idx=0)

    def step(self, frame: Frame) -> NDArray[np.bool_]:
        """The masks (N, H, W) in the next frame."""
        with torch.inference_mode():
            logits = self._model(self._session, frame=self._pixels(frame)).pred_masks[:, 0].numpy()
        return larger(logits, frame.size)

    def _pixels(self, frame: Frame) -> torch.Tensor:
        return torch.from_numpy(normalise(resize_to(frame.rgb, (self._side, self._side)), IMAGENET_MEAN, IMAGENET_STD))[
            None
        ]


def larger(logits: Sequence[NDArray[np.float32]] | NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Masks at the size of the frame, as ours are made."""
    return np.stack([cv2.resize(low, size, interpolation=cv2.INTER_LINEAR) > 0 for low in logits])
