"""`segzero data`: hands over to ``training.data.check``, which needs a clone of the repository and no torch."""

from collections.abc import Sequence

from segzero_ros.cli.offline import hand_over


def main(arguments: Sequence[str]) -> int:
    """Check a data set."""
    return hand_over("data", "training.data.check", (), arguments)
