"""A SAM 2 checkpoint -> encoder.onnx and decoder.onnx: any `Sam2Model` directory of transformers.

    python -m export.segmenter_onnx CHECKPOINT OUT [--store half|float] [--arithmetic half|float]

| graph | in | out |
|---|---|---|
| encoder | pixels (1, 3, S, S) | embedding (1, C, S/16, S/16), fine (1, C/8, S/4, S/4), middle (1, C/4, S/8, S/8) |
| decoder | the three, boxes (N, 4), points (N, K, 2), point_labels (N, K) | logits (N, 3, S/4, S/4), scores (N, 3) |

S is the checkpoint's image size; N objects and K points are dynamic. Boxes and points are pixels of the squashed
picture; label (int64) 1 is a point on the object, 0 one beside it, -10 none. The decoder always gives the three masks
of `multimask_output=True`; the runtime keeps the one with the best predicted IoU.
With `--arithmetic half` (for GPUs: TensorRT takes precision from the graph) image encoder and mask decoder compute in
FP16 and embedding, fine and middle are FP16; layer norms sum in FP32, prompts are encoded in FP32 (a box of 1024 pixels
needs more than 11 bits), and pixels, prompts, logits and scores stay FP32.
Opset 18: FP32 attention of a newer opset does not build in TensorRT. Left out: mask prompts, prompts without a box, the
memory for video.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from transformers import Sam2Model

from export.onnx_graph import Arithmetic, Store, halved
from export.onnx_storage import save_graph, store_half
from segzero_ros.backends.torch_cuda.weights import load_whole
from segzero_ros.cli.parser import Parser, refuse
from segzero_ros.errors import RejectedInput

OPSET = 18
IR_VERSION = 10  # what opset 18 to 21 graphs carry; ONNX Runtime 1.18 and later read it
FEATURES = ("embedding", "fine", "middle")


class SegmenterEncoder(nn.Module):
    """The image encoder for one input size, its position embedding worked out beforehand.

    The exporter would fold the bicubic resize of that embedding in pure Python: more than ten minutes at 1024 x 1024.
    """

    positions: Tensor

    def __init__(self, model: Sam2Model) -> None:
        super().__init__()
        self.vision, self.decoder = model.vision_encoder, model.mask_decoder
        backbone = self.vision.backbone
        with torch.no_grad():
            side = model.config.prompt_encoder_config.image_size
            patches = backbone.patch_embed(torch.zeros(1, 3, side, side))
            positions = backbone._get_pos_embed(tuple(patches.shape[1:3]))  # noqa: SLF001 - nothing public gives it
        self.register_buffer("positions", positions, persistent=False)
        self.register_buffer("no_memory", model.no_memory_embedding.detach().reshape(1, -1, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised pixels (1, 3, S, S) -> embedding, fine and middle feature maps; see the module's table."""
        backbone = self.vision.backbone
        hidden = backbone.patch_embed(pixels.to(self.positions.dtype)) + self.positions
        stages = []
        for index, block in enumerate(backbone.blocks):
            hidden = block(hidden)
            if index in backbone.stage_ends:
                stages.append(hidden)
        levels, _ = self.vision.neck(tuple(stages))
        coarse, middle, fine = levels[-self.vision.num_feature_levels :]
        return coarse + self.no_memory, self.decoder.conv_s0(fine), self.decoder.conv_s1(middle)


class SegmenterDecoder(nn.Module):
    """Prompt encoder and mask decoder for N objects of one picture."""

    grid_positions: Tensor

    def __init__(self, model: Sam2Model) -> None:
        super().__init__()
        self.prompts, self.decoder = model.prompt_encoder, model.mask_decoder
        with torch.no_grad():
            self.register_buffer("grid_positions", model.get_image_wide_positional_embeddings(), persistent=False)

    def forward(
        self, embedding: Tensor, fine: Tensor, middle: Tensor, boxes: Tensor, points: Tensor, point_labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Feature maps and prompts -> mask logits (N, 3, S/4, S/4) and predicted IoUs (N, 3), both FP32."""
        sparse, dense = self.prompts(
            input_points=points[None], input_labels=point_labels[None], input_boxes=boxes[None], input_masks=None
        )
        logits, scores, _, _ = self.decoder(
            image_embeddings=embedding,
            image_positional_embeddings=self.grid_positions.to(embedding.dtype),
            sparse_prompt_embeddings=sparse.to(embedding.dtype),
            dense_prompt_embeddings=dense.to(embedding.dtype),
            multimask_output=True,
            high_resolution_features=[fine, middle],
        )
        return logits[0].float(), scores[0].float()


def load_segmenter(checkpoint: Path) -> Sam2Model:
    """The checkpoint in FP32, with plain attention, ready to be exported; whole (``load_whole``)."""
    model: Sam2Model = load_whole(Sam2Model, checkpoint, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def export_segmenter(
    checkpoint: Path, out_dir: Path, *, store: Store = "half", arithmetic: Arithmetic = "float"
) -> dict[str, Path]:
    """Write encoder.onnx and decoder.onnx of a Sam2Model directory to `out_dir`; returns their paths by role.

    store: precision of the stored matrices, "half" or "float"; arithmetic: of the computation, see the module. A graph
    too large for one file keeps its weights in `<name>.onnx.data` beside it. ValueError when the checkpoint does not
    fit its own configuration or FP16, RejectedInput when it is not whole.
    """
    model = load_segmenter(checkpoint)
    out_dir.mkdir(parents=True, exist_ok=True)
    side = model.config.prompt_encoder_config.image_size
    features = _example_features(model, arithmetic)
    objects, points = {0: "objects"}, {0: "objects", 1: "points"}
    modules = SegmenterEncoder(model), SegmenterDecoder(model)
    if arithmetic == "half":
        _halve(model, modules[0])
    encoder = trace(modules[0], {"pixels": torch.zeros(1, 3, side, side)}, FEATURES, {})
    _check_shapes(encoder, features)
    decoder = trace(
        modules[1],
        {**features, **_example_prompts(side)},
        ("logits", "scores"),
        {"boxes": objects, "points": points, "point_labels": points},
    )
    return {
        "encoder": save_traced(encoder, out_dir / "encoder.onnx", store),
        "decoder": save_traced(decoder, out_dir / "decoder.onnx", store),
    }


def _halve(model: Sam2Model, encoder: SegmenterEncoder) -> None:
    """Turn image encoder and mask decoder to FP16, in place; ValueError when that cannot hold a weight."""
    for part in (model.vision_encoder, model.mask_decoder):
        for weight in part.parameters():
            halved(weight)
    encoder.half()
    model.mask_decoder.half()


def _example_features(model: Sam2Model, arithmetic: Arithmetic) -> dict[str, Tensor]:
    """Feature maps of the shapes the configuration promises, all zero."""
    width, dtype = model.hidden_dim, torch.float16 if arithmetic == "half" else torch.float32
    fine, middle, coarse = (tuple(size) for size in model.backbone_feature_sizes)
    return {
        "embedding": torch.zeros(1, width, *coarse, dtype=dtype),
        "fine": torch.zeros(1, width // 8, *fine, dtype=dtype),
        "middle": torch.zeros(1, width // 4, *middle, dtype=dtype),
    }


def _check_shapes(encoder: onnx.ModelProto, features: dict[str, Tensor]) -> None:
    """ValueError when the encoder gives other shapes than its configuration promises to the decoder."""
    for value in encoder.graph.output:
        got = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        want = list(features[value.name].shape)
        if got != want:
            raise ValueError(
                f"got {value.name} of shape {got}, want {want} from backbone_feature_sizes; mend the config.json"
            )


def _example_prompts(side: int) -> dict[str, Tensor]:
    """Three objects, two points each."""
    boxes = torch.tensor([[0.1, 0.1, 0.5, 0.6], [0.2, 0.3, 0.9, 0.8], [0.4, 0.1, 0.6, 0.3]]) * side
    points = torch.stack([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, :2] + 1], dim=1)
    return {"boxes": boxes, "points": points, "point_labels": torch.ones(3, 2, dtype=torch.int64)}


def trace(
    module: nn.Module, inputs: dict[str, Tensor], outputs: Sequence[str], dynamic: dict[str, dict[int, str]]
) -> onnx.ModelProto:
    """Trace `module` on `inputs`; `dynamic` names the axes that may vary, per input."""
    labels = sorted({label for axes in dynamic.values() for label in axes.values()})
    dims = {label: torch.export.Dim(label, min=1, max=4096) for label in labels}
    shapes = tuple({axis: dims[label] for axis, label in dynamic.get(name, {}).items()} for name in inputs)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(), tuple(inputs.values()), dynamo=True, opset_version=OPSET, input_names=list(inputs),
            output_names=list(outputs), dynamic_shapes=shapes if dynamic else None, optimize=True, verbose=False,
        )  # fmt: skip
    if program is None:
        raise RuntimeError("torch.onnx.export gave no graph; this torch has no dynamo exporter, install the pinned one")
    model: onnx.ModelProto = program.model_proto
    model.ir_version = IR_VERSION
    model.producer_name = "segzero_ros"
    _forget_sources(model)
    return model


def save_traced(model: onnx.ModelProto, path: Path, store: Store) -> Path:
    """Write a traced graph, its matrices as `store` says."""
    if store == "half":
        store_half(model)
    save_graph(model, path)
    return path


def _forget_sources(model: onnx.ModelProto) -> None:
    """Drop this machine's paths and stack traces from every node: the graph is the same wherever it is made."""
    for entry in (
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
    ):
        del entry.metadata_props[:]
        entry.doc_string = ""
    del model.graph.metadata_props[:]
    del model.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's advice about operators nobody here uses."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Export a checkpoint from the command line."""
    parser = Parser("python -m export.segmenter_onnx", __doc__ or "")
    parser.add_argument("checkpoint", type=Path, help="Sam2Model directory (config.json, model.safetensors)")
    parser.add_argument("out", type=Path, help="directory for encoder.onnx and decoder.onnx")
    parser.add_argument("--store", choices=("half", "float"), default="half", help="precision of the stored matrices")
    parser.add_argument("--arithmetic", choices=("half", "float"), default="float", help="half: FP16 for GPUs")
    options = parser.parse_args(arguments)
    try:
        paths = export_segmenter(options.checkpoint, options.out, store=options.store, arithmetic=options.arithmetic)
    except (RejectedInput, OSError, ValueError) as error:
        return refuse(parser.prog, str(error))
    for role, path in paths.items():
        print(f"{role}: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
