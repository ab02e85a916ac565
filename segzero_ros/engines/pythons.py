"""Finding a Python that an engine environment can be made with.

Names on PATH lie: a shim answers for a Python that is not there, a distribution's Python comes without its venv module.
So each candidate is started and asked.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from segzero_ros.bundle import expand_home
from segzero_ros.errors import Code, RejectedInput

MACHINES = ("x86_64", "aarch64")  # for which the pinned wheels are
CANDIDATES = ("python3.13", "python3.12", "python3.11", "python3.14", "python3")
SUPPORTED = {  # from, to: the wheels of the pinned packages
    "cpu": ((3, 11), (3, 14)),
    "cuda": ((3, 11), (3, 14)),
    "tensorrt": ((3, 11), (3, 14)),
    "tensorrt_llm": ((3, 12), (3, 12)),
    "speech": ((3, 11), (3, 14)),
}
UV_PYTHON = (3, 12)  # what uv is asked for where no Python fits: all of SUPPORTED take it
_ANSWER_S = 30.0  # a cold start from a slow card takes seconds
_QUESTION = """
import importlib.util, json, platform, sys, sysconfig
print(json.dumps({
    "python": getattr(sys, "_base_executable", "") or sys.executable,
    "version": sys.version_info[:3],
    "machine": platform.machine(),
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "cpython": sys.implementation.name == "cpython",
    "venv": all(map(importlib.util.find_spec, ("venv", "ensurepip"))),
}))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that answered. ``path``: absolute, outside any virtual environment. ``venv``: it can make one itself."""

    path: Path
    version: tuple[int, int, int]
    machine: str
    venv: bool
    plain: bool

    def __str__(self) -> str:
        """Path and version."""
        return f"{self.path} (Python {'.'.join(map(str, self.version))})"


def find_python(name: str, asked: str = "") -> Interpreter:
    """Return the Python to make the environment ``name`` with, or raise ``RejectedInput`` CONFIG_VALUE.

    ``asked``: a command or path that the user names; only that one is looked at then. Among the others one that can
    make virtual environments comes before one that needs uv for it.
    """
    if asked:
        return _asked_python(name, asked)
    found = [interpreter for interpreter in map(ask, (*CANDIDATES, sys.executable)) if interpreter]
    fitting = [interpreter for interpreter in found if not why_not(name, interpreter)]
    for interpreter in sorted(fitting, key=lambda interpreter: not interpreter.venv):
        return interpreter
    seen = ", ".join(sorted({str(interpreter) for interpreter in found})) or "none"
    low, high = SUPPORTED[name]
    install = (
        f"install one (Ubuntu, Debian: apt install python3-venv python{_dotted(max(low, min(high, (3, 12))))}-venv)"
    )
    raise RejectedInput(Code.CONFIG_VALUE, f"found {seen}, want {wanted(name)}; {install}, or give it with --python")


def ask(command: str) -> Interpreter | None:
    """Start the Python ``command`` and return what it says of itself; None where there is none that works."""
    path = shutil.which(expand_home(command))
    if path is None:
        return None
    try:
        done = subprocess.run([path, "-I", "-c", _QUESTION], capture_output=True, timeout=_ANSWER_S, check=True)
        said = json.loads(done.stdout)
        plain = said["cpython"] and not said["free_threaded"]
        major, minor, micro = said["version"]
        return Interpreter(Path(said["python"]), (major, minor, micro), said["machine"], said["venv"], plain)
    except (OSError, ValueError, KeyError, subprocess.SubprocessError):
        return None


def why_not(name: str, interpreter: Interpreter) -> str:
    """Return why the environment ``name`` cannot be made with this Python, "" when it can."""
    low, high = SUPPORTED[name]
    if not low <= interpreter.version[:2] <= high or not interpreter.plain:
        return f"got {interpreter}, want {wanted(name)}"
    if interpreter.machine not in MACHINES:
        return (
            f"got {interpreter} for {interpreter.machine}, want {' or '.join(MACHINES)}: there are wheels for no other"
        )
    return ""


def wanted(name: str) -> str:
    """Return in words which Pythons the environment ``name`` can be made with."""
    low, high = SUPPORTED[name]
    return f"CPython {_dotted(low)}" + (f" to {_dotted(high)}" if high != low else "")


def _asked_python(name: str, asked: str) -> Interpreter:
    interpreter = ask(asked)
    if interpreter is None:
        detail = (
            f"got --python {asked[:200]!r}, which does not start or does not answer as a Python; want {wanted(name)}"
        )
        raise RejectedInput(Code.CONFIG_VALUE, detail)
    if reason := why_not(name, interpreter):
        raise RejectedInput(Code.CONFIG_VALUE, reason)
    return interpreter


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
