"""Audio of any form becomes mono at 16 kHz without changing what is heard."""

import wave

import numpy as np
import pytest

from segzero_ros.errors import RejectedInput
from segzero_ros.hearing.audio import RATE_HZ, Resampler, from_pcm, read_wav, to_pcm16


def sine(rate, hz=1000.0, seconds=1.0):
    return np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("chunk", [1, 333, 100_000])
def test_a_tone_of_any_rate_is_the_same_tone(rate, chunk):
    resampler, tone = Resampler(rate), sine(rate, seconds=0.3)
    pieces = [resampler.feed(tone[start : start + chunk]) for start in range(0, len(tone), chunk)]
    made = np.concatenate([*pieces, resampler.finish()])
    wanted = sine(RATE_HZ, seconds=0.3)
    assert abs(len(made) - len(wanted)) <= 1
    middle = slice(200, len(wanted) - 200)
    assert np.abs(made[: len(wanted)][middle] - wanted[: len(made)][middle]).max() < 0.01


def test_what_is_above_half_the_rate_is_gone_and_does_not_come_back_lower():
    resampler = Resampler(48_000)
    made = np.concatenate([resampler.feed(sine(48_000, 11_000.0)), resampler.finish()])
    assert np.abs(made[200:-200]).max() < 0.01


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_wav_file_of_every_width_is_read(width, channels, tmp_path):
    tone = sine(RATE_HZ, seconds=0.2) * 0.5
    scale = 2.0 ** (8 * width - 1)
    whole = np.rint(tone * (scale - 1)).astype(np.int64) + (128 if width == 1 else 0)
    raw = whole.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :width]
    path = tmp_path / "tone.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, RATE_HZ, 0, "NONE", ""))
        file.writeframes(np.repeat(raw[:, None], channels, 1).tobytes())
    read = np.concatenate(list(read_wav(path)))
    assert np.abs(read - tone).max() < 0.02


def test_half_a_sample_is_refused():
    with pytest.raises(RejectedInput, match=r"got 3 bytes of audio, want a multiple of 2"):
        from_pcm(b"abc")


@pytest.mark.parametrize("rate", [0, -1, 3_999, 1_000_000])
def test_an_impossible_rate_is_refused(rate):
    with pytest.raises(RejectedInput, match="want 4000 to 192000"):
        Resampler(rate)


def test_samples_that_are_no_numbers_are_silence_and_loud_ones_are_clipped():
    given = np.array([np.nan, np.inf, -np.inf, 5.0, -5.0, 0.0], np.float32)
    assert from_pcm(to_pcm16(given)) == pytest.approx([0, 1, -1, 1, -1, 0], abs=1e-4)


@pytest.mark.parametrize("seed", range(200))
def test_bytes_of_every_kind_are_read_or_refused_and_nothing_else(seed, tmp_path):
    rng = np.random.default_rng(seed)
    print("seed", seed)
    path = tmp_path / "some.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes(to_pcm16(sine(RATE_HZ, seconds=0.05)))
    content = bytearray(path.read_bytes())
    for _ in range(int(rng.integers(1, 6))):
        content[rng.integers(0, 44)] = rng.integers(0, 256)
    path.write_bytes(content[: rng.integers(0, len(content) + 1)] if rng.random() < 0.5 else content)
    try:
        samples = list(read_wav(path))
    except RejectedInput:
        return
    assert all(np.isfinite(piece).all() for piece in samples)
