"""The old name of ``training.demo_models.pretrain_reasoner``."""

from segzero_ros.cli.offline import run_renamed

if __name__ == "__main__":
    run_renamed("training.pretrain_reasoner", "training.demo_models.pretrain_reasoner")
