"""The node's ROS parameters: declared from ``segzero_ros.config``, refused with a reason where they do not fit.

A wrong override at start does not end the node: it stays unconfigured, says why, and configures once it is corrected.
An unknown name cannot be corrected from outside, so that one needs a restart.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from segzero_ros.config import RENAMED, NodeConfig, Parameter, parameters
from segzero_ros.errors import Code, RejectedInput, nearest

if TYPE_CHECKING:
    import rclpy.parameter
    from rclpy.node import Node

_ROS_OWN = ("use_sim_time", "start_type_description_service")  # rclpy declares these by itself
_ROS_OWN_PREFIX = "qos_overrides."


class Parameters:
    """Declares every parameter of ``NodeConfig`` on a node and watches over what they are set to."""

    def __init__(self, node: "Node") -> None:
        """Declare them; what the overrides have wrong is kept for ``config`` to raise."""
        self._node = node
        self._known = {parameter.name: parameter for parameter in parameters()}
        self._faults: dict[str, RejectedInput] = {}
        overrides = {name: given.value for name, given in node._parameter_overrides.items()}  # noqa: SLF001 - no public way
        for old in RENAMED.keys() & overrides.keys():
            node.get_logger().warning(f"{_renamed(old)}; the old name goes in 0.3")
            overrides.setdefault(RENAMED[old], overrides.pop(old))
        for name in sorted(overrides):
            if name not in self._known and not _is_ros_own(name):
                self._faults[name] = _unknown(name, self._known)
        for parameter in self._known.values():
            self._declare(parameter, overrides)

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

    def refusal(self, given: Sequence["rclpy.parameter.Parameter"]) -> str:
        """Say why these parameters must not be set to these values; empty when they may, and then they will be.

        rclpy's own checks come later and say less: neither which parameter nor what it could be.
        """
        for change in given:
            if change.name in RENAMED:
                return f"{Code.CONFIG_UNKNOWN.name}: {_renamed(change.name)}"
        changes = {change.name: change.value for change in given if not _is_ros_own(change.name)}
        try:
            NodeConfig.from_mapping(changes)
        except RejectedInput as fault:
            return str(fault)
        for name in changes:
            self._faults.pop(name, None)
            if not self._known[name].live:
                self._node.get_logger().info(f"{name} is set; it takes effect at the next configure")
        return ""


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
