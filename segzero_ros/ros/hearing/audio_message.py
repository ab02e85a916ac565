"""The audio messages that are understood: raw PCM chunks of whole samples, one channel or several interleaved."""

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.hearing.audio import Samples, from_pcm

# Type -> what is in its field `data`. AudioData is ROS 1's and ROS 2's most used; it is in no wheel of PyPI.
TYPES: Mapping[str, str] = MappingProxyType(
    {
        "std_msgs/msg/Int16MultiArray": "samples",
        "std_msgs/msg/UInt8MultiArray": "bytes of 16-bit little-endian samples",
        "audio_common_msgs/msg/AudioData": "bytes of 16-bit little-endian samples",
    }
)
MOST_S = 10.0  # of one message: a chunk is a tenth of a second, and a larger one than this is a mistake


def message_type(name: str) -> Any:
    """Return the class of one of TYPES; ``RejectedInput`` CONFIG_VALUE where its package is not installed."""
    package, kind, cls = name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.{kind}"), cls)
    except ImportError:
        detail = f"got audio_type = {name!r}, but {package} is not installed; install it or send {next(iter(TYPES))}"
        raise RejectedInput(Code.CONFIG_VALUE, detail) from None


def samples_of(message: Any, rate_hz: int, channels: int) -> Samples:
    """Return a message's samples at its own rate, mono; ``RejectedInput`` CONFIG_VALUE for broken ones."""
    data = np.asarray(message.data)
    raw = data.astype("<i2").tobytes() if data.dtype == np.int16 else data.astype(np.uint8).tobytes()
    if len(raw) > MOST_S * rate_hz * channels * 2:
        detail = (
            f"got {len(raw)} bytes of audio at once, want at most {MOST_S:.0f} s; send chunks of a tenth of a second"
        )
        raise RejectedInput(Code.CONFIG_VALUE, detail)
    return from_pcm(raw, 2, channels)
