"""docs/host.md: systemd takes its units, and its states and codes are those of the code."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from segzero_ros.errors import Code
from segzero_ros.host.supervisor import Phase

PAGE = (Path(__file__).parents[2] / "docs" / "host.md").read_text(encoding="utf-8")
UNITS = dict(re.findall(r"`/etc/systemd/system/(\S+)`:\n\n```ini\n(.*?)```", PAGE, re.DOTALL))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian: systemd)")
def test_systemd_takes_the_units(tmp_path):
    assert sorted(UNITS) == ["segzero-host.service", "segzero-node.service"]
    for name, text in UNITS.items():
        (tmp_path / name).write_text(text)
    words = ["systemd-analyze", "verify", *(str(tmp_path / name) for name in UNITS)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_states_are_those_of_the_host():
    table = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(table) == sorted(set(get_args(Phase)) - {"closed"})


def test_the_codes_exist():
    codes = set(re.findall(r"`([A-Z]+_?[A-Z]+)`", PAGE))
    assert {"LOADING", "REASONER_DIED", "TIMEOUT", "HOST_UNUSABLE"} <= codes
    assert codes <= set(Code.__members__)
