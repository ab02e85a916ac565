"""The demo reasoner: its profile, its tokenizer and its network, all of them made from nothing.

The tokenizer has Qwen2.5's byte-level BPE, special tokens and digit rule, with merges from our own text; a real
checkpoint brings its own `tokenizer.json`.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from segzero_ros.backends.torch_cuda.weights import check_whole, load_whole, read_json
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.profile import PROFILES, Profile
from segzero_ros.tabletop.scene import World
from training.demo_models.recipes.shapes import DEMO, Shape
from training.demo_models.shards import ShardFolder, things_of
from training.demo_models.supervised_text import write_supervised_text
from training.saving import check_finite, check_states, recover_folder, replace_folder, written

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLForConditionalGeneration

SIZE = DEMO.size  # seven by seven visual tokens
CELL = 28  # pixels of a visual token's side: patch 14 x merge 2
SYSTEM = "Think in <think> </think>, then answer in <answer> </answer> in JSON; [] if there is no such object."
PROMPT = 'Find "{question}".'

# The order is Qwen2.5's (tokenizer_config.json of Qwen/Qwen2.5-VL-3B-Instruct); only the ids differ.
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

# Qwen2.5's split: contractions, words with one leading mark, single digits, runs of punctuation, line ends, spaces.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int = 1024) -> Tokenizer:
    """Learn a byte-level BPE of at most `vocab_size` ids from `texts`; every byte string stays encodable."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL_TOKENS])
    return tokenizer


def demo_profile(shape: Shape = DEMO) -> Profile:
    """The abstaining profile at the demo's image size; the fixed sentences are the system's, to be prefilled once."""
    return replace(PROFILES["abstaining_v2"], system=SYSTEM, prompt=PROMPT, image_size=(shape.size, shape.size))


def learn_tokenizer(folder: ShardFolder, profile: Profile) -> Tokenizer:
    """Merges from the instructions and answers of the shards at hand, and from the prompts of every profile."""

    def texts() -> Iterator[str]:
        blank = train_tokenizer([], 512)
        for _, scene in folder:
            things = things_of(scene, profile.image_size[0])
            for instruction in scene["instructions"]:
                example = write_supervised_text(blank, profile, instruction, things)
                yield blank.decode(example.ids, skip_special_tokens=True)
        for other in (*PROFILES.values(), profile):
            yield from (other.system, other.render("the red mug"))

    return train_tokenizer(texts(), 1024)


def build_model(tokenizer: Tokenizer, shape: Shape = DEMO) -> Qwen2_5_VLForConditionalGeneration:
    """A Qwen2.5-VL with random weights: of 2 million parameters, or of another shape."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration  # takes seconds

    special = tokenizer.token_to_id
    vocabulary = -(-tokenizer.get_vocab_size() // 64) * 64
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": vocabulary,
            "hidden_size": shape.width,
            "intermediate_size": shape.inner,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": 2,
            "max_position_embeddings": 1024,
            "initializer_range": 0.05,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
            "bos_token_id": special("<|endoftext|>"),
            "eos_token_id": special("<|im_end|>"),
            "pad_token_id": special("<|endoftext|>"),
        },
        vision_config={
            "depth": shape.vision_layers,
            "hidden_size": shape.width,
            "intermediate_size": shape.vision_inner,
            "num_heads": shape.heads,
            "out_hidden_size": shape.width,
            "window_size": 112,
            "fullatt_block_indexes": list(shape.whole),
            "initializer_range": 0.05,
        },
        tie_word_embeddings=True,
        image_token_id=special("<|image_pad|>"),
        video_token_id=special("<|video_pad|>"),
        vision_start_token_id=special("<|vision_start|>"),
        vision_end_token_id=special("<|vision_end|>"),
    )
    return Qwen2_5_VLForConditionalGeneration(config)


# Checkpoints of the pretraining: the Hugging Face folder, and beside it what only a resumed run needs. A new one is on
# the disk before it takes the name; the one before stays as `checkpoint.old`, for the day it is needed.

HEADS = "training_heads.safetensors"


def save(
    out: Path,
    learner: Any,
    optimiser: Any,
    tokenizer: Tokenizer,
    recipe: Any,
    step: int,
    seconds: float = 0.0,
    shape: str = "demo",
) -> None:
    """Write `checkpoint/` (config, safetensors, tokenizer, state): whole or not at all, and numbers only.

    `seconds`: what a run by the clock has used. `shape`: the model's, by name.
    """
    check_finite(learner, step)
    fresh = out / "checkpoint.partial"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with written(out / "checkpoint", "make room or name another --out; --resume goes on from the one before"):
            learner.reasoner.model.save_pretrained(fresh)
            tokenizer.save(str(fresh / "tokenizer.json"))
            heads = {k: v for k, v in learner.state_dict().items() if not k.startswith("reasoner.")}
            save_file({k: v.contiguous() for k, v in heads.items()}, fresh / HEADS)
            state = {"muon": optimiser.muon.state_dict(), "adam": optimiser.adam.state_dict()}
            torch.save(state, fresh / "optimiser.pt")
            said = {"step": step, "seconds": round(seconds, 1), "shape": shape, "recipe": asdict(recipe)}
            said["world"] = learner.world
            (fresh / "training.json").write_text(json.dumps(said, indent=1))
            replace_folder(fresh, out / "checkpoint", keep=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def newest_whole(out: Path) -> Path | None:
    """The folder to go on from: `checkpoint/`, made of `checkpoint.old/` where it is broken; None where there is none.

    A broken one goes aside as `checkpoint.broken/`, with a word. CONFIG_VALUE when both are broken.
    """
    place, fault = out / "checkpoint", ""
    while recover_folder(place).exists():
        try:
            _check(place)
            return place
        except RejectedInput as error:
            fault = error.detail
        shutil.rmtree(out / "checkpoint.broken", ignore_errors=True)
        place.replace(out / "checkpoint.broken")
        print(f"{place} is not whole and was put aside as checkpoint.broken: {fault}", file=sys.stderr)
    if fault:
        raise RejectedInput(Code.CONFIG_VALUE, f"got no whole checkpoint in {out} ({fault}); start without --resume")
    return None


def _check(folder: Path) -> None:
    check_whole(_model_class(), folder)
    check_states(folder)
    if not isinstance(read_json(folder / "training.json").get("step"), int):
        raise RejectedInput(Code.CONFIG_VALUE, f"{folder / 'training.json'}: has no step")


def world_trained(folder: Path) -> World:
    """The world whose kinds the run of this checkpoint learns."""
    said = read_json(folder / "training.json").get("world", "simple")
    return "rich" if said == "rich" else "simple"


def restore(folder: Path, learner: Any, optimiser: Any) -> tuple[int, float]:
    """Load what `save` wrote; returns the next step, and the seconds used of a run by the clock."""
    _load_weights(folder, learner.reasoner.model)
    learner.load_state_dict(_heads(folder), strict=False)
    state = torch.load(folder / "optimiser.pt", map_location="cpu", weights_only=True)
    optimiser.muon.load_state_dict(state["muon"])
    optimiser.adam.load_state_dict(state["adam"])
    said = json.loads((folder / "training.json").read_text())
    return int(said["step"]), float(said.get("seconds", 0.0))


def begin_from(folder: Path, learner: Any) -> None:
    """Weights and heads of another run's checkpoint; a head of more or fewer kinds has the rows of those both know.

    A checkpoint made of a bundle has no heads: they begin anew. Of a shallower model the last layers are doubled: the
    second of each pair adds nothing yet, so the answers are the shallower model's.
    """
    _load_weights(folder, learner.reasoner.model, deeper=True)
    own = learner.state_dict()
    with torch.no_grad():
        for name, value in (_heads(folder) if (folder / HEADS).exists() else {}).items():
            rows = min(len(value), len(own[name])) if value.ndim else 0
            if name.startswith("heads.kind."):  # its last row is "nothing", however many kinds there are
                own[name][-1].copy_(value[-1])
                rows -= 1
            (own[name][:rows] if value.ndim else own[name]).copy_(value[:rows] if value.ndim else value)


def _load_weights(folder: Path, model: Any, deeper: bool = False) -> None:
    source = load_whole(_model_class(), folder)
    saved = source.state_dict()
    if deeper:
        saved = deepened(saved, source.config.text_config.num_hidden_layers, model.config.text_config.num_hidden_layers)
    if {name: value.shape for name, value in saved.items()} != {n: v.shape for n, v in model.state_dict().items()}:
        width = saved["model.language_model.norm.weight"].shape[0]
        raise RejectedInput(
            Code.CONFIG_VALUE, f"{folder}: its weights, {width} wide, have another shape; give the --shape they have"
        )
    model.load_state_dict(saved)


_LAYER = re.compile(r"(model\.language_model\.layers\.)(\d+)(\..+)")
_ADDS = ("self_attn.o_proj.weight", "mlp.down_proj.weight")  # what a layer adds to the stream goes through these


def deepened(weights: Mapping[str, torch.Tensor], layers: int, wanted: int) -> dict[str, torch.Tensor]:
    """The weights of a model of `layers` text layers for one of `wanted`, the same function (as LLaMA Pro begins).

    Each of the last `wanted - layers` is followed by its copy, whose output matrices are zero; arXiv 2401.02415.
    Unchanged where `wanted` isn't from `layers` to twice as many.
    """
    more = wanted - layers
    if not 0 < more <= layers:
        return dict(weights)
    found = {}
    for name, value in weights.items():
        match = _LAYER.fullmatch(name)
        if match is None:
            found[name] = value
            continue
        number, rest = int(match[2]), match[3]
        doubled = number - (layers - more)  # the number of its pair, if it has one
        place = number + max(0, doubled)
        found[f"{match[1]}{place}{rest}"] = value
        if doubled >= 0:
            copy = torch.zeros_like(value) if rest[1:] in _ADDS else value.clone()
            found[f"{match[1]}{place + 1}{rest}"] = copy
    return found


def _heads(folder: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(folder / HEADS)
    except (OSError, SafetensorError) as error:
        raise RejectedInput(
            Code.CONFIG_VALUE, f"{folder / HEADS}: could not be opened ({error}); give a checkpoint of this training"
        ) from None


def _model_class() -> Any:
    from transformers import Qwen2_5_VLForConditionalGeneration

    return Qwen2_5_VLForConditionalGeneration
