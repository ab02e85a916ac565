"""The exporter on the real structure: every width, head and window of facebook/sam2.1-hiera-large, fewer blocks."""

import numpy as np
import onnxruntime
import torch
from transformers import Sam2Config, Sam2Model

from export.segmenter_onnx import FEATURES, export_segmenter

SIDE = 512  # the real one sees 1024: 16 times the attention of this, the same graph
BLOCKS = [1, 1, 3, 1]  # the real one has [2, 6, 36, 4]


def large_config():
    """config.json of facebook/sam2.1-hiera-large, but for the number of blocks and the size of the picture."""
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 144,
        "num_attention_heads": 2,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": BLOCKS,
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "window_size_per_stage": [8, 4, 16, 8],
        "window_positional_embedding_background_size": [7, 7],
        "global_attention_blocks": [4],
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": [1152, 576, 288, 144],
        "backbone_feature_sizes": [[SIDE // step, SIDE // step] for step in (4, 8, 16)],
    }
    return Sam2Config(vision_config=vision, prompt_encoder_config={"image_size": SIDE})


def test_the_real_widths_export_and_agree_with_torch(tmp_path):
    torch.manual_seed(0)
    model = Sam2Model(large_config()).eval()
    model.save_pretrained(tmp_path / "checkpoint")
    graphs = export_segmenter(tmp_path / "checkpoint", tmp_path / "graphs", store="float")
    pixels = np.random.default_rng(0).standard_normal((1, 3, SIDE, SIDE), dtype=np.float32)
    encoder, decoder = (onnxruntime.InferenceSession(str(graphs[role])) for role in ("encoder", "decoder"))
    features = dict(zip(FEATURES, encoder.run(list(FEATURES), {"pixels": pixels}), strict=True))
    boxes = np.array([[30, 40, 200, 300], [100, 100, 400, 250]], np.float32)
    points, labels = boxes[:, None, :2] + 50, np.ones((2, 1), np.int64)
    logits, scores = decoder.run(None, {**features, "boxes": boxes, "points": points, "point_labels": labels})
    with torch.inference_mode():
        out = model(
            pixel_values=torch.from_numpy(pixels),
            input_boxes=torch.from_numpy(boxes)[None],
            input_points=torch.from_numpy(points)[None],
            input_labels=torch.from_numpy(labels)[None],
        )
    assert np.abs(logits - out.pred_masks[0].numpy()).max() < 1e-4 * max(1.0, float(out.pred_masks.abs().max()))
    assert np.abs(scores - out.iou_scores[0].numpy()).max() < 1e-4
