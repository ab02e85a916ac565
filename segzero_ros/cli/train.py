"""`segzero train`: hands over to the trainings, which need the offline packages and a clone of the repository."""

from collections.abc import Sequence

from segzero_ros.cli.offline import hand_over
from segzero_ros.cli.parser import REFUSED, STATUS, refuse
from segzero_ros.errors import nearest

TARGETS = {
    "data": (
        "training.demo_models.render_tabletop",
        ("mujoco",),
        "render scenes of the demo world with instructions and their truth",
    ),
    "reasoner": (
        "training.demo_models.pretrain_reasoner",
        ("torch", "transformers"),
        "a small Qwen2.5-VL on that data",
    ),
    "grpo": (
        "training.grpo.main",
        ("torch", "transformers", "trl"),
        "reinforcement: a reasoner by its rewards, any size",
    ),
    "segmenter": ("training.demo_models.pretrain_segmenter", ("torch", "transformers"), "a small SAM 2 on that data"),
}

HELP = """usage: segzero train {names} ...

Make the demo world's training data, train a demo model on it, or reinforce a reasoner of any size;
`--resume` goes on after a stop.

{targets}

examples:
  segzero train data --out runs/data/train --split train --shards 60
  segzero train reasoner --data runs/data/train --val runs/data/val --out runs/reasoner
  segzero train grpo --out runs/grpo

`segzero train TARGET --help` tells more about each.
{status}"""


def main(arguments: Sequence[str]) -> int:
    """Run one training."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(help_text())
        return 0 if arguments else REFUSED
    name = arguments[0]
    if name not in TARGETS:
        return refuse("segzero train", f"got {name[:100]!r}{nearest(name, TARGETS)}\nTry: segzero train --help")
    module, needs, _ = TARGETS[name]
    return hand_over(f"train {name}", module, needs, arguments[1:])


def help_text() -> str:
    """Return what `segzero train --help` prints."""
    targets = "\n".join(f"  {name:10} {what}" for name, (_, _, what) in TARGETS.items())
    return HELP.format(names="|".join(TARGETS), targets=targets, status=STATUS)
