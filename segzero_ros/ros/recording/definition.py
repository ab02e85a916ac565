"""The text of a message type as MCAP's registry wants it (ros2msg), from the Python class itself.

The class knows its fields wherever ROS is installed, as Debian packages or as wheels; comments and constants, which it
does not know, are not needed to decode a message.
"""

import importlib
import re
from typing import Any

_IDL_NAMES = {"boolean": "bool", "octet": "byte", "float": "float32", "double": "float64"}
_SEQUENCE = re.compile(r"sequence<(.+?)(?:, (\d+))?>")
_ARRAY = re.compile(r"(.+)\[(\d+)\]")
_STRING = re.compile(r"(w?string)<(\d+)>")
_LINE = "=" * 80


def type_name(kind: type) -> str:
    """Return the name of a message class as `ros2 interface list` has it: std_msgs/msg/Header."""
    return f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"


def definition(kind: Any) -> str:
    """Return the definition of a message class, and behind it those of all types it is made of."""
    inner = [f"MSG: {name}\n{_fields(_class(name))}" for name in _types_of(kind, {})]
    return f"\n{_LINE}\n".join([_fields(kind), *inner])


def _fields(kind: Any) -> str:
    return "".join(f"{_ros_type(idl)} {name}\n" for name, idl in kind.get_fields_and_field_types().items())


def _ros_type(idl: str) -> str:
    """Return a type as .msg files write it: sequence<double, 3> is float64[<=3]."""
    if found := _SEQUENCE.fullmatch(idl):
        return f"{_ros_type(found[1])}[{f'<={found[2]}' if found[2] else ''}]"
    if found := _ARRAY.fullmatch(idl):
        return f"{_ros_type(found[1])}[{found[2]}]"
    if found := _STRING.fullmatch(idl):
        return f"{found[1]}<={found[2]}"
    return _IDL_NAMES.get(idl, idl)


def _types_of(kind: Any, known: dict[str, None]) -> dict[str, None]:
    """Return the names of the message types inside a message, each once."""
    for idl in kind.get_fields_and_field_types().values():
        name = re.split(r"[\[<]", _ros_type(idl))[0]
        if "/" in name and name not in known:
            known[name] = None
            _types_of(_class(name), known)
    return known


def _class(name: str) -> Any:
    package, _, kind = name.partition("/")
    return getattr(importlib.import_module(f"{package}.msg"), kind)
