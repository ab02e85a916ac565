"""`segzero data`: hands over to ``training.data_check``, which needs a clone of the repository and no torch."""

from collections.abc import Sequence

from segzero_ros.commands.offline import hand_over


def main(arguments: Sequence[str]) -> int:
    """Check a data set."""
    return hand_over("data", "training.data_check", (), arguments)
