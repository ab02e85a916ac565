"""`segzero export`: hands over to ``export.bundle``, which needs the offline packages and a clone of the repository."""

from collections.abc import Sequence

from segzero_ros.cli.offline import hand_over

NEEDS = ("torch", "transformers", "onnx", "onnxscript")


def main(arguments: Sequence[str]) -> int:
    """Export checkpoints to a bundle."""
    return hand_over("export", "export.bundle", NEEDS, arguments)
