"""What decides a training of the demo segmenter, and the command line of `segzero train segmenter`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segzero_ros.cli.parser import Parser, Renamed, at_least, number_in
from training.demo_models.recipes.device import add_device_options, add_seconds_option

ABOUT = """Pretrain the demo segmenter: a small SAM 2 that learns masks from boxes and points on the tabletop world.

    segzero train segmenter --data DIR --val DIR --out DIR --minutes 45
    segzero train segmenter --evaluate --segmenter DIR --data DIR --out FILE

First the prompt encoder and the mask decoder learn alone, without any picture, what a box says about a mask: a minute,
where joint training takes many times that to find it out. Then everything learns together. A step encodes a few
pictures once each and decodes several prompts per picture in one batch: a box, true or jittered, with none, one or two
points. Of the three masks the best one learns (cross-entropy and Dice on the upsampled logits), the others a little,
and all three learn to predict their own IoU. Throw-away heads ask the picture's feature maps where any object is. One
step in eight trains the single-mask output instead. The rate warms up, holds and falls to zero with the budget.
Not trained: the object score and the memory, which single pictures cannot teach.

`OUT/checkpoint` is a `Sam2Model` directory, `OUT/state.pt` everything a resumed run needs, `OUT/log.jsonl` the curve.
Ctrl-C saves them.
"""
DEFAULT_MINUTES = 45.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides the result of a run beside its data.

    The budget is `minutes` of this process's CPU time, `steps`, or `seconds` on the clock: one of them (ValueError).
    """

    minutes: float | None = DEFAULT_MINUTES
    steps: int | None = None
    images_per_step: int = 6
    prompts_per_image: int = 5
    muon_rate: float = 0.02
    adam_rate: float = 2e-3
    blind: float = 0.03  # share of the budget for the decoder alone
    every_weight: float = 0.2  # of the masks that were not the best: a box leaves no doubt, so all three should be good
    foreground_weight: float = 0.3
    warm_up: float = 0.005  # share of the budget
    decay_from: float = 0.4  # share of the budget
    seed: int = 0
    seconds: float | None = None

    def __post_init__(self) -> None:
        if [self.minutes, self.steps, self.seconds].count(None) != 2:
            said = f"minutes={self.minutes}, steps={self.steps}, seconds={self.seconds}"
            raise ValueError(f"got {said}; give exactly one of them")


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; --help and wrong usage end the process."""
    parser = Parser("segzero train segmenter", ABOUT)
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="folder of shards to train on, or to evaluate on")
    add("--val", type=Path, metavar="DIR", help="folder of held-out shards, for the curve")
    add("--out", type=Path, metavar="DIR", help="where checkpoint, state and log go; with --evaluate its report")
    budget = parser.add_mutually_exclusive_group()
    minutes = f"budget in minutes of this process's CPU time (default {DEFAULT_MINUTES:g})"
    budget.add_argument("--minutes", type=number_in(0, above=True), metavar="N", help=minutes)
    budget.add_argument("--steps", type=at_least(1), metavar="N", help="budget in steps instead")
    add_seconds_option(budget.add_argument, "budget in seconds on the clock instead; saved each minute")
    add_device_options(add)
    recipe = Recipe()
    for name, value, what in (
        ("--images-per-step", recipe.images_per_step, "pictures in a step"),
        ("--prompts-per-image", recipe.prompts_per_image, "boxes and points asked about in each"),
    ):
        add(name, type=at_least(1), metavar="N", help=f"{what} (default {value}, or the resumed run's)")
    add("--seed", type=at_least(0), default=0, metavar="N", help="another seed begins and draws otherwise (default 0)")
    resume = "go on with OUT/state.pt, its recipe and its budget, or those given"
    add("--resume", action="store_true", help=resume)
    add("--evaluate", action="store_true", help="score --segmenter on --data instead of training")
    add("--segmenter", type=Path, metavar="DIR", help="the checkpoint to evaluate, a Sam2Model")
    add("--count", type=at_least(1), default=1000, metavar="N", help="most pictures to evaluate on (default 1000)")
    add("--checkpoint", type=Path, dest="segmenter", action=Renamed, new="--segmenter")
    add("--json", type=Path, dest="out", action=Renamed, new="--out")
    add("--scenes", type=at_least(1), dest="count", action=Renamed, new="--count")
    args = parser.parse_args(arguments)
    if args.evaluate and args.segmenter is None:
        parser.error("--evaluate needs --segmenter DIR")
    if not args.evaluate and args.out is None:
        parser.error("training needs --out DIR")
    return args
