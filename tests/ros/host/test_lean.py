"""A node that need not read JPEG, paint or measure depth does without OpenCV: Debian's takes 90 MB."""

import subprocess
import sys

from tests.ros.robot import PATIENCE_S
from tests.ros.test_process import ROOT

SAID = {
    "started": "False",
    "rgb8": "OK True",
    "bgr8": "OK True",
    "mono8": "OK True",
    "answered": "False",
    "followed": "False",
}


def test_a_node_answers_and_follows_on_raw_pictures_without_opencv_and_loads_it_at_configure_for_compressed_ones() -> (
    None
):
    words = [sys.executable, "-m", "tests.ros.host.lean_node"]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False)
    assert ended.returncode == 0, ended.stderr
    said = dict(line.split("=") for line in ended.stdout.splitlines() if "=" in line)
    assert said == SAID | {"compressed": "True"}, ended.stderr
