"""What a GPU machine without a network lacks, as wheels in an ignored folder: collected here, installed there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WHEELS = ROOT / "carried" / "wheels"
MOST_BYTES = 64 * 2**20  # of one transfer, the source tree included
SOURCE_BYTES = 24 * 2**20  # of the source tree, about

#: By what they are imported as: what rendering and training need beside torch, NumPy and OpenCV.
PACKAGES = ("mujoco", "mujoco-core", "pyopengl", "glfw", "transformers")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


class MissingError(Exception):
    """Something that only the user can provide; the text says what, and how to get it."""


def pins(folder: Path = ROOT / "requirements") -> dict[str, str]:
    """Versions by normalised name, as the files of requirements/ pin them."""
    found = {}
    for file in sorted(folder.glob("*.txt")):
        for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", file.read_text(encoding="utf-8"), re.M):
            found[re.sub(r"[-_.]+", "-", name).lower()] = version
    return found


def download_command(python: str, folder: Path) -> list[str]:
    """The command that collects the wheels for the machine's Python, such as 3.12."""
    pinned = pins()
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    words = ["download", "-q", "--no-deps", "--only-binary=:all:", "--python-version", python, "--implementation", "cp"]
    wanted = [f"{name}=={pinned[name]}" for name in PACKAGES]
    return [sys.executable, "-m", "pip", *words, *platforms, "-d", str(folder), *wanted]


def collect(python: str, folder: Path = WHEELS) -> list[Path]:
    """Download the wheels into `folder`, which is emptied before, and return them. `MissingError`: it did not work."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    if subprocess.run(download_command(python, folder), check=False).returncode:
        raise MissingError("pip could not download the wheels (see above); it needs its registry")
    found = sorted(folder.glob("*.whl"))
    size = sum(path.stat().st_size for path in found)
    if size > MOST_BYTES - SOURCE_BYTES:
        raise MissingError(f"the wheels are {size / 2**20:.0f} MiB; with the source they fit no transfer of 64 MiB")
    return found


def install(site: Path, folder: Path = WHEELS) -> int:
    """Put the carried wheels into the folder `site`, for PYTHONPATH, without a network; returns how many.

    A folder and no environment: the Python of such a machine may be an environment already, and one made from that
    would not see its torch.
    """
    found = sorted(str(path) for path in folder.glob("*.whl"))
    if found:
        offline = ["--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--upgrade"]
        command = [sys.executable, "-m", "pip", "install", "-q", *offline, "--target", str(site), *found]
        if subprocess.run(command, check=False).returncode:
            raise MissingError(f"pip could not install {folder}/*.whl (see above); collect them for this Python anew")
    return len(found)
