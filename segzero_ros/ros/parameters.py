"""The node's ROS parameters: declared from ``segzero_ros.config``, refused with a reason where they do not fit.

A wrong override at start does not end the node: it stays unconfigured, says why, and configures once it is corrected.
An unknown name cannot be corrected from outside, so that one needs a restart; but a name under `/**` of a parameter
file, which other nodes share, may be theirs: it is a warning, unless it looks like one of ours misspelled.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rclpy.parameter
import yaml
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from segzero_ros.config import RENAMED, NodeConfig, Parameter, parameters
from segzero_ros.errors import Code, RejectedInput, nearest

if TYPE_CHECKING:
    from rclpy.node import Node

MISSPELLED = 0.85  # alikeness of two names, from where on one is taken for the other: a letter or two

_ROS_OWN = ("use_sim_time", "start_type_description_service")  # rclpy declares these by itself
_ROS_OWN_PREFIX = "qos_overrides."


class Parameters:
    """Declares every parameter of ``NodeConfig`` on a node and watches over what they are set to."""

    def __init__(self, node: "Node", arguments: Sequence[str] = ()) -> None:
        """Declare them; what the overrides have wrong is kept for ``config`` to raise.

        ``arguments``: the command line, which says what parameter files there are.
        """
        self._node = node
        self._known = {parameter.name: parameter for parameter in parameters()}
        self._faults: dict[str, RejectedInput] = {}
        overrides = {name: given.value for name, given in node._parameter_overrides.items()}  # noqa: SLF001 - no public way
        for old in RENAMED.keys() & overrides.keys():
            node.get_logger().warning(f"{_renamed(old)}; the old name goes in 0.3")
            overrides.setdefault(RENAMED[old], overrides.pop(old))
        self._judge_unknown(overrides, shared_names(arguments, node.get_name()))
        for parameter in self._known.values():
            self._declare(parameter, overrides)

    def _judge_unknown(self, overrides: Mapping[str, Any], shared: frozenset[str]) -> None:
        """Warn of names that are not ours but may be another node's; the others are faults."""
        unknown = sorted(name for name in overrides if name not in self._known and not _is_ros_own(name))
        foreign = [name for name in unknown if name in shared and not _is_misspelled(name, self._known)]
        for name in set(unknown) - set(foreign):
            self._faults[name] = _unknown(name, self._known)
        if foreign:
            names = ", ".join(repr(name[:100]) for name in foreign[:10])
            self._node.get_logger().warning(f"parameters under /** that are not this node's are ignored: {names}")

    def config(self) -> NodeConfig:
        """Return the configuration of this moment; ``RejectedInput`` CONFIG_UNKNOWN or CONFIG_VALUE."""
        for fault in self._faults.values():
            raise fault
        return NodeConfig(**{name: self.value(name) for name in self._known})

    def value(self, name: str) -> Any:
        """Return one parameter of this moment: a live one, or one that is needed before configure."""
        return self._node.get_parameter(name).value

    def _declare(self, parameter: Parameter, overrides: dict[str, Any]) -> None:
        value = parameter.default
        try:
            value = parameter.check(overrides.get(parameter.name, parameter.default))
            NodeConfig.from_mapping({parameter.name: value})  # for what the class checks beside the range
        except RejectedInput as fault:
            value, self._faults[parameter.name] = parameter.default, fault
        self._node.declare_parameter(parameter.name, value, _descriptor(parameter), ignore_override=True)

    def converted(self, given: Sequence["rclpy.parameter.Parameter"]) -> list["rclpy.parameter.Parameter"]:
        """Return the parameters with whole numbers as fractions where those are meant, as at start."""
        return [self._converted(change) for change in given]

    def _converted(self, change: "rclpy.parameter.Parameter") -> "rclpy.parameter.Parameter":
        known = self._known.get(change.name)
        if known is None or known.kind is not float or type(change.value) is not int:
            return change
        return rclpy.parameter.Parameter(change.name, value=float(change.value))

    def refusal(self, given: Sequence["rclpy.parameter.Parameter"]) -> str:
        """Say why these parameters must not be set to these values; empty when they may.

        rclpy's own checks come later and say less: neither which parameter nor what it could be.
        """
        for change in given:
            if change.name in RENAMED:
                return f"{Code.CONFIG_UNKNOWN.name}: {_renamed(change.name)}"
            try:
                NodeConfig.from_mapping({} if _is_ros_own(change.name) else {change.name: change.value})
            except RejectedInput as fault:
                return str(fault)
        return ""

    def note_set(self, given: Sequence["rclpy.parameter.Parameter"]) -> None:
        """Take note that these parameters have been set: what was wrong with them at start is mended."""
        for change in given:
            self._faults.pop(change.name, None)
            if change.name in self._known and not self._known[change.name].live:
                self._node.get_logger().info(f"{change.name} is set; it takes effect at the next configure")


def shared_names(arguments: Sequence[str], node: str) -> frozenset[str]:
    """Return the names that parameter files give to all nodes, and nothing gives to ``node`` alone."""
    given = _following(arguments, "-p", "--param")
    shared, own = set[str](), {word.partition(":=")[0].rpartition(":")[2] for word in given}
    for file in _following(arguments, "--params-file"):
        for pattern, section in _sections(file):
            names = _flat(section)
            if pattern.rpartition("/")[2] == node:
                own |= names
            else:
                shared |= names
    return frozenset(shared - own)


def _following(arguments: Sequence[str], *options: str) -> list[str]:
    return [value for option, value in pairwise(arguments) if option in options]


def _sections(file: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the names of nodes and their parameters in a file, which ROS has read before."""
    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return
    stack = [("", content)]
    while stack:
        name, value = stack.pop()
        for key, inner in value.items() if isinstance(value, dict) else ():
            if key == "ros__parameters" and isinstance(inner, dict):
                yield name, inner
            elif key != "ros__parameters":
                stack.append((f"{name}/{str(key).strip('/')}", inner))


def _flat(section: Mapping[str, Any], prefix: str = "") -> set[str]:
    """Return the full names of the parameters of a section."""
    names = set()
    for key, value in section.items():
        names |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}"}
    return names


def _is_misspelled(name: str, known: Mapping[str, Parameter]) -> bool:
    return bool(difflib.get_close_matches(name[:100], known, n=1, cutoff=MISSPELLED))


def _renamed(old: str) -> str:
    return f"the parameter {old!r} is called {RENAMED[old]!r} now"


def _is_ros_own(name: str) -> bool:
    return name in _ROS_OWN or name.startswith(_ROS_OWN_PREFIX)


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(name=parameter.name, description=parameter.description)
    descriptor.additional_constraints = " or ".join(parameter.choices)
    if parameter.low is None or parameter.high is None:
        return descriptor
    if parameter.kind is int:
        whole = IntegerRange(from_value=int(parameter.low), to_value=int(parameter.high), step=1)
        descriptor.integer_range = [whole]
    else:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(parameter.low), to_value=float(parameter.high))
        ]
    return descriptor


def _unknown(name: str, known: dict[str, Parameter]) -> RejectedInput:
    return RejectedInput(
        Code.CONFIG_UNKNOWN,
        f"got the parameter {name[:100]!r}{nearest(name, known)}; correct it and start the node again",
    )
