"""The demo tracker as it is trained: SAM 2 with memory around the demo segmenter's own weights."""

import torch
from torch import nn
from transformers import Sam2Model, Sam2VideoConfig, Sam2VideoModel

LAYERS = 2  # of memory attention; the real one has 4


def video_config(model: Sam2Model) -> Sam2VideoConfig:
    """SAM 2 with memory for a segmenter's pictures and widths, its memory narrower and shorter than the real one's.

    The memory's own width is 64 for all: transformers fixes it.
    """
    config = model.config.to_dict()
    width, side = model.hidden_dim, int(config["prompt_encoder_config"]["image_size"])
    return Sam2VideoConfig(
        vision_config=config["vision_config"],
        prompt_encoder_config=_without_type(config["prompt_encoder_config"]),
        mask_decoder_config=_without_type(config["mask_decoder_config"]),
        image_size=side,
        memory_attention_hidden_size=width,
        memory_attention_num_layers=LAYERS,
        memory_attention_feed_forward_hidden_size=4 * width,
        memory_attention_rope_feat_sizes=[side // 16, side // 16],
        memory_encoder_hidden_size=width,
        mask_downsampler_embed_dim=width,
        memory_fuser_embed_dim=width,
        memory_fuser_intermediate_dim=4 * width,
        memory_attention_dropout=0.0,
        memory_attention_rope_dropout=0.0,
        memory_fuser_layer_scale_init_value=0.03,  # the real 1e-6 needs longer trainings than ours to matter
    )


def build_tracker(segmenter: Sam2Model, seed: int) -> Sam2VideoModel:
    """A Sam2VideoModel with the segmenter's weights where it has some, and random ones in the memory."""
    torch.manual_seed(seed)
    model = Sam2VideoModel(video_config(segmenter))
    for part in (model.memory_attention, model.memory_encoder, model.object_pointer_proj, model.mask_downsample):
        for module in part.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                module.reset_parameters()
    for weight in (
        model.memory_temporal_positional_encoding, model.no_object_pointer, model.occlusion_spatial_embedding_parameter,
    ):  # fmt: skip
        nn.init.trunc_normal_(weight, std=0.02)
    missing, unexpected = model.load_state_dict(segmenter.state_dict(), strict=False)
    forget_decoding(model, seed)
    strangers = [name for name in missing if name.split(".")[0] in segmenter.state_dict()]
    if unexpected or strangers:
        raise ValueError(f"got a segmenter with {unexpected or strangers}, which SAM 2 with memory does not know")
    return model.eval()


def forget_decoding(model: Sam2VideoModel, seed: int) -> None:
    """Draw the decoder anew, but for what makes its features: the segmenter's looks at prompts alone.

    Trained on boxes, its attention is all but binary: what it does not look at reaches no mask and gets no gradient.
    """
    torch.manual_seed(seed)
    for name, module in model.mask_decoder.named_modules():
        if hasattr(module, "reset_parameters") and not name.startswith("conv_s"):
            module.reset_parameters()


def _without_type(config: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in config.items() if name != "model_type"}
