"""The processes of a running system as one table of plain data: `make demo` and the launch files start the same ones.

Nothing here starts anything, and only what makes launch files imports ROS; ``Process.command_line`` is the way without.
What is given by argument wins over the parameter file, and that over the defaults of a launch file.
"""

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from segzero_ros.bundle import expand_home
from segzero_ros.config import BACKENDS as ENGINES
from segzero_ros.config import NodeConfig, parameters
from segzero_ros.errors import RejectedInput
from segzero_ros.host.sockets import default_path

if TYPE_CHECKING:
    from launch import LaunchContext, LaunchDescription

Value = str | int | float | bool
Camera = Literal["none", "tabletop"]
CAMERAS: tuple[Camera, ...] = ("none", "tabletop")
BACKENDS = ("auto", *ENGINES)

PACKAGE = "segzero_ros"
NODE = "segzero"
CAMERA_NODE = "tabletop_camera"
WAVE = "wave"  # the demo camera's service: an arm passes
TABLE_FRAME = "table"  # where that camera stands
NODE_WAIT_S = 120  # large engines take a minute to open
RESPAWN_DELAY_S = 2.0  # a node that cannot start must not fill the log


@dataclass(frozen=True, slots=True)
class Process:
    """One executable of ``scripts/`` with what it is given.

    ``parameters`` win over ``config``, a parameter file or "", and that over ``defaults``. ``remaps``: graph name as in
    ``ros/qos.py`` -> name on this robot. ``arguments``: plain command-line arguments, before those of ROS.
    ``enclave``: of SROS 2. ``respawn``: whether a launch file starts it again when it ends. ``package``: whose it is.
    """

    executable: str
    name: str
    namespace: str = ""
    parameters: Mapping[str, Value] = field(default_factory=dict)
    remaps: Mapping[str, str] = field(default_factory=dict)
    config: str = ""
    log_level: str = "info"
    arguments: tuple[str, ...] = ()
    defaults: Mapping[str, Value] = field(default_factory=dict)
    enclave: str = ""
    respawn: bool = False
    package: str = PACKAGE

    def ros_arguments(self) -> list[str]:
        """Everything behind ``--ros-args``."""
        words = ["-r", f"__node:={self.name}"]
        if self.namespace:
            words += ["-r", f"__ns:=/{self.namespace.strip('/')}"]
        for name, to in self.remaps.items():
            words += ["-r", f"{name}:={to}"]
        for name, value in self.defaults.items():
            words += ["-p", f"{name}:={_yaml(value)}"]
        if self.config:
            words += ["--params-file", self.config]
        for name, value in self.parameters.items():
            words += ["-p", f"{name}:={_yaml(value)}"]
        return [*words, *self.log_arguments()]

    def log_arguments(self, pushed: str = "") -> list[str]:
        """Security and loudness; ROS names loggers like nodes, with dots for slashes. ``pushed``: namespace around."""
        namespace = self.namespace if self.namespace.startswith("/") else f"{pushed}/{self.namespace}"
        logger = ".".join([*filter(None, namespace.split("/")), self.name])
        enclave = ["--enclave", self.enclave] if self.enclave else []
        return [*enclave, "--log-level", f"{logger}:={self.log_level}"]

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
    image: str = "",
    depth: str = "",
    camera_info: str = "",
    config: str = "",
    log_level: str = "info",
    enclave: str = "",
    respawn: bool | str = False,
    defaults: Mapping[str, Value] = MappingProxyType({}),
    **parameters: Value,
) -> Process:
    """The grounding node; an empty string leaves a parameter or a topic as ``config`` or the defaults have it."""
    given = {name: value for name, value in parameters.items() if value != ""}
    topics = {"image": image, "depth": depth, "camera_info": camera_info}
    remaps = {name: topic for name, topic in topics.items() if topic and topic != name}
    return Process(
        "segzero_node",
        NODE,
        namespace,
        given,
        remaps,
        config,
        log_level,
        defaults=defaults,
        enclave=enclave,
        respawn=bool(respawn),
    )


def tabletop_camera(
    *,
    namespace: str = "",
    image: str = "",
    scenario: str = "",
    seed: int | None = None,
    truth_dir: str = "",
    log_level: str = "info",
    use_sim_time: bool | str = "",
) -> Process:
    """The camera of the demo world; it publishes where the node listens. ``truth_dir``: see ``ros/camera_node.py``."""
    chosen: dict[str, Value] = {"scenario": scenario, "truth_dir": truth_dir}
    chosen["use_sim_time"] = use_sim_time
    parameters = {name: value for name, value in chosen.items() if value != ""}
    if seed is not None:
        parameters["seed"] = seed
    remaps = {"image": image} if image and image != "image" else {}
    return Process("tabletop_camera", CAMERA_NODE, namespace, parameters, remaps, "", log_level)


def client(command: str, *, namespace: str = "", log_level: str = "info") -> Process:
    """`segzero say`: one command to the node, as soon as it is there; prints the answer and ends."""
    text = f" {command}" if command.startswith("-") else command  # `-h` is a command here and no option
    words = ("say", "--wait", str(NODE_WAIT_S), text)
    return Process("segzero", "segzero_client", namespace, arguments=words, log_level=log_level)


def console(*words: str) -> Process:
    """`segzero console` with these options."""
    return Process("segzero", "segzero_console", arguments=("console", *words))


def demo(
    *,
    camera: Camera = "tabletop",
    command: str = "",
    namespace: str = "",
    image: str = "",
    log_level: str = "info",
    use_sim_time: bool | str = "",
    **options: Any,
) -> tuple[Process, ...]:
    """The processes of the demo, in the order of their start; ``options`` are those of ``node``."""
    common = {"namespace": namespace, "log_level": log_level}
    defaults = {"use_depth": True, "first_frame_sec": NODE_WAIT_S / 2}  # the camera starts together with the node
    table = [node(image=image, defaults=defaults, use_sim_time=use_sim_time, **common, **options)]
    if camera == "tabletop":
        table.insert(0, tabletop_camera(image=image, use_sim_time=use_sim_time, **common))
    if command:
        table.append(client(command, **common))
    return tuple(table)


def engine_host(socket: str, *, log_level: str = "info", **options: Value) -> Process:
    """`segzero host`: engines for several nodes. ``options``: of that command; an empty string leaves its default."""
    words = [word for name, value in options.items() if value != "" for word in (f"--{name}", str(value))]
    arguments = ("host", "--socket", socket, *words)
    return Process("segzero", "segzero_host", arguments=arguments, log_level=log_level, respawn=True)


def cameras(
    *,
    cameras: str,
    host: str = "",
    namespace: str = "",
    log_level: str = "info",
    bundle: str = "",
    backend: str = "",
    engines: str = "",
    server: str = "",
    model: str = "",
    **options: Any,
) -> tuple[Process, ...]:
    """A grounding node per camera, each in a namespace of the camera's name, and one host for all of them.

    ``cameras``: names with commas. ``host``: the socket of a host that is there already. ``options``: of ``node``.
    """
    names = [name.strip() for name in cameras.split(",") if name.strip()]
    if not names or len(set(names)) < len(names) or not all(_NAME.fullmatch(name) for name in names):
        raise ValueError(f"launch argument cameras: got {cameras!r}, want names with commas, as front,left")
    place = namespace.strip("/").replace("/", "-") or "robot"
    socket = host or str(default_path().with_name(f"{place}.sock"))
    spaces = [f"{namespace.rstrip('/')}/{name}" if namespace else name for name in names]
    nodes = [node(namespace=space, log_level=log_level, host=socket, **options) for space in spaces]
    if host:
        return tuple(nodes)
    given = {"bundle": bundle, "backend": backend, "engines": engines, "server": server, "model": model}
    return engine_host(socket, log_level=log_level, **given), *nodes


Argument = tuple[str, str, Sequence[str]]  # of a launch file: default, meaning, choices (none = any text)

COMMON_ARGUMENTS: Mapping[str, Argument] = {
    "image": ("image", "the camera's image topic", ()),
    "namespace": ("", "namespace of all nodes", ()),
    "bundle": ("", "name, absolute path or package://PACKAGE/PATH; empty = as in the parameter file", ()),
    "backend": ("", "engine that runs the models; empty = as in the parameter file", ("", *BACKENDS)),
    "engines": ("", "the engines' environment; empty = as in the parameter file", ()),
    "host": ("", "the socket of a `segzero host` that several nodes share; empty = as in the parameter file", ()),
    "server": ("", "remote: http://HOST:PORT/v1", ()),
    "model": ("", "a checkpoint's directory, or the server's name of its model", ()),
    "warm_frame_hz": ("", "how often to prefill the newest frame while there is no command", ()),
    "record": ("", "the flight recorder: none, failures or all; empty = as in the parameter file", ()),
    "autostart": ("", "true = configure and activate at start; empty = as in the parameter file", ()),
    "use_sim_time": ("", "true = the time of /clock; empty = as in the parameter file", ()),
    "config": ("", "parameter file, a copy of config/segzero.yaml; empty = the defaults", ()),
    "log_level": ("info", "of all nodes", ("debug", "info", "warn", "error", "fatal")),
    "enclave": ("", "the grounding node's enclave of SROS 2", ()),
    "respawn": ("false", "true = start the grounding node again when it ends", ()),
}

FLAGS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_NAMES = ("image", "depth", "camera_info", "namespace")
_NAME = re.compile(r"(~?/)?[A-Za-z_]\w*(/[A-Za-z_]\w*)*/?", re.ASCII)


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
        value = {name: read_argument(name, LaunchConfiguration(name).perform(context)) for name in table}
        pushed = context.launch_configurations.get("ros_namespace", "")
        return [Node(**launch_arguments(process, pushed)) for process in processes(**value)]

    declared = [
        DeclareLaunchArgument(name, default_value=default, description=meaning, choices=list(choices) or None)
        for name, (default, meaning, choices) in table.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def read_argument(name: str, text: str) -> Value:
    """Return a launch argument as the type it has as a parameter, "" = not given; ValueError names what is wrong."""
    known = {parameter.name: parameter for parameter in parameters()}
    kind = known[name].kind if name in known else bool if name in ("respawn", "use_sim_time") else str
    if text == "":
        return ""
    if name == "config" and not _is_file(text):
        raise ValueError(f"launch argument config: got {text!r}, want a parameter file that is there")
    if name in _NAMES and not _NAME.fullmatch(text):
        raise ValueError(f"launch argument {name}: got {text!r}, want a ROS name: letters, digits, _ and /")
    try:
        value = FLAGS[text.lower()] if kind is bool else kind(text)
        return getattr(NodeConfig.from_mapping({name: value}), name) if name in known else value
    except (KeyError, ValueError):
        wanted = "true or false" if kind is bool else "a number"
        raise ValueError(f"launch argument {name}: got {text!r}, want {wanted}") from None
    except RejectedInput as fault:
        raise ValueError(f"launch argument {name}: {fault.detail}") from None


def _is_file(text: str) -> bool:
    try:
        return expand_home(text).is_file()
    except OSError:  # a name that no system takes
        return False


def launch_arguments(process: Process, pushed: str = "") -> dict[str, Any]:
    """The keyword arguments of ``launch_ros.actions.Node`` that start ``process``; ``pushed``: the namespace around."""
    more: dict[str, Any] = {"respawn": True, "respawn_delay": RESPAWN_DELAY_S} if process.respawn else {}
    return more | {
        "package": process.package,
        "executable": process.executable,
        "name": process.name,
        "namespace": process.namespace,
        "parameters": parameter_files(process),
        "remappings": list(process.remaps.items()),
        "arguments": list(process.arguments),
        "ros_arguments": process.log_arguments(pushed),
        "output": "screen",
    }


def parameter_files(process: Process) -> list[str]:
    """Return the files that give ``process`` its parameters, what wins last; launch itself would guess their types."""
    files = [_parameter_file(process.defaults)] if process.defaults else []
    if process.config:
        files.append(_without(str(expand_home(process.config)), process.parameters))
    return files + ([_parameter_file(process.parameters)] if process.parameters else [])


def _parameter_file(values: Mapping[str, Value]) -> str:
    sections = {"/**": {"ros__parameters": dict(values)}}
    return _written(json.dumps(sections, indent=2))  # JSON is YAML with every string quoted


def _without(config: str, names: Iterable[str]) -> str:
    """Return ``config``, or a copy without these parameters: those of a node's own section would win over ``/**``."""
    import yaml

    try:
        root = yaml.compose(Path(config).read_text(encoding="utf-8"))
        names_dropped = _drop(root, set(names), inside=False)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise ValueError(f"launch argument config: {config} is no parameter file: {why}") from None
    return _written(yaml.serialize(root)) if names_dropped else config


def _drop(node: Any, names: set[str], *, inside: bool) -> bool:
    """Take the parameters called ``names`` out of a mapping of YAML nodes; return whether there were any."""
    if not isinstance(getattr(node, "value", None), list) or node.id != "mapping":
        return False
    kept = [(key, value) for key, value in node.value if not (inside and key.value in names)]
    dropped = len(kept) < len(node.value)
    node.value = kept
    for key, value in kept if not inside else ():
        dropped |= _drop(value, names, inside=key.value == "ros__parameters")
    return dropped


def _written(text: str) -> str:
    """Write a parameter file of this run, as launch itself does, and return its path."""
    handle, path = tempfile.mkstemp(prefix="segzero_params_", suffix=".yaml")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return path


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
