"""Wrappers of callbacks: an exception that leaves one ends an rclpy node, or vanishes without a log line."""

import functools
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rclpy.lifecycle import TransitionCallbackReturn

from segzero_ros.pipeline import error_text

if TYPE_CHECKING:
    from rclpy.node import Node

Callback = Callable[..., Any]


def report(node: "Node", what: str, error: BaseException) -> str:
    """Log a defect with its traceback and return a line about it."""
    line = f"{what}: {error_text(error)}; please report it"
    node.get_logger().error(f"INTERNAL: {line}\n{''.join(traceback.format_exception(error)).rstrip()}")
    return line


def callback(node: "Node", call: Callback) -> Callback:
    """Return ``call`` with its exceptions logged."""

    @functools.wraps(call)
    def guarded(*args: Any) -> None:
        try:
            call(*args)
        except Exception as error:  # noqa: BLE001
            report(node, call.__name__, error)

    return guarded


def service(node: "Node", call: Callback) -> Callback:
    """Return ``call(request) -> (success, message)`` as rclpy wants a service callback, its exceptions a refusal."""

    @functools.wraps(call)
    def guarded(request: Any, response: Any) -> Any:
        try:
            response.success, response.message = call(request)
        except Exception as error:  # noqa: BLE001
            response.success, response.message = False, f"INTERNAL: {report(node, call.__name__, error)}"
        return response

    return guarded


def transition(call: Callback) -> Callback:
    """Return the lifecycle callback ``call(self) -> bool`` as rclpy wants it; an exception is logged and a failure.

    A failure leads back to the state before, from where the transition can be tried again.
    """

    @functools.wraps(call)
    def guarded(self: "Node", _state: Any) -> TransitionCallbackReturn:
        try:
            done = call(self)
        except Exception as error:  # noqa: BLE001
            report(self, call.__name__, error)
            done = False
        return TransitionCallbackReturn.SUCCESS if done else TransitionCallbackReturn.FAILURE

    return guarded


def change_state(node: "Node", call: Callback) -> Callback:
    """Return rclpy's own `change_state` callback with invalid transitions refused instead of fatal."""

    def guarded(request: Any, response: Any) -> Any:
        try:
            return call(request, response)
        except Exception as error:  # noqa: BLE001 - RCLError, of a private module
            node.get_logger().warning(f"the transition {request.transition.id} is refused: {error}")
            response.success = False
            return response

    return guarded
