"""`segzero train`: the trainings, which need the offline packages and a clone of the repository."""

from segzero_ros.cli.offline import Offline, OfflineParser
from segzero_ros.cli.parser import Parser

ABOUT = """Make the demo world's training data, train a demo model on it, or reinforce a reasoner of any size;
`--resume` goes on after a stop."""
EXAMPLES = (
    "segzero train data --out runs/data/train --split train --shards 60",
    "segzero train reasoner --data runs/data/train --val runs/data/val --out runs/reasoner",
    "segzero train grpo --out runs/grpo",
)
TARGETS = {
    "data": Offline(
        "training.demo_models.render_tabletop",
        ("mujoco",),
        "render scenes of the demo world with instructions and their truth",
        "training.demo_models.recipes.tabletop",
    ),
    "reasoner": Offline(
        "training.demo_models.pretrain_reasoner",
        ("torch", "transformers"),
        "a small Qwen2.5-VL on that data",
        "training.demo_models.recipes.reasoner",
    ),
    "grpo": Offline(
        "training.grpo.main", ("torch", "transformers", "trl"), "reinforcement: a reasoner by its rewards, any size"
    ),
    "segmenter": Offline(
        "training.demo_models.pretrain_segmenter",
        ("torch", "transformers"),
        "a small SAM 2 on that data",
        "training.demo_models.recipes.segmenter",
    ),
}


def configure(parser: Parser) -> None:
    """Add the trainings."""
    parser.describe(ABOUT, EXAMPLES)
    targets = parser.add_commands("targets", "TARGET", OfflineParser)
    for name, command in TARGETS.items():
        targets.add_parser(name, help=command.summary, command=command)
