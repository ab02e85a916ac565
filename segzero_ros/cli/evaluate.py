"""`segzero eval`: hands over to ``training.evaluation``, which needs the demo world and a clone of the repository."""

from collections.abc import Sequence

from segzero_ros.cli.offline import hand_over


def main(arguments: Sequence[str]) -> int:
    """Score a bundle."""
    return hand_over("eval", "training.evaluation.main", ("mujoco",), arguments)
