"""The old name of ``training.grpo.ablate``."""

from segzero_ros.cli.offline import run_renamed

if __name__ == "__main__":
    run_renamed("training.ablate", "training.grpo.ablate")
