"""The listener's parameters: what can be set about hearing, and where its audio comes from."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.hearing.audio import MOST_CHANNELS, RATES_HZ
from segzero_ros.hearing.settings import HearingSettings
from segzero_ros.ros.hearing.audio_message import TYPES

if TYPE_CHECKING:
    from rclpy.node import Node

SOURCES = ("topic", "microphone", "wav")


@dataclass(frozen=True, slots=True)
class ListenerConfig:
    """``source``: one of SOURCES; the others as their parameters' descriptions say."""

    settings: HearingSettings
    source: str
    microphone: str
    wav: str
    audio_type: str
    audio_qos: str
    sample_rate: int
    channels: int
    engines: str


def declare(node: "Node") -> ListenerConfig:
    """Declare the parameters and return their values; ``RejectedInput`` CONFIG_VALUE for a wrong one."""
    given = {each.name: _declare(node, each.name, each.default, each.metadata) for each in fields(HearingSettings)}
    own = {
        "source": _choice(node, "source", SOURCES, "where the audio comes from"),
        "microphone": _text(node, "microphone", "its name or number; empty = the default one (needs sounddevice)"),
        "wav": _text(node, "wav", "the path of a WAV file, played as fast as it was spoken"),
        "audio_type": _choice(node, "audio_type", tuple(TYPES), "the message on `audio`"),
        "audio_qos": _choice(node, "audio_qos", ("reliable", "best_effort"), "reliability asked of `audio`"),
        "sample_rate": _whole(node, "sample_rate", 16_000, *RATES_HZ, "samples per second of `audio`, per channel"),
        "channels": _whole(
            node, "channels", 1, 1, MOST_CHANNELS, "channels of `audio`, interleaved; their mean is heard"
        ),
        "engines": _text(node, "engines", "the recogniser's environment, a name or a path; empty = `speech`"),
    }
    return ListenerConfig(HearingSettings(**given), **own)


def _declare(node: "Node", name: str, default: Any, limits: Any) -> Any:
    descriptor = ParameterDescriptor(description=limits["description"], read_only=True, dynamic_typing=True)
    low, high = limits.get("low"), limits.get("high")
    if type(default) is float:
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
    elif low is not None:
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    value = node.declare_parameter(name, default, descriptor).value
    return float(value) if type(default) is float and type(value) is int else value


def _text(node: "Node", name: str, description: str) -> str:
    descriptor = ParameterDescriptor(description=description, read_only=True)
    return str(node.declare_parameter(name, "", descriptor).value)


def _choice(node: "Node", name: str, choices: tuple[str, ...], description: str) -> str:
    descriptor = ParameterDescriptor(description=f"{description}: {', '.join(choices)}", read_only=True)
    value = str(node.declare_parameter(name, choices[0], descriptor).value)
    if value not in choices:
        raise RejectedInput(Code.CONFIG_VALUE, f"got {name} = {value[:80]!r}, want {' or '.join(choices)}")
    return value


def _whole(node: "Node", name: str, default: int, low: int, high: int, description: str) -> int:
    span = [IntegerRange(from_value=low, to_value=high, step=1)]
    descriptor = ParameterDescriptor(description=description, read_only=True, integer_range=span)
    return int(node.declare_parameter(name, default, descriptor).value)
