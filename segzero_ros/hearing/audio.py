"""Audio as this package handles it: mono, 16 kHz, float32 in [-1, 1]; and how other forms become that."""

import math
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segzero_ros.errors import Code, RejectedInput

Samples = NDArray[np.float32]  # mono, RATE_HZ, in [-1, 1]
RATE_HZ = 16_000
RATES_HZ = (4_000, 192_000)  # lowest and highest that is taken
MOST_CHANNELS = 32
CHUNK_S = 0.1  # of what a file is read in
_HALF_TAPS = 16  # of the low-pass, at the lower of both rates
_FULL_SCALE = {1: 128.0, 2: 32768.0, 3: 8388608.0, 4: 2147483648.0}  # bytes per sample -> the largest value


class Resampler:
    """A stream of mono samples of any rate -> RATE_HZ, by a windowed sinc; single-threaded.

    The first output sample is at the time of the first input sample; `finish` gives the rest.
    """

    def __init__(self, rate_hz: int) -> None:
        check_rate(rate_hz)
        common = math.gcd(rate_hz, RATE_HZ)
        self._up, self._down = RATE_HZ // common, rate_hz // common
        cut = min(1.0, RATE_HZ / rate_hz)
        self._reach = math.ceil(_HALF_TAPS / cut)
        at = np.arange(-self._reach, self._reach + 1)[None] - (np.arange(self._up) / self._up)[:, None]
        window = np.cos(np.clip(at / (self._reach + 1), -1, 1) * np.pi / 2) ** 2
        kernel = cut * np.sinc(cut * at) * window
        self._kernel = (kernel / kernel.sum(1, keepdims=True)).astype(np.float32)  # one row per phase
        self._held = np.zeros(self._reach, np.float32)
        self._dropped = -self._reach  # the stream's sample that `_held` begins with
        self._made = self._taken = 0

    def feed(self, samples: Samples) -> Samples:
        """Return the output samples that ``samples`` completes."""
        self._taken += len(samples)
        if self._up == self._down == 1:
            return samples
        return self._convert(samples)

    def finish(self) -> Samples:
        """Return what is left, as if silence followed."""
        if self._up == self._down == 1:
            return np.zeros(0, np.float32)
        left = -(-self._taken * self._up // self._down) - self._made
        return self._convert(np.zeros(self._reach + 1, np.float32))[: max(0, left)]

    def _convert(self, samples: Samples) -> Samples:
        held = np.concatenate([self._held, samples])
        last = self._dropped + len(held) - self._reach  # centres before this one have all their taps
        end = max(self._made, -(-last * self._up // self._down))
        at = np.arange(self._made, end, dtype=np.int64)
        centre, phase = at * self._down // self._up, at * self._down % self._up
        taps = (centre - self._reach - self._dropped)[:, None] + np.arange(2 * self._reach + 1)[None]
        made = np.einsum("ij,ij->i", held[taps], self._kernel[phase]) if len(at) else np.zeros(0, np.float32)
        self._made = end
        keep = max(0, end * self._down // self._up - self._reach - self._dropped)
        self._held, self._dropped = held[keep:], self._dropped + keep
        return made.astype(np.float32)


def check_rate(rate_hz: int) -> None:
    """Raise ``RejectedInput`` CONFIG_VALUE for a sampling rate that is not taken."""
    low, high = RATES_HZ
    if not low <= rate_hz <= high:
        raise RejectedInput(Code.CONFIG_VALUE, f"got audio at {rate_hz} Hz, want {low} to {high}")


def from_pcm(data: bytes, width: int = 2, channels: int = 1) -> Samples:
    """Return interleaved little-endian PCM as mono samples at its own rate.

    ``width``: bytes per sample; one byte is unsigned, as in WAV files. Raises ``RejectedInput`` CONFIG_VALUE.
    """
    if width not in _FULL_SCALE or not 1 <= channels <= MOST_CHANNELS:
        detail = f"got {width} bytes per sample and {channels} channels, want 1 to 4 and 1 to {MOST_CHANNELS}"
        raise RejectedInput(Code.CONFIG_VALUE, f"{detail}; convert it to 16-bit PCM")
    if len(data) % (width * channels):
        detail = f"got {len(data)} bytes of audio, want a multiple of {width * channels} ({channels} x {8 * width} bit)"
        raise RejectedInput(Code.CONFIG_VALUE, f"{detail}; send whole samples")
    if width == 1:
        whole = np.frombuffer(data, np.uint8).astype(np.float32) - _FULL_SCALE[1]
    elif width == 3:
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        whole = (padded.view("<i4").ravel() >> 8).astype(np.float32)
    else:
        whole = np.frombuffer(data, f"<i{width}").astype(np.float32)
    mono: Samples = (whole / np.float32(_FULL_SCALE[width])).reshape(-1, channels).mean(1, dtype=np.float32)
    return mono


def to_pcm16(samples: Samples) -> bytes:
    """Return samples as little-endian 16-bit PCM; what is beyond full scale, or no number, is clipped."""
    clean = np.clip(np.nan_to_num(samples), -1.0, 1.0)
    return bytes(np.rint(clean * 32767.0).astype("<i2").data)


def read_wav(path: Path) -> Iterator[Samples]:
    """Yield a WAV file's samples in pieces of CHUNK_S; ``RejectedInput`` CONFIG_VALUE says what is wrong with it.

    A file that is cut off yields what there is before it is refused.
    """
    try:
        with path.open("rb") as stream, wave.open(stream) as file:
            yield from _pieces(file, path)
    except (wave.Error, EOFError, RuntimeError) as error:  # the last for chunks beyond the file's end
        why = str(error) or "it ends too early"
        detail = f"{str(path)[:200]!r} is no WAV file of PCM samples ({why}); convert it to 16-bit PCM"
        raise RejectedInput(Code.CONFIG_VALUE, detail) from None
    except OSError as error:
        detail = f"could not read {str(path)[:200]!r} ({error.strerror or error}); give the path of a WAV file"
        raise RejectedInput(Code.CONFIG_VALUE, detail) from None


def _pieces(file: wave.Wave_read, path: Path) -> Iterator[Samples]:
    rate, width, channels = file.getframerate(), file.getsampwidth(), file.getnchannels()
    resampler, come = Resampler(rate), 0
    while data := file.readframes(max(1, int(rate * CHUNK_S))):
        data = data[: len(data) // (width * channels) * width * channels]
        come += len(data) // (width * channels)
        yield resampler.feed(from_pcm(data, width, channels))
    yield resampler.finish()
    told = file.getnframes()
    if come < told and not is_piped(told):
        detail = f"{str(path)[:200]!r} ends after {come / rate:.1f} s of {told / rate:.1f} s; it was cut off"
        raise RejectedInput(Code.CONFIG_VALUE, f"{detail}: copy it again")


def is_piped(frames: int) -> bool:
    """Whether a header's number of frames is the "unknown" of a program that wrote into a pipe."""
    return frames >= 1 << 28
