"""The old name of ``training.demo_models.plot``."""

from segzero_ros.cli.offline import run_renamed

if __name__ == "__main__":
    run_renamed("training.plot_pretraining", "training.demo_models.plot")
