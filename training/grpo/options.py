"""The command line of `training/grpo/main.py`: the paper's settings, the demo's, and every option."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from segzero_ros.cli.parser import Parser, Renamed, at_least, number_in
from segzero_ros.profile import PROFILES

RULES = ("seg_zero_v1", "seg_zero_v1_soft", "vision_reasoner_v2", "grounded_v3")
NO_THINKING = "<think></think><answer>"
DEMO_PROFILE = "demo"
HELD_OUT = "held-out"

PAPER: Mapping[str, Any] = MappingProxyType(
    {
        "model": "Qwen/Qwen2.5-VL-7B-Instruct",
        "data": "",
        "val": "",
        "segmenter": "",
        "reward": "vision_reasoner_v2",
        "mix": "",
        "word_noise": 0.0,
        "settings": "",
        "samples": 8,
        "prompts_per_step": 16,
        "per_picture": 1,
        "steps": 0,
        "lr": 1e-6,
        "schedule": "constant",
        "warmup": 0,
        "beta2": 0.999,
        "kl": 5e-3,
        "entropy": 1e-3,
        "response": 2000,
        "evaluate_every": 20,
        "evaluate_count": 200,
        "save_every": 20,
        "freeze_vision": False,
        "micro_batch": 4,
    }
)
DEMO: Mapping[str, Any] = MappingProxyType(
    {
        "model": "checkpoints/tabletop",
        "data": "tabletop",
        "val": "",
        "segmenter": "bundles/tabletop",
        "reward": "grounded_v3",
        "mix": "several=1.5,absent=2",
        "word_noise": 0.5,
        "settings": "easy_budget=32,hard_budget=64,uncertainty_budget=0,length_slope=0.004",
        "samples": 8,
        "prompts_per_step": 16,
        "per_picture": 2,
        "steps": 150,
        "lr": 1e-4,
        "schedule": "linear",
        "warmup": 5,
        "beta2": 0.99,
        "kl": 0.0,
        "entropy": 0.0,
        "response": 220,
        "evaluate_every": 50,
        "evaluate_count": 360,
        "save_every": 25,
        "freeze_vision": True,
        "micro_batch": 0,
    }
)


def parse(argv: Sequence[str] | None = None, description: str = "") -> argparse.Namespace:
    """Options; what is not given is the paper's, or the demo's with its profile."""
    parser = build_parser(description)
    early = argparse.ArgumentParser(add_help=False)
    early.add_argument("--profile", default=DEMO_PROFILE)
    known, _ = early.parse_known_args(argv)
    parser.set_defaults(**(DEMO if known.profile == DEMO_PROFILE else PAPER))
    args = parser.parse_args(argv)
    if not args.data:
        parser.error("--data: this profile has no data of its own; give a data set or a folder")
    if args.prefix and not args.thinking:
        parser.error("--prefix begins a thinking, --no-thinking forbids one; give one of them")
    return args


def build_parser(description: str = "") -> Parser:
    """The command line; defaults that depend on the profile are filled in by `parse`."""
    parser = Parser("segzero train grpo", description)
    _add_data(parser.add_argument_group("what is trained, on what"))
    _add_reward(parser.add_argument_group("reward and answers"))
    _add_method(parser.add_argument_group("GRPO"))
    _add_machine(parser.add_argument_group("machine"))
    _add_run(parser.add_argument_group("run"))
    return parser


def _add_data(group: Any) -> None:
    add = group.add_argument
    add("--profile", default=DEMO_PROFILE, choices=(DEMO_PROFILE, *PROFILES), help="prompt, frame and grammar")
    add("--model", help="checkpoint, a folder or a name on the hub")
    add("--data", help="'tabletop' (rendered into OUT), a folder of shards, or what `segzero data check` takes")
    add("--split", default="train", help="of the data (default train)")
    add(
        "--val",
        help="held-out data; 'held-out': --evaluate-count questions of --data, which are not trained on; "
        "empty: 'tabletop' renders its own, other data is not validated",
    )
    add("--val-split", default="val", help="of the held-out data (default val)")
    add("--segmenter", help="a bundle or a SAM 2 checkpoint for masks in the reward and the validation; '' = none")


def _add_reward(group: Any) -> None:
    add = group.add_argument
    add("--reward", choices=RULES, help="rule (docs/rewards.md)")
    add(
        "--v3",
        default="",
        metavar="KEY=VALUE,...",
        help="settings of grounded_v3 in place of the profile's, e.g. point=0",
    )
    add(
        "--length-budget",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="grounded_v3's budget for the thinking",
    )
    add("--thinking", action=argparse.BooleanOptionalAction, default=True, help="--no-thinking: answer at once")
    add("--prefix", default="", metavar="TEXT", help="what every thinking is forced to begin with")
    add(
        "--word-noise",
        type=number_in(0, 1),
        metavar="SHARE",
        help="share of the questions with made-up words between theirs",
    )
    add(
        "--val-word-noise",
        type=number_in(0, 1),
        metavar="SHARE",
        help="of the held-out questions (default: as --word-noise)",
    )
    add("--mumble", action=Renamed, new="--word-noise", dest="word_noise", type=number_in(0, 1))
    add("--val-mumble", action=Renamed, new="--val-word-noise", dest="val_word_noise", type=number_in(0, 1))
    add("--mix", metavar="KIND=WEIGHT,...", help="how often each kind of question is asked (default 1)")


def _add_method(group: Any) -> None:
    add = group.add_argument
    add("--samples", type=at_least(2), help="answers per question, the group")
    add("--prompts-per-step", type=at_least(1), help="questions per step")
    add("--per-picture", type=at_least(1), help="questions asked about one picture in a row")
    add("--steps", type=at_least(0), help="0 = one pass over the data")
    add("--lr", type=number_in(0, above=True), help="AdamW's rate")
    add("--schedule", choices=("constant", "linear", "cosine"), help="of the rate")
    add("--warmup", type=at_least(0), help="steps until the full rate")
    add("--weight-decay", type=number_in(0), default=0.01, help="AdamW's (default 0.01)")
    add("--beta2", type=number_in(0, 0.999999), help="AdamW's second moment")
    add("--kl", type=number_in(0), help="weight of the divergence from the start; 0 = off, and quicker")
    add("--entropy", type=number_in(0), help="weight of the entropy bonus")
    add("--clip", type=number_in(0, above=True), default=0.2, help="of the probability ratio")
    add("--temperature", type=number_in(0, above=True), default=1.0, help="of the rollouts")
    add("--loss", default="bnpo", choices=("grpo", "bnpo", "dr_grpo", "dapo"), help="TRL's loss_type")
    add("--scale-rewards", default="group", choices=("group", "batch", "none"), help="what advantages are divided by")
    add(
        "--least-advantage",
        type=number_in(0),
        default=0.0,
        help="answers whose advantage is smaller are not learned from, which is quicker (default 0 = all are)",
    )
    add("--iterations", type=at_least(1), default=1, help="updates per rollout")
    add("--response", type=at_least(1), help="most tokens of an answer")
    add("--freeze-vision", action=argparse.BooleanOptionalAction, help="leave the vision tower as it is")


def _add_machine(group: Any) -> None:
    add = group.add_argument
    add("--rollouts", default="auto", choices=("auto", "packed", "transformers", "vllm"), help="auto: packed on a CPU")
    add(
        "--vllm-mode",
        default="colocate",
        choices=("colocate", "server"),
        help="vLLM on the GPUs that train, or on others",
    )
    add(
        "--vllm-memory",
        type=number_in(0, 1, above=True),
        default=0.3,
        help="share of each GPU that a colocated vLLM takes",
    )
    add("--vllm-tensor-parallel", type=at_least(1), default=1, help="GPUs that share one colocated vLLM")
    add("--vllm-host", default="127.0.0.1", help="of the server")
    add("--vllm-port", type=at_least(1), default=8000, help="of the server")
    add("--micro-batch", type=at_least(0), help="answers per device and forward pass; 0 = all of a step")
    add(
        "--lora",
        type=at_least(0),
        default=0,
        metavar="RANK",
        help="train adapters of this rank on the language model only",
    )
    add("--attention", default="sdpa", help="transformers' attn_implementation")
    add("--threads", type=at_least(1), default=1, help="of the CPU")


def _add_run(group: Any) -> None:
    add = group.add_argument
    add("--out", type=Path, required=True, help="where checkpoints, best/ and logs go")
    add("--seed", type=at_least(0), default=0, help="of the order of questions and of the samples")
    add("--evaluate-every", type=at_least(1), help="steps between validations")
    add(
        "--evaluate-count",
        type=at_least(0),
        help="held-out questions, as even over the kinds as the data allows; 0 = none",
    )
    add(
        "--best-by",
        default="",
        choices=("", "hit", "iou", "mask"),
        help="default: mask where masks are known, else iou",
    )
    add("--save-every", type=at_least(1), help="steps between checkpoints")
    add("--resume", action="store_true", help="go on from OUT's newest checkpoint")
