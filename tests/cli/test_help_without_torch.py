"""--help says what a command does on a machine that has nothing of what the command itself needs."""

import subprocess
import sys
from pathlib import Path

import pytest

from segzero_ros.cli.main import COMMANDS
from segzero_ros.cli.train import TARGETS

ROOT = Path(__file__).parents[2]
WITHOUT = ("torch", "transformers", "onnx", "onnxruntime", "onnxscript", "mujoco", "rclpy", "tensorrt")
PROGRAM = f"""
import sys
for name in {WITHOUT}:
    sys.modules[name] = None
from segzero_ros.cli.main import main
sys.exit(main([*{{!r}}, "--help"]))
"""


EVERY = [*([name] for name in COMMANDS), *(["train", target] for target in TARGETS), ["data", "check"]]


@pytest.mark.parametrize("command", EVERY, ids=" ".join)
def test_help_needs_none_of_the_packages(command):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(command)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout
