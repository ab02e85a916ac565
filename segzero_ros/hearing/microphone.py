"""A microphone by the package sounddevice, imported when one is opened."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.hearing.audio import CHUNK_S, Resampler, Samples


@contextlib.contextmanager
def microphone(name: str, hear: Callable[[Samples], None]) -> Iterator[None]:
    """Have ``hear`` called with samples as they come, in PortAudio's thread, while the context is open.

    ``name``: of a device or part of it, or its number; "" = the default one. Raises ``RejectedInput`` CONFIG_VALUE.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: the package without the library PortAudio
        detail = f"no microphone without the package sounddevice and PortAudio ({error}); install both, or send audio"
        raise RejectedInput(Code.CONFIG_VALUE, detail) from None
    device: Any = int(name) if name.isdecimal() else name or None
    try:
        rate = int(sounddevice.query_devices(device, "input")["default_samplerate"])
        resampler = Resampler(rate)

        def take(data: Any, _count: int, _time: Any, _status: Any) -> None:
            hear(resampler.feed(np.asarray(data, np.float32).mean(1, dtype=np.float32)))

        stream = sounddevice.InputStream(
            device=device, samplerate=rate, blocksize=int(rate * CHUNK_S), channels=1, dtype="float32", callback=take
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        known = [each["name"] for each in sounddevice.query_devices() if each["max_input_channels"] > 0]
        detail = f"could not open the microphone {name!r} ({error}); there are: {', '.join(known) or 'none'}"
        raise RejectedInput(Code.CONFIG_VALUE, detail) from None
    with stream:
        yield
