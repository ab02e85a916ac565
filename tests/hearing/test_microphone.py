"""A microphone, by a stand-in for sounddevice: what it hears becomes mono at 16 kHz; what is missing is said."""

import sys
import types

import numpy as np
import pytest

from segzero_ros.errors import RejectedInput
from segzero_ros.hearing.audio import RATE_HZ
from segzero_ros.hearing.microphone import microphone


class PortAudioError(Exception):
    pass


class Stream:
    """Hands over a second of a 500 Hz tone at its own rate while it is open."""

    def __init__(self, *, device, samplerate, blocksize, channels, dtype, callback):
        if device == "broken":
            raise PortAudioError("device unavailable")
        self.rate, self.block, self.callback = samplerate, blocksize, callback

    def __enter__(self):
        tone = np.sin(2 * np.pi * 500 * np.arange(self.rate) / self.rate).astype(np.float32)
        for start in range(0, self.rate, self.block):
            self.callback(tone[start : start + self.block, None], self.block, None, None)
        return self

    def __exit__(self, *_):
        return None


@pytest.fixture
def sounddevice(monkeypatch):
    known = [{"name": "USB Audio", "max_input_channels": 1}, {"name": "HDMI", "max_input_channels": 0}]

    def query(device=None, kind=None):
        if device == "nobody":
            raise ValueError("no input device matching 'nobody'")
        return {"default_samplerate": 48_000.0} if kind else known

    module = types.SimpleNamespace(InputStream=Stream, query_devices=query, PortAudioError=PortAudioError)
    monkeypatch.setitem(sys.modules, "sounddevice", module)


@pytest.mark.parametrize("name", ["", "USB", "3"])
def test_what_the_microphone_hears_comes_at_16_khz(sounddevice, name):
    heard = []
    with microphone(name, heard.append):
        pass
    whole = np.concatenate(heard)
    assert len(whole) == pytest.approx(RATE_HZ, abs=100)
    wanted = np.sin(2 * np.pi * 500 * np.arange(len(whole)) / RATE_HZ)
    assert np.abs(whole - wanted)[200:].max() < 0.01


@pytest.mark.parametrize("name", ["nobody", "broken"])
def test_a_microphone_that_does_not_open_is_named_with_those_that_are_there(sounddevice, name):
    with (
        pytest.raises(RejectedInput, match=rf"could not open the microphone '{name}' .*; there are: USB Audio$"),
        microphone(name, list),
    ):
        pass


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(RejectedInput, match="install both, or send audio"), microphone("", list):
        pass
