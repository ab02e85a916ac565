"""A home without engine environments, and Pythons that fail in every way."""

import json
import sys
from pathlib import Path

import pytest


class StandIn:
    """A Python in a folder of its own; see stand_in.py."""

    def __init__(self, folder):
        folder.mkdir(parents=True)
        self.folder = folder
        (folder / "stand_in.py").write_text((Path(__file__).parent / "stand_in.py").read_text("utf-8"), "utf-8")
        self.python = folder / "python"
        self.python.write_text(f'#!/bin/sh\nexec {sys.executable} -I {folder / "stand_in.py"} "$@"\n')
        self.python.chmod(0o755)
        self._plan = {"is": {}}
        self.plan()

    def plan(self, **steps):
        """``step=(what it says, its status)``; ``is_``: what it says of itself."""
        self._plan["is"] |= steps.pop("is_", {})
        self._plan |= steps
        (self.folder / "plan.json").write_text(json.dumps(self._plan))

    def started(self, step):
        """Every start of this Python for ``step``."""
        file = self.folder / "started"
        lines = file.read_text().splitlines() if file.exists() else []
        return [entry for entry in map(json.loads, lines) if entry["step"] == step]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home of environments; nothing of this machine's is seen."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path / "machine"))
    return tmp_path / "home" / "segzero_ros" / "engines"


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """The one Python on PATH."""
    found = StandIn(tmp_path / "path")
    (found.folder / "python3").symlink_to(found.python)
    monkeypatch.setenv("PATH", f"{found.folder}")
    return found
