"""The old name of ``training.grpo.adapter``."""

from segzero_ros.cli.offline import run_renamed

if __name__ == "__main__":
    run_renamed("training.grpo_adapter", "training.grpo.adapter")
