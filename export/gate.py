"""The old name of ``training.evaluation.parity``."""

from segzero_ros.cli.offline import run_renamed

if __name__ == "__main__":
    run_renamed("export.gate", "training.evaluation.parity")
