"""What decides a training of the demo reasoner, and the command line of `segzero train reasoner`."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from segzero_ros.cli.parser import Parser, Renamed, at_least, number_in
from training.demo_models.recipes.device import PICTURES_ON_DEVICE, add_device_options, add_seconds_option
from training.demo_models.recipes.shapes import SHAPES

ABOUT = """Pretrain the demo reasoner: a small Qwen2.5-VL that sees the tabletop world, thinks and answers with boxes.

    segzero train reasoner --data DIR --val DIR --out DIR --steps 4000

Two stages in one run. First the vision tower alone learns from dense heads and word alignment. Then everything learns
together: cross-entropy on thinking and answer, plus dense heads, guided attention and word alignment, the learning
rate falling to zero over the last part. Only the Qwen2.5-VL weights are kept; the heads stay behind in the
training state. The run is resumable (`--resume`, exact for the same data folder), saves on Ctrl-C, and may be given
more steps when it is resumed before the decay.

With --seconds the clock passes through the schedule instead, however many steps are made, and the run is saved every
minute; with --workers pictures are kept and changed on the device while processes word and tokenise the questions.

This is the supervised start that GRPO needs; it is not Seg-Zero's method, which starts from a pretrained Qwen2.5-VL.
"""
SHARE, RATE = number_in(0, 1), number_in(0, above=True)
RANGES: Mapping[str, Callable[[str], float]] = {
    **dict.fromkeys(("vision_steps", "steps", "seed"), at_least(0)),
    **dict.fromkeys(("vision_images", "images", "questions"), at_least(1)),
    **dict.fromkeys(("recoloured", "spoken", "paraphrased", "counted", "listed", "word_noise", "decay_from"), SHARE),
    **dict.fromkeys(("muon", "adam"), RATE),
    "vision_rate": number_in(0),
}
EVERY = (
    ("save-every", 200, "steps from one checkpoint to the next"),
    ("evaluate-every", 500, "steps from one look at held-out questions to the next"),
    ("evaluate-count", 300, "held-out questions each time"),
)
NAMES = {"images": "images_per_step"}  # of options that other trainings have, too
HELP: Mapping[str, str] = {
    "vision_steps": "steps of the vision tower alone",
    "steps": "steps in all",
    "vision_images": "pictures in a step of the vision tower alone",
    "recoloured": "share of the pictures with exchanged colours",
    "spoken": "share of the questions as people speak",
    "paraphrased": "share of the others in other words",
    "counted": "share of the groups that the thinking counts",
    "listed": "share of the groups that it only lists, whatever their shard says",
    "word_noise": "share of the questions with made-up words between theirs",
    "images": "pictures in a step",
    "questions": "questions about each picture",
    "muon": "Muon's rate",
    "adam": "AdamW's rate",
    "vision_rate": "rate of the tower when all learns, as a share; 0 leaves it as it is",
    "decay_from": "share of the steps of all after which the rate falls",
    "seed": "another seed begins and draws otherwise",
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the run.

    `recoloured`: share of the pictures with exchanged colours (`colour_augmentation.py`), so that shape and colour are
    learned apart. `spoken`: share of the questions as people speak (`spoken/speak.py`); `paraphrased`: share of the
    others in other words (`paraphrase.py`); `word_noise`: share with made-up words between theirs (`word_noise.py`).
    `counted`: share of the groups whose thinking says how many there are and numbers them, as the composed grammar's
    does; shards of the plain grammar only list them. `listed`: share whose thinking is the plain grammar's whatever the
    shard says. In the vision stage half of the pictures are mirrored.
    `vision_rate`: of the tower in the second stage, as a share; 0 leaves it as it is. `decay_from`: share of the second
    stage after which the learning rate falls.
    """

    vision_steps: int = 1000
    steps: int = 4000
    vision_images: int = 24
    recoloured: float = 0.5
    spoken: float = 0.0
    paraphrased: float = 0.45
    counted: float = 0.0
    listed: float = 0.0
    word_noise: float = 0.25
    images: int = 24
    questions: int = 3
    muon: float = 0.02
    adam: float = 2e-3
    vision_rate: float = 0.5
    decay_from: float = 0.3
    seed: int = 0


def read_arguments(arguments: Sequence[str] | None = None) -> tuple[argparse.Namespace, Recipe]:
    """Read the command line: the options, and the recipe in them; --help and wrong usage end the process."""
    parser = Parser("segzero train reasoner", ABOUT)
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="folder of shards (`segzero train data`)")
    add("--val", type=Path, required=True, metavar="DIR", help="folder of held-out shards")
    add("--out", type=Path, required=True, metavar="DIR", help="where checkpoint/ and log.jsonl go")
    add("--tokenizer", type=Path, metavar="FILE", help="tokenizer.json to use instead of learning one")
    add("--start", type=Path, metavar="DIR", help="checkpoint of another run to begin from, with a fresh schedule")
    add("--resume", action="store_true", help="go on from OUT/checkpoint")
    add("--threads", type=at_least(1), default=1, metavar="N", help="CPU threads, which share the pictures (default 1)")
    shapes = "demo; deep: two more layers, can --start with demo's; wide: 192 wide, 224 x 224, for a GPU (default demo)"
    add("--shape", choices=tuple(SHAPES), default="demo", metavar="NAME", help=shapes)
    add_device_options(add)
    add_seconds_option(add, "the schedule passes in so many seconds, however many steps that makes; saved each minute")
    held = f"most pictures kept on the device, with --workers (default {PICTURES_ON_DEVICE})"
    add("--pictures-on-device", type=at_least(1), default=PICTURES_ON_DEVICE, metavar="N", help=held)
    for name, value, what in EVERY:
        add(f"--{name}", type=at_least(1), default=value, metavar="N", help=f"{what} (default {value})")
    for name, value in asdict(Recipe()).items():
        option, what = f"--{NAMES.get(name, name).replace('_', '-')}", f"{HELP[name]} (default {value:g})"
        add(option, dest=name, type=RANGES[name], default=value, metavar="N", help=what)
    add("--images", action=Renamed, new="--images-per-step", dest="images", type=RANGES["images"])
    add("--mumbled", action=Renamed, new="--word-noise", dest="word_noise", type=RANGES["word_noise"])
    add("--turns", action=Renamed, new="--questions", dest="questions", type=RANGES["questions"])
    args = parser.parse_args(arguments)
    return args, Recipe(**{name: getattr(args, name) for name in asdict(Recipe())})
