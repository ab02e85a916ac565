"""The command line of the study: data, base, one arm, answers.

    python -m training.grpo.study data --train DIR --test DIR --out runs/study/data
    python -m training.grpo.study base --start CHECKPOINT --data DIR --out runs/study/base
    python -m training.grpo.study free --seed 0 --base runs/study/base/checkpoint --data runs/study/data \
        --out runs/study
    python -m training.grpo.study answers --data runs/study/data --out runs/study

The arms are free, empty, supervised, random, none and required; what follows `--` goes to `segzero train grpo`.
`answers` asks the last checkpoint of every arm that is there. The second study has `orders` and `naming` in place of
`data` and `base`, `pilot`, and `--second` behind its arms and `answers`. Tables and plots:
`python -m bench.reinforcement`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segzero_ros.cli.parser import OK, Parser, at_least, number_in, refuse
from segzero_ros.errors import RejectedInput

ARM_NAMES = ("free", "empty", "supervised", "random", "none", "required")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; what cannot be done is one line and status 2."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    args = read_arguments(argv)
    try:
        return int(args.work(args))
    except RejectedInput as error:
        return refuse("python -m training.grpo.study", str(error))


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; --help and wrong usage end the process."""
    parser = Parser("python -m training.grpo.study", __doc__ or "")
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")
    data = stages.add_parser("data", help="questions in and out of distribution, of rendered shards")
    data.add_argument("--train", type=Path, required=True, metavar="DIR", help="shards to train on")
    data.add_argument("--test", type=Path, required=True, metavar="DIR", help="shards to ask about, --split val")
    data.add_argument("--shards", type=at_least(0), default=0, help="of --train; 0 = all")
    data.set_defaults(work=make_data)
    base = stages.add_parser("base", help="skills without reasoning, taught to a checkpoint")
    base.add_argument("--start", type=Path, required=True, metavar="DIR", help="a checkpoint of the demo reasoner")
    base.add_argument("--data", type=Path, required=True, metavar="DIR", help="shards to train on")
    base.add_argument("--steps", type=at_least(1), help="in place of the study's")
    base.add_argument("--rate", type=number_in(0, above=True), default=1.0, help="a factor of the study's rates")
    base.set_defaults(work=teach_base)
    _add_second(stages)
    for name in ARM_NAMES:
        arm = stages.add_parser(name, help="an arm of the study")
        arm.add_argument("--seed", type=at_least(0), required=True, help="of the questions and of the samples")
        arm.add_argument("--base", type=Path, required=True, metavar="DIR", help="the base's checkpoint")
        arm.add_argument("--data", type=Path, required=True, metavar="DIR", help="what `data` made")
        arm.add_argument("--second", action="store_true", help="with the settings of the second study")
        arm.add_argument("more", nargs="*", help="after --: options of segzero train grpo")
        arm.set_defaults(work=run_arm)
    answers = stages.add_parser("answers", help="ask the last checkpoint of every arm")
    answers.add_argument("--data", type=Path, required=True, metavar="DIR", help="what `data` made")
    answers.add_argument("--second", action="store_true", help="as many questions as the second study asks")
    answers.set_defaults(work=ask_all)
    for stage in stages.choices.values():
        stage.add_argument("--out", type=Path, required=True, metavar="DIR", help="where it goes")
    return parser.parse_args(argv)


def _add_second(stages: Any) -> None:
    """Stages of the second study."""
    orders = stages.add_parser("orders", help="second study: questions of rendered shards")
    for name, about in (("train", "for the arms"), ("test", "to ask in the end"), ("pilot", "for the pilot alone")):
        orders.add_argument(f"--{name}", type=Path, required=True, metavar="DIR", help=f"shards {about}")
    orders.set_defaults(work=make_orders)
    naming = stages.add_parser("naming", help="second study: a base that lists things and answers")
    naming.add_argument("--start", type=Path, required=True, metavar="DIR", help="a checkpoint of the demo reasoner")
    naming.add_argument("--data", type=Path, required=True, metavar="DIR", help="shards to train on")
    naming.add_argument("--steps", type=at_least(1), help="in place of the study's")
    naming.add_argument("--seconds", type=at_least(1), help="the clock passes through the steps")
    naming.add_argument("--seed", type=at_least(0), help="in place of the study's; another one draws other questions")
    naming.add_argument("--fresh", action="store_true", help="new layers of language over the checkpoint's tower")
    naming.set_defaults(work=teach_naming)
    pilot = stages.add_parser("pilot", help="second study: what thinking is worth to a base")
    pilot.add_argument("--base", type=Path, required=True, metavar="DIR", help="a checkpoint")
    pilot.add_argument("--data", type=Path, required=True, metavar="DIR", help="a folder of questions")
    pilot.add_argument("--count", type=at_least(1), default=200, help="questions (default 200)")
    pilot.add_argument("--times", type=at_least(1), default=8, help="samples of each (default 8)")
    pilot.set_defaults(work=measure_base)


def make_orders(args: argparse.Namespace) -> int:
    """OUT/train, OUT/in, OUT/ood, OUT/pilot; prints how many questions each has."""
    from training.grpo.study.orders import make_data as make

    print(json.dumps(make(args.train, args.test, args.pilot, args.out)))
    return OK


def teach_naming(args: argparse.Namespace) -> int:
    """OUT/checkpoint."""
    import torch

    from training.grpo.study.naming import RECIPE, train_base

    torch.set_num_threads(1)
    seed = RECIPE.seed if args.seed is None else args.seed
    recipe = replace(RECIPE, steps=args.steps or RECIPE.steps, seed=seed)
    train_base(args.start, args.data, args.out, recipe, seconds=args.seconds, fresh=args.fresh)
    return OK


def measure_base(args: argparse.Namespace) -> int:
    """OUT, a JSON file, which is printed too."""
    from training.grpo.study.pilot import run

    found = json.dumps(run(args.base, args.data, args.count, args.times), indent=1)
    args.out.write_text(found + "\n", encoding="utf-8")
    print(found)
    return OK


def make_data(args: argparse.Namespace) -> int:
    """OUT/train, OUT/in, OUT/ood; prints how many questions each has."""
    from training.grpo.study.splits import make_data as make

    print(json.dumps(make(args.train, args.test, args.out, args.shards)))
    return OK


def teach_base(args: argparse.Namespace) -> int:
    """OUT/checkpoint."""
    import torch

    from training.grpo.study.skills import RECIPE, train_base

    torch.set_num_threads(1)
    recipe = replace(RECIPE, muon=RECIPE.muon * args.rate, adam=RECIPE.adam * args.rate)
    train_base(args.start, args.data, args.out, replace(recipe, steps=args.steps or RECIPE.steps))
    return OK


def run_arm(args: argparse.Namespace) -> int:
    """OUT/ARM-SEED."""
    from training.grpo.study.arms import ARMS, SECOND, SETTINGS, arm_arguments

    out, settings = args.out / f"{args.stage}-{args.seed}", SECOND if args.second else SETTINGS
    return ARMS[args.stage].run(arm_arguments(args.stage, args.seed, args.base, args.data, out, args.more, settings))


def ask_all(args: argparse.Namespace) -> int:
    """OUT/ARM-SEED/answers.jsonl of every arm that has a checkpoint."""
    from training.grpo.study.answers import ask_runs, ask_second_runs

    (ask_second_runs if args.second else ask_runs)(args.data, args.out)
    return OK
