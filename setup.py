"""What pyproject.toml cannot say of the wheel; colcon takes package.xml and CMakeLists.txt instead of both.

The demo bundle and the picture to try it on lie outside the package in the source tree; the wheel has them inside, so
that `segzero ground table "..."` answers right after `pip install`. An editable install finds them where they are.

With SEGZERO_WITH_MESSAGES in the environment the wheel also has the messages, built for ROS 2 Jazzy's wheels
(requirements/ros.txt) and for one Python on one kind of machine; without, it is pure. The value is the virtual
environment of `make setup`, which has what that build needs, or 1 for the one beside this file.
"""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
CARRIED = {"bundles/tabletop": "segzero_ros/bundles/tabletop", "docs/images/table.jpg": "segzero_ros/cli/table.jpg"}
ENVIRONMENT = os.environ.get("SEGZERO_WITH_MESSAGES", "")
BUILT_FROM = ("CMakeLists.txt", "package.xml", "action", "msg", "docs")
SHARED = ("share/segzero_ros", "share/ament_index/resource_index")  # of the messages, below the environment's root
CALL = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"  # the environment's Python finds its ROS 2


class BuildWithBundle(build_py):
    """Copies what CARRIED names into the built package, and the messages where they are wanted."""

    def run(self) -> None:
        """Build the package, then copy."""
        super().run()
        if self.editable_mode:
            return
        for source, destination in CARRIED.items():
            copy(ROOT / source, Path(self.build_lib) / destination)
        if ENVIRONMENT:
            modules = next(messages().glob("lib/python3.*/site-packages/segzero_ros"))
            for found in (modules / "msg", modules / "action", *modules.glob("*.so")):
                copy(found, Path(self.build_lib) / "segzero_ros" / found.name)
            self.distribution.data_files = files_beside(messages())


class Platform(Distribution):
    """A distribution of one Python on one kind of machine."""

    def has_ext_modules(self) -> bool:
        """What makes the wheel's name say so."""
        return True


def files_beside(built: Path) -> list[tuple[str, list[str]]]:
    """Return folders below the environment's root and what goes there.

    Libraries lie beside those of ROS 2's wheels, where the loader looks; the rest is what ament asks for.
    """
    files = [*built.glob("lib/*.so"), *(file for name in SHARED for file in (built / name).rglob("*"))]
    wanted = [file for file in files if file.is_file() and not is_for_builds(file.relative_to(built))]
    return [(str(file.parent.relative_to(built)), [str(file)]) for file in sorted(wanted)]


def is_for_builds(file: Path) -> bool:
    """Whether a file only serves to build on these messages, or names the machine that built them."""
    return bool({"cmake", "parent_prefix_path"} & {*file.parts}) or file.suffix in {
        ".sh",
        ".bash",
        ".zsh",
        ".dsv",
        ".ps1",
    }


@functools.cache
def messages() -> Path:
    """Return the install tree of this package's interfaces, which CMake builds."""
    venv = ROOT / ".venv" if ENVIRONMENT == "1" else Path(ENVIRONMENT).expanduser().absolute()
    place = ROOT / "build" / "messages"
    python = venv / "bin" / "python"
    version = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
    if not (python.exists() and (venv / version).is_dir() and (venv / "bin" / "cmake").exists()):
        raise SystemExit(
            f"SEGZERO_WITH_MESSAGES: got {venv}, want the environment of `make setup` with {version} and CMake; "
            "run make setup with this Python, then name .venv by its path"
        )
    shutil.rmtree(place, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        source, build = Path(folder) / "source", Path(folder) / "build"
        (source / "segzero_ros").mkdir(parents=True)  # the Python files are setuptools' to copy
        for name in BUILT_FROM:
            (source / name).symlink_to(ROOT / name)
        options = ["-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_SKIP_RPATH=ON", "-DBUILD_TESTING=OFF"]
        paths = [f"-DCMAKE_INSTALL_PREFIX={place}", f"-DCMAKE_PREFIX_PATH={venv}", f"-DPython3_EXECUTABLE={python}"]
        call = [str(python), "-c", CALL, "cmake"]
        run([*call, "-S", str(source), "-B", str(build), "-GNinja", *options, *paths])
        run([*call, "--build", str(build)])
        run([*call, "--install", str(build), "--strip"])
    return place


def run(command: list[str]) -> None:
    """Run one step of the build; its output only where it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"the messages could not be built:\n{(done.stdout + done.stderr)[-4000:]}")


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder, without what Python has compiled of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.c"))
    else:
        shutil.copyfile(source, target)


setup(cmdclass={"build_py": BuildWithBundle}, distclass=Platform if ENVIRONMENT else Distribution)
