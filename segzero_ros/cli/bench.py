"""`segzero bench`: hands over to ``bench.main``, which needs the demo world and a clone of the repository."""

from collections.abc import Sequence

from segzero_ros.cli.offline import hand_over


def main(arguments: Sequence[str]) -> int:
    """Measure a bundle."""
    return hand_over("bench", "bench.main", ("mujoco",), arguments)
