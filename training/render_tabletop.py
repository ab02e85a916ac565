"""The old name of ``training.demo_models.render_tabletop``."""

from segzero_ros.cli.offline import run_renamed

if __name__ == "__main__":
    run_renamed("training.render_tabletop", "training.demo_models.render_tabletop")
