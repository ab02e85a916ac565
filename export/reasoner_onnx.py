"""Checkpoint -> vision graph at a fixed image size, embeddings, one decoder graph with a static KV cache.

    checkpoint directory  ->  vision.onnx      pixels (1, 3, H, W) normalised      -> tokens (M, hidden)
    (save_pretrained,         embeddings.onnx  ids (S,)                            -> embeds (S, hidden)
     tokenizer.json)          decoder.onnx     embeds (S, hidden), cos, sin (S, head_dim / 2), write_index (1,), KV
                                                                                   -> logits (L, vocabulary), KV
                              config.json, tokenizer.json: what the runtime needs beside them

The decoder serves prefill (S = many) and decode (S = 1) alike: `write_index` is the cache place of the first row, rows
see every place up to their own, the present caches may be the past caches' own buffers, and only the logits of the last
L = min(S, LOGIT_ROWS) rows are computed: one to decode, a few to check tokens that were guessed ahead. M-RoPE's cosines
and sines come from outside, because they follow from three positions per token (`backends/decoding/chat_prompt.py`).
What differs between model families is in `export/families/`; where one has a deepstack, rows are wider than `hidden`.
The graphs are built node by node from the checkpoint's weights: opset 24's RotaryEmbedding, TensorScatter, Attention,
which both ONNX Runtime and TensorRT know. With `--arithmetic half` (for GPUs) the KV caches are FP16, all other inputs
and outputs FP32 as without; see export/onnx_graph.py for what is computed how.

Run: python -m export.reasoner_onnx CHECKPOINT OUT --image-size 840 --max-length 2048
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import nn

from export.checks import LENGTH, SIDE
from export.families import family_of
from export.families.base import ExportFamily
from export.families.language import LOGIT_ROWS, Language, write_language
from export.onnx_graph import INLINE_BYTES, Arithmetic, DataFile, Graph, Store
from segzero_ros.backends.decoding.chat_prompt import IMAGE_TOKEN
from segzero_ros.backends.torch_cuda.vision import VisionGrid
from segzero_ros.backends.torch_cuda.weights import check_cache, load_whole, read_json, read_tokenizer
from segzero_ros.cli.parser import Parser, refuse
from segzero_ros.errors import RejectedInput
from segzero_ros.profile import Profile

FILES = {
    "vision": "vision.onnx",
    "embeddings": "embeddings.onnx",
    "decoder": "decoder.onnx",
    "tokenizer": "tokenizer.json",
    "config": "config.json",
}


def export_reasoner(
    checkpoint: Path,
    out_dir: Path,
    *,
    image_size: tuple[int, int],
    max_length: int = 2048,
    store: Store = "half",
    arithmetic: Arithmetic = "float",
    profile: Profile | None = None,
) -> list[str]:
    """Write the files of `FILES` (and `weights.bin` beside them when the weights are large); return their names.

    `max_length` is the capacity of the KV cache in tokens: prompt, image, thinking and answer. `arithmetic`: "half" for
    GPUs, which stores in FP16 too. `profile`: whose prompt the cache must hold. Raises ValueError for a checkpoint that
    is of no family or not of the kind `check_supported` describes, FileNotFoundError without tokenizer.json,
    RejectedInput for one that is not whole and for a cache too small.
    """
    tokenizer = checkpoint / "tokenizer.json"
    if not tokenizer.is_file():
        raise FileNotFoundError(f"{tokenizer}: missing; save the tokenizer beside the weights")
    model = load_checkpoint(checkpoint)
    family = family_of([type(model).__name__])
    check_supported(family, model.config, read_tokenizer(tokenizer))
    grid = family.grid(model.config, image_size)
    check_cache(tokenizer, image_size, max_length, profile, pixels_per_token=grid.patch * grid.merge)
    language = Language(max_length, family.head_dim(model.config), family.deepstack(model.config))

    store = "half" if arithmetic == "half" else store
    out_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        large = _stored_bytes(model, store) > INLINE_BYTES
        data = stack.enter_context(DataFile(out_dir / "weights.bin")) if large else None
        new_graph = partial(Graph, store=store, data=data, arithmetic=arithmetic)
        family.write_vision(model.model.visual, grid, out_dir / FILES["vision"], new_graph)
        write_language(model, language, (out_dir / FILES["embeddings"], out_dir / FILES["decoder"]), new_graph)
    shutil.copyfile(tokenizer, out_dir / FILES["tokenizer"])
    config = runtime_config(family, model.config, grid, image_size, language)
    (out_dir / FILES["config"]).write_text(json.dumps(config, indent=1) + "\n")
    return [*FILES.values(), *(["weights.bin"] if data else [])]


def load_checkpoint(checkpoint: Path) -> Any:
    """Load a checkpoint directory in the precision it was saved in, whole (``load_whole``)."""
    if not (checkpoint / "config.json").is_file():
        raise FileNotFoundError(f"{checkpoint / 'config.json'}: missing; give a directory written by save_pretrained")
    family = family_of(read_json(checkpoint / "config.json").get("architectures"))
    return load_whole(family.model_class(), checkpoint, dtype="auto").eval()


def check_supported(family: ExportFamily, config: Any, tokenizer: Tokenizer) -> None:
    """Refuse (ValueError) what the graphs do not express, instead of exporting something else."""
    text = config.text_config
    rope = text.rope_parameters
    wanted = {
        "text_config.hidden_act": (text.hidden_act, "silu"),
        "text_config.rope_parameters.rope_type": (rope["rope_type"], "default"),
        "sum of mrope_section": (sum(rope["mrope_section"]), family.head_dim(config) // 2),
        f"id of {IMAGE_TOKEN} in tokenizer.json": (tokenizer.token_to_id(IMAGE_TOKEN), config.image_token_id),
        **family.limits(config),
    }
    for name, (got, want) in wanted.items():
        if got != want:
            raise ValueError(f"{name}: got {got!r}, want {want!r}")


def runtime_config(
    family: ExportFamily, config: Any, grid: VisionGrid, image_size: tuple[int, int], language: Language
) -> dict[str, Any]:
    """Everything the runtime needs to know about the graphs, and nothing else.

    `hidden_size` is the width of a row the decoder takes: what a deepstack adds stands behind the token itself.
    """
    text = config.text_config
    return {
        "architecture": family.facts.name,
        "image_size": list(image_size),
        "token_grid": list(grid.token_grid),
        "hidden_size": (1 + language.deepstack) * text.hidden_size,
        "layers": text.num_hidden_layers,
        "key_value_heads": text.num_key_value_heads,
        "head_dim": language.head_dim,
        "rope_theta": text.rope_parameters["rope_theta"],
        "mrope_section": list(text.rope_parameters["mrope_section"]),
        "vocabulary": text.vocab_size,
        "max_length": language.capacity,
        "logit_rows": LOGIT_ROWS,
    }


def _stored_bytes(model: nn.Module, store: Store) -> int:
    return sum(parameter.numel() for parameter in model.parameters()) * (2 if store == "half" else 4)


def main(arguments: Sequence[str] | None = None) -> int:
    """Export one checkpoint from the command line."""
    parser = Parser("python -m export.reasoner_onnx", __doc__ or "")
    parser.add_argument("checkpoint", type=Path, help="directory written by save_pretrained, with tokenizer.json")
    parser.add_argument("out", type=Path, help="directory to write the graphs to")
    parser.add_argument(
        "--image-size",
        type=SIDE,
        default=840,
        help="side of the squashed picture (multiple of 28; of 32 for Qwen3-VL)",
    )
    parser.add_argument("--max-length", type=LENGTH, default=2048, help="capacity of the KV cache in tokens")
    parser.add_argument("--store", choices=("half", "float"), default="half", help="precision of the stored matrices")
    parser.add_argument("--arithmetic", choices=("half", "float"), default="float", help="half: FP16 for GPUs")
    options = parser.parse_args(arguments)
    size = (options.image_size, options.image_size)
    precision = {"store": options.store, "arithmetic": options.arithmetic}
    try:
        names = export_reasoner(
            options.checkpoint, options.out, image_size=size, max_length=options.max_length, **precision
        )
    except (RejectedInput, OSError, ValueError) as error:
        return refuse(parser.prog, str(error))
    for name in names:
        print(f"{(options.out / name).stat().st_size:>14,} {options.out / name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
