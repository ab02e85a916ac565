"""`segzero eval`: hands over to ``training.evaluate``, which needs the demo world and a clone of the repository."""

from collections.abc import Sequence

from segzero_ros.commands.offline import hand_over


def main(arguments: Sequence[str]) -> int:
    """Score a bundle."""
    return hand_over("eval", "training.evaluate", ("mujoco",), arguments)
