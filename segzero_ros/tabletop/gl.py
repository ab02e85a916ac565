"""An off-screen OpenGL context for MuJoCo.

EGL (GPU or Mesa's software driver), else OSMesa, else an error that says what to install.
"""

from __future__ import annotations

import ctypes.util
import importlib
import os
from typing import Protocol

APT_PACKAGES = "libegl1 libgl1-mesa-dri libopengl0"


class Context(Protocol):
    """What `mujoco.egl.GLContext` and `mujoco.osmesa.GLContext` have in common."""

    def make_current(self) -> None:
        """Draw into this context from now on."""

    def free(self) -> None:
        """Give the context back."""


class NoOpenGLError(RuntimeError):
    """Neither EGL nor OSMesa works here; the message says why and what to install."""


def _platforms() -> tuple[str, ...]:
    """`MUJOCO_GL` when it names one of the two, else EGL before OSMesa."""
    asked = os.environ.get("MUJOCO_GL", "").lower()
    return (asked,) if asked in ("egl", "osmesa") else ("egl", "osmesa")


def _open(platform: str, width: int, height: int) -> Context:
    library = {"egl": "EGL", "osmesa": "OSMesa"}[platform]
    if ctypes.util.find_library(library) is None:
        raise RuntimeError(f"lib{library} is not installed")
    os.environ["PYOPENGL_PLATFORM"] = platform
    context: Context = importlib.import_module(f"mujoco.{platform}").GLContext(width, height)
    context.make_current()
    return context


def open_context(width: int, height: int) -> Context:
    """A current off-screen context. `NoOpenGLError` when there is none to be had."""
    reasons = []
    for platform in _platforms():
        try:
            return _open(platform, width, height)
        except Exception as error:  # noqa: BLE001 - PyOpenGL raises whatever the driver's absence breaks first
            reasons.append(f"{platform}: {error}")
    raise NoOpenGLError(
        f"cannot render off-screen ({'; '.join(reasons)}). Install Mesa's software driver with\n"
        f"  sudo apt-get install -y {APT_PACKAGES}\n"
        "or, where it is still packaged: sudo apt-get install -y libosmesa6, and set MUJOCO_GL=osmesa"
    )
