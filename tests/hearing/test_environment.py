"""Which Python runs the recogniser: `speech` where it is complete, else this one, else a line that says what to do."""

import json
import sys
from pathlib import Path

import pytest

from segzero_ros.engines.environment import COMPLETE, PACKAGE, find_environment
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.hearing.process import environment
from segzero_ros.hearing.process.environment import find_python


@pytest.fixture
def speech(monkeypatch, tmp_path):
    """The folder of a user's environment `speech`, empty yet."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path / "none"))
    folder = tmp_path / "segzero_ros" / "engines" / "speech"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    return folder


def finish(folder):
    (folder / COMPLETE).write_text(json.dumps({"package": str(PACKAGE)}))


def test_the_environment_speech_is_taken_where_it_is_complete(speech):
    finish(speech)
    assert find_python() == find_python("speech") == speech / "bin" / "python"


def test_without_it_this_python_is_taken_if_it_has_the_packages(speech, monkeypatch):
    monkeypatch.setattr(environment, "missing_here", list)
    assert find_python() == Path(sys.executable)


def test_without_either_the_command_that_makes_one_is_named(speech, monkeypatch):
    monkeypatch.setattr(environment, "missing_here", lambda: ["faster_whisper"])
    with pytest.raises(RejectedInput) as refused:
        find_python()
    assert refused.value.code is Code.BUNDLE_BACKEND
    assert "half made; make it: segzero engines install speech" in refused.value.detail


def test_another_environment_is_taken_by_its_path(speech):
    finish(speech)
    assert find_python(str(speech)) == speech / "bin" / "python"


def test_the_node_never_takes_it_for_its_engines(speech, monkeypatch):
    finish(speech)
    monkeypatch.setattr("segzero_ros.engines.environment.missing_here", list)
    assert find_environment().python == Path(sys.executable)
