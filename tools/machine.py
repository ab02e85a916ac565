"""What a set-up needs from the machine itself: a Python that wheels exist for, a compiler, libraries to render with."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

#: The Pythons that all pinned wheels exist for.
OLDEST_PYTHON = (3, 11)
NEWEST_PYTHON = (3, 14)

#: Run by the interpreter in question: what it lacks cannot be seen from outside.
DESCRIBE_PYTHON = """
import importlib.util, json, os, sys, sysconfig
print(json.dumps({
    "version": list(sys.version_info[:3]),
    "of_system": sys.base_prefix == "/usr",
    "venv": importlib.util.find_spec("ensurepip") is not None and importlib.util.find_spec("venv") is not None,
    "headers": os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")),
}))
"""


class CannotGoOn(Exception):
    """Something is missing that only the user can provide; the text says what, and how to get it."""


def require_wheels_of_ros() -> None:
    """Raise CannotGoOn on a machine that no wheels of ROS 2 exist for."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise CannotGoOn(
            f"ROS 2 comes as wheels for x86-64 Linux only, and this is {platform.machine()} {platform.system()}. "
            "Use the machine's own ROS 2: colcon build && ros2 launch segzero_ros demo.launch.py"
        )


def usable_python() -> str:
    """Return the path of the running interpreter, or of another one on PATH where wheels exist only for that."""
    if is_supported(sys.version_info[:2]):
        return sys.executable
    for minor in range(NEWEST_PYTHON[1], OLDEST_PYTHON[1] - 1, -1):
        path = shutil.which(f"python3.{minor}")
        if path and python_facts(path):
            return path
    raise CannotGoOn(python_message(platform.python_version()))


def is_supported(version: tuple[int, ...]) -> bool:
    """Tell whether the pinned wheels exist for Python `version` (major, minor)."""
    return OLDEST_PYTHON <= version <= NEWEST_PYTHON


def python_message(found: str) -> str:
    """Return what to tell the owner of a machine whose only Python is `found`."""
    oldest, newest = (".".join(map(str, version)) for version in (OLDEST_PYTHON, NEWEST_PYTHON))
    return (
        f"Python {oldest} to {newest} is needed, and python3 is {found}. Debian 12 and 13 and Ubuntu 24.04 have one. "
        f"Elsewhere (Ubuntu 22.04 has 3.10) install one beside it and name it: make PYTHON=/path/to/python{oldest}"
    )


def python_facts(python: str) -> dict[str, object]:
    """Return what DESCRIBE_PYTHON prints for the interpreter `python`; an empty dict if that cannot be run."""
    try:
        run = subprocess.run([python, "-c", DESCRIBE_PYTHON], capture_output=True, text=True, check=False)
    except OSError:
        return {}
    return json.loads(run.stdout) if run.returncode == 0 else {}


def missing_packages(python: str, *, build: bool) -> list[str]:
    """Return the Debian packages that are missing for a virtual environment of `python`.

    With `build` also those for building the interfaces and for rendering the demo world.
    """
    facts = python_facts(python)
    name = "python{}.{}".format(*facts["version"][:2]) if facts.get("of_system") else "python3"
    needs = {f"{name}-venv": facts.get("venv")}
    if build:
        needs[f"{name}-dev"] = facts.get("headers")
        needs["g++"] = shutil.which("c++") and shutil.which("cc")
        needs["make"] = shutil.which("make")
        needs["libegl1"] = can_load("libEGL.so.1")
        # PyOpenGL, which MuJoCo renders through, wants one of these two even where EGL does all the work.
        needs["libopengl0"] = can_load("libOpenGL.so.0") or can_load("libGL.so.1")
        needs["libgl1-mesa-dri"] = can_load("libEGL_nvidia.so.0") or has_mesa_driver()
    return [package for package, there in needs.items() if not there]


def require_packages(python: str, *, build: bool) -> None:
    """Install the missing system packages when root, else raise CannotGoOn with the one line that does it."""
    missing = missing_packages(python, build=build)
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        print("set-up: installing system packages:", *missing, flush=True)
        install_packages(missing)
        missing = missing_packages(python, build=build)
    if missing:
        raise CannotGoOn(packages_message(missing, root=os.geteuid() == 0))


def install_packages(packages: list[str]) -> None:
    """Install Debian packages; whether it worked is for the caller to look at."""
    environ = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    subprocess.run(["apt-get", "-qq", "update"], env=environ, check=False)
    command = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages]
    subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=False)


def packages_message(missing: list[str], *, root: bool) -> str:
    """Return what to tell the owner of a machine that lacks the Debian packages `missing`."""
    sudo = "" if root else "sudo "
    line = f"{sudo}apt-get update && {sudo}apt-get install -y {' '.join(missing)}"
    return f"System packages are missing. Copy, paste, and run make again:\n\n    {line}\n"


def can_load(library: str) -> bool:
    """Tell whether the dynamic loader finds `library`."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def has_mesa_driver() -> bool:
    """Tell whether one of Mesa's drivers is installed, where Debian, Fedora or Arch put them."""
    return any(True for lib in ("/usr/lib", "/usr/lib64") for _ in Path(lib).glob("**/dri/*_dri.so"))
