"""The old name of ``training.grpo.plot``."""

from segzero_ros.cli.offline import run_renamed

if __name__ == "__main__":
    run_renamed("training.plot_grpo", "training.grpo.plot")
