"""The environment in which the ROS 2 wheels of a virtual environment, and the interfaces built on them, are found.

`tools/set_up.py` copies this file into `.venv` and has every start of `.venv/bin/python` call :func:`enter`. So the
interpreter, `pytest`, `colcon` and `segzero` of `.venv`, and all processes they start, need no script to be sourced.
It imports as little as possible, since it runs at each start.
"""

import glob
import os
import sys

#: A ROS 2 that the machine itself has. Its libraries are other builds of the same ones: the two must never be mixed.
MACHINE_ROS = "/opt/ros/"

#: Variables that the dynamic loader and the interpreter read once, at the start of the process.
READ_AT_START = ("LD_LIBRARY_PATH", "PYTHONPATH")

#: Paths of prefixes, by which a ROS 2 environment says where its packages are.
PREFIX_PATHS = ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "COLCON_PREFIX_PATH")

#: Other variables that hold paths below those prefixes.
FILE_PATHS = ("LD_LIBRARY_PATH", "PYTHONPATH", "PATH", "PKG_CONFIG_PATH")


def interfaces_prefix(venv: str) -> str:
    """Return where the interfaces of this repository are installed: a merged colcon install tree inside `venv`."""
    return os.path.join(venv, "ros", "install")


def python_path(venv: str, python: str) -> str:
    """Return where the modules of those interfaces are; `python` is the interpreter's name, like python3.11."""
    return os.path.join(interfaces_prefix(venv), "lib", python, "site-packages")


def ros_environment(venv: str, environ: "dict[str, str]") -> "dict[str, str]":
    """Return a copy of `environ` in which the ROS 2 of `venv` comes first and a ROS 2 of the machine not at all.

    An overlay that was built on `venv` stays in force. Applying the function twice changes nothing more.
    """
    wanted = without_machine_ros(environ, venv)
    interfaces = interfaces_prefix(venv)
    prefixes = [interfaces, venv] if os.path.isdir(interfaces) else [venv]
    put_first(wanted, "AMENT_PREFIX_PATH", prefixes)
    # The interfaces come after the wheels, whose libraries they are linked to.
    libraries = [os.path.join(venv, "lib"), *libraries_of_wheels(venv)]
    put_first(wanted, "LD_LIBRARY_PATH", libraries + [os.path.join(prefix, "lib") for prefix in prefixes[:-1]])
    put_first(wanted, "PATH", [os.path.join(venv, "bin")])
    wanted["ROS_DISTRO"] = "jazzy"
    wanted["ROS_VERSION"] = "2"
    wanted["ROS_PYTHON_VERSION"] = "3"
    rmw = wanted.get("RMW_IMPLEMENTATION")
    if rmw and not os.path.exists(os.path.join(venv, "lib", "lib" + rmw + ".so")):
        del wanted["RMW_IMPLEMENTATION"]
    # Without this the wheels would start the interpreter once more, with the library path in random order.
    wanted["_ROS_WHEELS_BOOTSTRAP_COMPLETE"] = "1"
    return wanted


def libraries_of_wheels(venv: str) -> "list[str]":
    """Return the directories of the system libraries that the wheels of ROS 2 brought along."""
    return sorted(glob.glob(os.path.join(venv, "lib", "python3.*", "site-packages", "ros_*.libs")))


def without_machine_ros(environ: "dict[str, str]", venv: str) -> "dict[str, str]":
    """Return a copy of `environ` without the machine's own ROS 2, and then without the overlays built on that."""
    prefixes = [p for name in PREFIX_PATHS for p in split(environ.get(name, ""))]
    cleaned = dict(environ)
    if not any(is_machine_ros(p) for p in prefixes + split(environ.get("LD_LIBRARY_PATH", ""))):
        return cleaned
    foreign = [p for p in prefixes if not is_below(p, [venv])]
    for name in PREFIX_PATHS + FILE_PATHS:
        kept = [p for p in split(environ.get(name, "")) if not is_machine_ros(p) and not is_below(p, foreign)]
        set_path(cleaned, name, kept)
    return cleaned


def enter(venv: str) -> None:
    """Put the running interpreter into :func:`ros_environment`, starting it anew where that cannot be done in place."""
    wanted = ros_environment(venv, dict(os.environ))
    if any(wanted.get(name) != os.environ.get(name) for name in READ_AT_START):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    os.environ.update(wanted)


def put_first(environ: "dict[str, str]", name: str, entries: "list[str]") -> None:
    """Make `entries` the first ones of the path variable `name`."""
    rest = [p for p in split(environ.get(name, "")) if p not in entries]
    set_path(environ, name, entries + rest)


def set_path(environ: "dict[str, str]", name: str, entries: "list[str]") -> None:
    """Set the path variable `name`, or remove it if nothing is left of it."""
    if entries:
        environ[name] = os.pathsep.join(entries)
    else:
        environ.pop(name, None)


def split(path: str) -> "list[str]":
    """Return the entries of a path variable's value."""
    return [p for p in path.split(os.pathsep) if p]


def is_machine_ros(path: str) -> bool:
    """Tell whether `path` lies in a ROS 2 that the machine itself has."""
    return (path + "/").startswith(MACHINE_ROS)


def is_below(path: str, prefixes: "list[str]") -> bool:
    """Tell whether `path` is one of `prefixes` or lies below one."""
    return any((path + "/").startswith(prefix.rstrip("/") + "/") for prefix in prefixes)
