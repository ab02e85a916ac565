"""Making, repairing and removing an engine environment.

An environment is built in a folder of its own beside the others and shown under its name, by a symbolic link, only when
it is complete and has answered a command about a picture: whatever stops the work, the one from before stays in use.
What is left of a half made one is removed by the next run. Nothing is downloaded but what the requirements name, by
whatever index the user's pip is set to.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from segzero_ros import __version__
from segzero_ros.bundle import user_path
from segzero_ros.engines.environment import (
    COMPLETE,
    INSTALLABLE,
    PACKAGE,
    SPEECH,
    Environment,
    folders,
    read_environment,
    read_note,
    requirements_file,
)
from segzero_ros.engines.failures import explain
from segzero_ros.engines.pythons import UV_PYTHON, Interpreter, ask, find_python
from segzero_ros.errors import Code, RejectedInput, nearest

Say = Callable[[str], None]
Command = Sequence[str | Path]
QUESTION = "the mug left of the yellow ball"  # about the shipped picture
_BACKENDS = {"cpu": "onnx", "cuda": "onnx"}  # the others need engines or a checkpoint first: they run what they have
_SHOWN = ("Downloading ", "Installing collected", "Resolved ", "Prepared ", "Installed ")
_MODULES = {"cuda": "onnxruntime", "tensorrt": "cuda.bindings.runtime", "tensorrt_llm": "tensorrt_llm"}
# What would lead pip astray: ROS 2's packages, and places other than the environment. Its indexes are the user's.
_FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "VIRTUAL_ENV", "LD_PRELOAD")


def install(name: str, python: str = "", directory: str = "", say: Say = print) -> Environment:
    """Make the engine environment ``name``, or make it whole again, and return it.

    ``python``: the interpreter to take, "" = found. ``directory``: where it is made, "" = this user's environments.
    Raises ``RejectedInput``: CONFIG_VALUE (name, Python, place), BUNDLE_BACKEND (a step failed).
    """
    _check_name(name)
    place = user_path(directory).absolute() if directory else folders()[0]
    with _only_one(place, name):
        _remove_leftovers(place, name)
        if not (_is_current(place / name, python) and _is_whole(place / name, name, say)):
            _build(place, name, python, say)
    return read_environment(place / name)


def remove(name: str, directory: str = "") -> list[Path]:
    """Remove the environment ``name`` and return the folders that are gone; CONFIG_VALUE where there is none."""
    _check_name(name)
    places = [user_path(directory).absolute()] if directory else folders()
    place = next((place for place in places if os.path.lexists(place / name)), None)
    if place is None:
        where = ", ".join(map(str, places))
        raise RejectedInput(Code.CONFIG_VALUE, f"got {name}, which is not in {where}; `segzero engines list` shows all")
    with _only_one(place, name):
        _refuse_foreign(place / name)
        gone = [place / name, *_leftovers(place, name)]
        for folder in gone:
            _delete(folder)
    return gone


def _check_name(name: str) -> None:
    if name not in INSTALLABLE:
        raise RejectedInput(Code.CONFIG_VALUE, f"got the engine environment {name[:100]!r}{nearest(name, INSTALLABLE)}")


@contextlib.contextmanager
def _only_one(place: Path, name: str) -> Iterator[None]:
    """Hold the environment for one installation at a time; what the place refuses is CONFIG_VALUE."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock = (place / f".{name}.lock").open("w")
    except OSError as error:
        detail = f"could not write {place} ({error.strerror}); give another place with --dir"
        raise RejectedInput(Code.CONFIG_VALUE, detail) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            detail = f"another installation of {name} in {place} is at work; wait for it"
            raise RejectedInput(Code.CONFIG_VALUE, detail) from None
        yield


# ---- one that is there ----


def _is_current(folder: Path, python: str) -> bool:
    """Whether the environment is complete, of the requirements of today and, where one is asked for, of that Python."""
    note = read_note(folder)
    interpreter = ask(str(folder / "bin" / "python"))
    wished = ask(python) if python else interpreter
    if interpreter is None or wished is None or wished.path.resolve() != interpreter.path.resolve():
        return False
    return note.get("requirements") == _digest(folder.name)


def _digest(name: str) -> str:
    return hashlib.sha256(requirements_file(name).read_bytes()).hexdigest()


def _is_whole(folder: Path, name: str, say: Say) -> bool:
    """Let the environment import this copy of the package, and say whether it works."""
    say(f"{folder} has the pinned packages already")
    try:
        _link(folder)
        _try_out(folder, name, say)
        _write_note(folder, name)
    except OSError as error:
        raise _failed(name, f"writing {folder}", f"{error.strerror or error}; install it as its owner") from None
    except RejectedInput as error:
        say(f"it does not work and is made again: {error.detail}")
        return False
    return True


# ---- building ----


def _build(place: Path, name: str, python: str, say: Say) -> None:
    """Build the environment beside the others, try it out, and put it under its name."""
    _refuse_foreign(place / name)
    folder = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=place))
    try:
        interpreter = _make_venv(folder, name, python, say)
        say(f"installing {', '.join(_names(name))}")
        _install_packages(folder, name, interpreter, say)
        _link(folder)
        _try_out(folder, name, say)
        _write_note(folder, name)
        _show(folder, place / name)
    except BaseException as error:
        _delete(folder)
        if isinstance(error, OSError):
            why = f"{error.strerror or error}; give another place with --dir"
            raise _failed(name, f"writing {folder}", why) from None
        raise


def _make_venv(folder: Path, name: str, asked: str, say: Say) -> Interpreter:
    """Make the virtual environment and return its Python; where no Python fits, uv brings one, if there is uv."""
    uv = shutil.which("uv")
    try:
        interpreter = find_python(name, asked)
    except RejectedInput:
        if asked or not uv:
            raise
        wanted = f"{UV_PYTHON[0]}.{UV_PYTHON[1]}"
        say(f"making {name} with the Python {wanted} of uv")
        _run([uv, "venv", "--quiet", "--python", wanted, folder], name, f"making Python {wanted} with uv", None)
        return find_python(name, str(folder / "bin" / "python"))
    say(f"making {name} with {interpreter}")
    if uv and not interpreter.venv:
        command: Command = [uv, "venv", "--quiet", "--python", interpreter.path, folder]
    else:
        command = [interpreter.path, "-m", "venv", *_site_packages(name, interpreter), folder]
    _run(command, name, f"making a virtual environment with {interpreter}", interpreter)
    return interpreter


def _site_packages(name: str, interpreter: Interpreter) -> Sequence[str]:
    """A Jetson's TensorRT and its bindings are the JetPack's: packages of the system's Python, in no index."""
    if name != "tensorrt" or interpreter.machine != "aarch64":
        return ()
    asked = subprocess.run([interpreter.path, "-I", "-c", "import tensorrt"], capture_output=True, check=False)
    return ("--system-site-packages",) if asked.returncode == 0 else ()


def _install_packages(folder: Path, name: str, interpreter: Interpreter, say: Say) -> None:
    python, file = folder / "bin" / "python", requirements_file(name)
    pinned = ["--no-deps", "--require-hashes"] if "--hash=" in file.read_text(encoding="utf-8") else []
    options: Command = ["--only-binary", ":all:", *pinned, "--requirement", file]
    if (folder / "bin" / "pip").exists():
        quiet = ["--no-input", "--no-warn-script-location", "--disable-pip-version-check", "--progress-bar", "off"]
        command: Command = [python, "-I", "-m", "pip", "install", *quiet, *options]
    else:  # made by uv
        command = [shutil.which("uv") or "uv", "pip", "install", "--python", python, *options]
    _run(command, name, "installing its packages", interpreter, say)


def _names(name: str) -> list[str]:
    lines = requirements_file(name).read_text(encoding="utf-8").splitlines()
    return [line.rstrip(" \\") for line in lines if line[:1].isalpha()]


def _link(folder: Path) -> None:
    """Let the environment import this very package, and nothing else of where it lies."""
    site_packages = next((folder / "lib").glob("python3.*/site-packages"))
    _replace_link(site_packages / PACKAGE.name, PACKAGE)


def _write_note(folder: Path, name: str) -> None:
    interpreter = ask(str(folder / "bin" / "python"))
    note = {
        "package": str(PACKAGE),
        "version": __version__,
        "python": ".".join(map(str, interpreter.version)) if interpreter else "",
        "requirements": _digest(name),
        "packages": _names(name),
    }
    whole = folder / f"{COMPLETE}.new"
    whole.write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    whole.replace(folder / COMPLETE)


def _show(folder: Path, shown: Path) -> None:
    """Put the finished ``folder`` under the name ``shown``, and remove what was there before."""
    before = shown.resolve() if shown.is_symlink() else None
    if before is None and shown.exists():
        _delete(shown)
    folder.chmod(0o755)  # mkdtemp's is for this user only, and the machine's environments are everybody's
    _replace_link(shown, Path(folder.name))
    if before is not None and before.parent == shown.parent:
        _delete(before)


def _replace_link(link: Path, target: Path) -> None:
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)


# ---- trying it out ----


def _try_out(folder: Path, name: str, say: Say) -> None:
    """Import what was installed, and find something in the shipped picture, both in the new environment."""
    python = folder / "bin" / "python"
    modules = ["numpy", "cv2", "tokenizers", _MODULES.get(name, "onnxruntime"), "segzero_ros"]
    if name == SPEECH:
        modules = ["numpy", "ctranslate2", "faster_whisper", "onnxruntime", "segzero_ros.hearing.whisper"]
    say(f"importing {', '.join(modules)}")
    _run([python, "-I", "-c", f"import {', '.join(modules)}"], name, "importing what was installed", ask(str(python)))
    if name == SPEECH:  # it has no model of its own to be asked
        return
    backend = _BACKENDS.get(name, "auto")
    command: Command = [
        python,
        "-I",
        "-m",
        "segzero_ros.cli",
        "ground",
        "table",
        QUESTION,
        "--backend",
        backend,
        "--json",
    ]
    said = _run(command, name, "a command about the shipped picture", ask(str(python)))
    answer = _read_answer(said)
    if answer.get("code") != "OK":
        raise _failed(name, "a command about the shipped picture", f"it was answered {said.strip()[-300:]!r}")
    milliseconds = answer["timing"]["total_ms"]
    say(f'"{QUESTION}": {len(answer["instances"])} found in {milliseconds:.0f} ms, engines opened afresh')


def _read_answer(said: str) -> dict[str, Any]:
    for line in reversed(said.splitlines()):
        with contextlib.suppress(ValueError):
            answer = json.loads(line)
            return answer if isinstance(answer, dict) else {}
    return {}


# ---- steps and what is left of them ----


def _run(command: Command, name: str, step: str, interpreter: Interpreter | None, say: Say | None = None) -> str:
    """Run a step and return what it wrote; ``say`` gets the lines that show its progress."""
    variables = {key: value for key, value in os.environ.items() if key not in _FOREIGN} | {"PYTHONUNBUFFERED": "1"}
    output: list[str] = []
    try:
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=variables,
            text=True,
            errors="replace",
        ) as process:
            for line in process.stdout or ():
                output.append(line)
                if say and line.strip().startswith(_SHOWN):
                    say(f"  {line.strip()[:200]}")
    except OSError as error:
        raise _failed(name, step, f"{command[0]} does not start ({error.strerror})") from None
    if process.returncode:
        python = f"python{interpreter.version[0]}.{interpreter.version[1]}" if interpreter else "python3"
        raise _failed(name, step, explain("".join(output), python))
    return "".join(output)


def _failed(name: str, step: str, why: str) -> RejectedInput:
    return RejectedInput(Code.BUNDLE_BACKEND, f"the engine environment {name} was not made: {step} failed: {why}")


def _leftovers(place: Path, name: str) -> list[Path]:
    shown = (place / name).resolve()
    return [folder for folder in place.glob(f".{name}-*") if folder.resolve() != shown]


def _remove_leftovers(place: Path, name: str) -> None:
    for folder in _leftovers(place, name):
        _delete(folder)


def _refuse_foreign(folder: Path) -> None:
    """Refuse to replace or remove what no installation made."""
    if folder.is_dir() and not (folder / "pyvenv.cfg").is_file():
        detail = f"{folder} is no virtual environment; move it away, or give another place with --dir"
        raise RejectedInput(Code.CONFIG_VALUE, detail)


def _delete(folder: Path) -> None:
    target = folder.resolve() if folder.is_symlink() else folder
    if folder.is_symlink():
        folder.unlink()
    if target.parent == folder.parent:
        shutil.rmtree(target, ignore_errors=True)
