"""The listener as a process; launch/listener.launch.py and the demo start it by the table here."""

import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from segzero_ros.ros import processes
from segzero_ros.ros.executor.process import ShutdownSignals, StartError, run
from segzero_ros.ros.processes import Process, Value

if TYPE_CHECKING:
    from rclpy.executors import Executor

    from segzero_ros.ros.hearing.node import ListenerNode

EXECUTABLE = NAME = "segzero_listener"
REFUSED = 2

# Launch argument -> the parameter it is.
PARAMETERS: Mapping[str, str] = MappingProxyType(
    {
        "speech_model": "model",
        "speech_engines": "engines",
        "words": "words",
        "wake_phrase": "wake_phrase",
        "stop_words": "stop_words",
        "source": "source",
        "microphone": "microphone",
        "wav": "wav",
        "audio_type": "audio_type",
    }
)


def listener(
    *, namespace: str = "", audio: str = "", config: str = "", log_level: str = "info", **parameters: Value
) -> Process:
    """The listener; ``parameters`` that are empty keep their defaults."""
    given = {name: value for name, value in parameters.items() if value != ""}
    remaps = {"audio": audio} if audio and audio != "audio" else {}
    return Process(EXECUTABLE, NAME, namespace, given, remaps, config, log_level)


def spoken(*, node: str = "true", audio: str = "", listener_config: str = "", **options: Any) -> tuple[Process, ...]:
    """What launch/listener.launch.py starts; ``options``: of the grounding node, and PARAMETERS."""
    own = {parameter: options.pop(name, "") for name, parameter in PARAMETERS.items()}
    common = {name: options.get(name, "") for name in ("namespace", "log_level", "use_sim_time")}
    ear = listener(audio=audio, config=listener_config, **{**common, **own})
    return (processes.node(**options), ear) if node == "true" else (ear,)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the listener; return the exit status."""
    shutdown = ShutdownSignals()
    from rclpy.exceptions import ParameterException

    from segzero_ros.ros.hearing.node import BadStartError, ListenerNode

    try:
        return run(shutdown, ListenerNode, arguments, _finish)
    except (BadStartError, StartError, ParameterException) as error:
        print(f"{EXECUTABLE}: {error}", file=sys.stderr, flush=True)
        return REFUSED


def _finish(node: "ListenerNode", _executor: "Executor") -> None:
    node.close()
