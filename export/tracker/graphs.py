"""A SAM 2 checkpoint with memory -> the tracker's four graphs: any `Sam2VideoModel` directory of transformers.

    python -m export.tracker CHECKPOINT OUT [--store half|float] [--arithmetic half|float]
    python -m export.tracker CHECKPOINT --into BUNDLE

| graph | in | out |
|---|---|---|
| mask_prompt | embedding (1, C, h, w), masks (N, S, S) | seen (N, C, h, w) |
| memory_attention | embedding, memories (N, M, h w, D), ages (N, M), pointers (N, P, C), pointer_ages (N, P) | seen |
| track_decoder | seen, fine (1, C/8, 4h, 4w), middle (1, C/4, 2h, 2w) | logits, ious, presence, pointers |
| memory_encoder | embedding, masks (N, S, S) as logits, given (N,), presence (N,) | memories (N, h w, D) |

Embedding, fine and middle come from the segmenter's encoder graph, which is made of the same checkpoint or of one with
the same encoder. N objects, M memories (1 to 7) and P pointers (1 to 16) are dynamic; what is absent has the age -1.
With `--arithmetic half` (for GPUs) all four compute in FP16, norms and softmax sums in FP32 where the engine does so;
ages stay int64 and FP32, and logits, IoUs and presence are FP32.
"""

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from transformers import Sam2VideoModel

from export.onnx_graph import Arithmetic, Store, halved
from export.segmenter_onnx import save_traced, trace
from export.tracker.modules import MaskPrompt, MemoryAttention, MemoryEncoder, TrackDecoder
from segzero_ros.backends.sam2_memory import POINTERS, RECENT
from segzero_ros.backends.torch_cuda.weights import load_whole

ROLES = ("mask_prompt", "memory_attention", "track_decoder", "memory_encoder")
OBJECTS = 2  # of the example that the graphs are traced on


def load_tracker(checkpoint: Path) -> Sam2VideoModel:
    """The checkpoint in FP32, with plain attention, ready to be exported; whole (``load_whole``)."""
    model: Sam2VideoModel = load_whole(Sam2VideoModel, checkpoint, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def export_tracker(
    checkpoint: Path, out_dir: Path, *, store: Store = "half", arithmetic: Arithmetic = "float"
) -> dict[str, Path]:
    """Write the four graphs of a Sam2VideoModel directory to `out_dir`; returns their paths by role.

    store: precision of the stored matrices; arithmetic: of the computation. ValueError when the checkpoint does not fit
    its own configuration or FP16, RejectedInput when it is not whole.
    """
    model = load_tracker(checkpoint)
    _check_sizes(model)
    out_dir.mkdir(parents=True, exist_ok=True)
    modules: dict[str, nn.Module] = {
        "mask_prompt": MaskPrompt(model),
        "memory_attention": MemoryAttention(model),
        "track_decoder": TrackDecoder(model),
        "memory_encoder": MemoryEncoder(model),
    }
    if arithmetic == "half":
        for module in modules.values():
            _halve(module)
    paths = {}
    for role, module in modules.items():
        inputs, outputs, dynamic = signature(model, role, torch.float16 if arithmetic == "half" else torch.float32)
        graph: onnx.ModelProto = trace(module, inputs, outputs, dynamic)
        paths[role] = save_traced(graph, out_dir / f"{role}.onnx", store)
    return paths


def _check_sizes(model: Sam2VideoModel) -> None:
    """ValueError when the memory's grid is not the encoder's: its positions would be those of another picture."""
    grid, rope = list(model.backbone_feature_sizes[-1]), list(model.config.memory_attention_rope_feat_sizes)
    if grid != rope:
        raise ValueError(f"got memory_attention_rope_feat_sizes {rope}, want {grid} as the encoder's; mend config.json")
    if model.config.num_maskmem != RECENT + 1 or model.config.max_object_pointers_in_encoder != POINTERS + 1:
        raise ValueError(
            f"got num_maskmem {model.config.num_maskmem} and max_object_pointers_in_encoder "
            f"{model.config.max_object_pointers_in_encoder}, want {RECENT + 1} and {POINTERS + 1}"
        )


def _halve(module: nn.Module) -> None:
    for weight in module.parameters():
        halved(weight)
    module.half()


def signature(
    model: Sam2VideoModel, role: str, dtype: torch.dtype
) -> tuple[dict[str, Tensor], tuple[str, ...], dict[str, dict[int, str]]]:
    """Example inputs of a graph, the names of its outputs, and which axes may vary."""
    fine, middle, grid = (tuple(size) for size in model.backbone_feature_sizes)
    width, side, memory = model.hidden_dim, int(model.config.image_size), model.mem_dim
    embedding, seen = torch.zeros(1, width, *grid, dtype=dtype), torch.zeros(OBJECTS, width, *grid, dtype=dtype)
    masks = torch.zeros(OBJECTS, side, side, dtype=dtype)
    n = {0: "objects"}
    if role == "mask_prompt":
        return {"embedding": embedding, "masks": masks}, ("seen",), {"masks": n}
    if role == "track_decoder":
        inputs = {
            "seen": seen,
            "fine": torch.zeros(1, width // 8, *fine, dtype=dtype),
            "middle": torch.zeros(1, width // 4, *middle, dtype=dtype),
        }
        return inputs, ("logits", "ious", "presence", "pointers"), {"seen": n}
    if role == "memory_encoder":
        told = torch.ones(OBJECTS, dtype=dtype)
        inputs = {"embedding": embedding, "masks": masks, "given": told, "presence": told.clone()}
        return inputs, ("memories",), {"masks": n, "given": n, "presence": n}
    inputs = {
        "embedding": embedding,
        "memories": torch.zeros(OBJECTS, 3, grid[0] * grid[1], memory, dtype=dtype),
        "ages": torch.tensor([[0, 2, 1]]).expand(OBJECTS, -1).contiguous(),
        "pointers": torch.zeros(OBJECTS, 4, width, dtype=dtype),
        "pointer_ages": torch.ones(OBJECTS, 4),
    }
    many, tokens = {0: "objects", 1: "slots"}, {0: "objects", 1: "tokens"}
    return inputs, ("seen",), {"memories": many, "ages": many, "pointers": tokens, "pointer_ages": tokens}
