"""The processes of a running system as one table of plain data: `make demo` and the launch files start the same ones.

Nothing here starts anything, and only ``launch_description`` imports ROS; ``Process.command_line`` is the way without.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from segzero_ros.config import BACKENDS as ENGINES

if TYPE_CHECKING:
    from launch import LaunchContext, LaunchDescription

Value = str | int | float | bool
Camera = Literal["none", "tabletop"]
CAMERAS: tuple[Camera, ...] = ("none", "tabletop")
BACKENDS = ("auto", *ENGINES)

PACKAGE = "segzero_ros"
NODE = "segzero"
CAMERA_NODE = "tabletop_camera"
NODE_WAIT_S = 120  # large engines take a minute to open


@dataclass(frozen=True, slots=True)
class Process:
    """One executable of ``scripts/`` with what it is given.

    ``remaps``: graph name as in ``ros/qos.py`` -> name on this robot. ``config``: a parameter file or "".
    ``arguments``: plain command-line arguments, before those of ROS.
    """

    executable: str
    name: str
    namespace: str = ""
    parameters: Mapping[str, Value] = field(default_factory=dict)
    remaps: Mapping[str, str] = field(default_factory=dict)
    config: str = ""
    log_level: str = "info"
    arguments: tuple[str, ...] = ()

    def ros_arguments(self) -> list[str]:
        """Everything behind ``--ros-args``."""
        words = ["-r", f"__node:={self.name}"]
        if self.namespace:
            words += ["-r", f"__ns:=/{self.namespace.strip('/')}"]
        for name, to in self.remaps.items():
            words += ["-r", f"{name}:={to}"]
        if self.config:
            words += ["--params-file", self.config]
        for name, value in self.parameters.items():
            words += ["-p", f"{name}:={_yaml(value)}"]
        return [*words, *self.log_arguments()]

    def log_arguments(self) -> list[str]:
        """How loud this node is; ROS names loggers like nodes, with dots for slashes."""
        logger = ".".join([*self.namespace.strip("/").split("/"), self.name]).lstrip(".")
        return ["--log-level", f"{logger}:={self.log_level}"]

    def command_line(self) -> list[str]:
        """The words to start this process with, under the Python that runs now."""
        return [
            sys.executable,
            str(executable_path(self.executable)),
            *self.arguments,
            "--ros-args",
            *self.ros_arguments(),
        ]


def node(
    *,
    namespace: str = "",
    bundle: str = "",
    backend: str = "",
    server: str = "",
    model: str = "",
    warm_frame_hz: str = "",
    image: str = "",
    depth: str = "",
    camera_info: str = "",
    image_transport: str = "",
    use_depth: bool = False,
    config: str = "",
    log_level: str = "info",
    **more: Value,
) -> Process:
    """The grounding node; an empty string leaves a parameter or a topic as ``config`` or the defaults have it.

    ``more``: further parameters by name.
    """
    chosen: dict[str, Value] = {"bundle": bundle, "backend": backend, "server": server, "model": model}
    chosen |= {"image_transport": image_transport, "warm_frame_hz": float(warm_frame_hz or 0)}
    parameters = {name: value for name, value in chosen.items() if value} | more
    if use_depth:
        parameters["use_depth"] = True
    topics = {"image": image, "depth": depth, "camera_info": camera_info}
    remaps = {name: topic for name, topic in topics.items() if topic and topic != name}
    return Process("segzero_node", NODE, namespace, parameters, remaps, config, log_level)


def tabletop_camera(
    *,
    namespace: str = "",
    image: str = "",
    scenario: str = "",
    seed: int | None = None,
    truth_dir: str = "",
    log_level: str = "info",
) -> Process:
    """The camera of the demo world; it publishes where the node listens. ``truth_dir``: see ``ros/camera_node.py``."""
    chosen: dict[str, Value] = {"scenario": scenario, "truth_dir": truth_dir}
    parameters = {name: value for name, value in chosen.items() if value}
    if seed is not None:
        parameters["seed"] = seed
    remaps = {"image": image} if image and image != "image" else {}
    return Process("tabletop_camera", CAMERA_NODE, namespace, parameters, remaps, "", log_level)


def client(command: str, *, namespace: str = "", log_level: str = "info") -> Process:
    """`segzero say`: one command to the node, as soon as it is there; prints the answer and ends."""
    words = ("say", "--wait", str(NODE_WAIT_S), command)
    return Process("segzero", "segzero_client", namespace, arguments=words, log_level=log_level)


def demo(
    *,
    camera: Camera = "tabletop",
    command: str = "",
    namespace: str = "",
    image: str = "",
    use_depth: bool = True,
    log_level: str = "info",
    **options: Any,
) -> tuple[Process, ...]:
    """The processes of the demo, in the order of their start; ``options`` are those of ``node``."""
    common = {"namespace": namespace, "log_level": log_level}
    patience_s = NODE_WAIT_S / 2  # the camera starts together with the node
    table = [node(image=image, use_depth=use_depth, first_frame_sec=patience_s, **common, **options)]
    if camera == "tabletop":
        table.insert(0, tabletop_camera(image=image, **common))
    if command:
        table.append(client(command, **common))
    return tuple(table)


Argument = tuple[str, str, Sequence[str]]  # of a launch file: default, meaning, choices (none = any text)

COMMON_ARGUMENTS: Mapping[str, Argument] = {
    "image": ("image", "the camera's image topic", ()),
    "namespace": ("", "namespace of all nodes", ()),
    "server": ("", "remote: http://HOST:PORT/v1", ()),
    "model": ("", "a checkpoint's directory, or the server's name of its model", ()),
    "warm_frame_hz": ("", "how often to prefill the newest frame while there is no command", ()),
    "config": ("", "parameter file, a copy of config/segzero.yaml; empty = the defaults", ()),
    "log_level": ("info", "of all nodes", ("debug", "info", "warn", "error", "fatal")),
}


def launch_description(
    arguments: Mapping[str, Argument], processes: Callable[..., Iterable[Process]]
) -> "LaunchDescription":
    """What a launch file returns: COMMON_ARGUMENTS and ``arguments`` declared, ``processes(**values)`` started."""
    from launch.actions import DeclareLaunchArgument, OpaqueFunction
    from launch.substitutions import LaunchConfiguration
    from launch_ros.actions import Node

    from launch import LaunchDescription

    table = {**COMMON_ARGUMENTS, **arguments}

    def start(context: "LaunchContext") -> list[Node]:
        value: dict[str, Any] = {name: LaunchConfiguration(name).perform(context) for name in table}
        value["use_depth"] = value["use_depth"] == "true"
        return [Node(**launch_arguments(process)) for process in processes(**value)]

    declared = [
        DeclareLaunchArgument(name, default_value=default, description=meaning, choices=list(choices) or None)
        for name, (default, meaning, choices) in table.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def launch_arguments(process: Process) -> dict[str, Any]:
    """The keyword arguments of ``launch_ros.actions.Node`` that start ``process``."""
    return {
        "package": PACKAGE,
        "executable": process.executable,
        "name": process.name,
        "namespace": process.namespace,
        "parameters": [given for given in (process.config, dict(process.parameters)) if given],
        "remappings": list(process.remaps.items()),
        "arguments": list(process.arguments),
        "ros_arguments": process.log_arguments(),
        "output": "screen",
    }


def executable_path(name: str) -> Path:
    """Find an executable: in the source tree's ``scripts/``, else where colcon installs it."""
    here = Path(__file__).resolve()
    candidates = [here.parents[2] / "scripts" / name]
    candidates += [parent / "lib" / PACKAGE / name for parent in here.parents]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f"no executable {name!r} in {candidates[0].parent} nor in lib/{PACKAGE}; build the package again"
    )


def _yaml(value: Value) -> str:
    """Spell a parameter value as YAML, quoted where a string could be read as something else."""
    if isinstance(value, bool):
        return str(value).lower()
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
