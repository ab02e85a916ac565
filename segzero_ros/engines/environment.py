"""Which engine environments there are, and which one is taken.

An engine environment is a folder NAME in one of `folders`: a virtual environment of any Python that the engines want,
with the pinned packages of ``requirements-NAME.txt`` and a link to this very package, so that node and host run the
same code. `segzero engines install NAME` makes it (`install.py`); its last step is the note `COMPLETE`.
Nothing here imports an engine or starts that Python: what is asked here is asked at every start of a node.
"""

import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segzero_ros.bundle import expand_home
from segzero_ros.errors import Code, RejectedInput, nearest

NAMES = ("tensorrt_llm", "tensorrt", "cuda", "cpu")  # fastest first: the order in which they are taken
SPEECH = "speech"  # the recogniser's, of the listener; never taken for the engines
INSTALLABLE = (*NAMES, SPEECH)
DEFAULT = "cpu"
COMPLETE = "complete.json"  # what an environment was made of; written last
PACKAGE = Path(__file__).resolve().parent.parent
NEEDED = ("onnxruntime", "tokenizers")  # of an interpreter that is to be its own engine environment
_MOST_NOTE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Environment:
    """A Python that can run engines.

    ``python``: its interpreter, absolute. ``name``: one of NAMES, "" for this process's own interpreter.
    ``complete``: false for one that is half made or was made for another copy of this package; `find_environment`
    returns none such. ``reason``: why it is not complete.
    """

    python: Path
    name: str
    complete: bool
    reason: str = ""

    @property
    def folder(self) -> Path:
        """The virtual environment itself."""
        return self.python.parent.parent


def folders() -> list[Path]:
    """Return where engine environments are looked for: this user's, then the machine's (XDG base directories)."""
    home = expand_home(os.environ.get("XDG_DATA_HOME") or "~/.local/share")
    shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    return [base / "segzero_ros" / "engines" for base in (home, *map(Path, filter(None, shared.split(os.pathsep))))]


def environments(names: Sequence[str] = NAMES) -> list[Environment]:
    """Return every environment of ``names`` there is, half made ones too, in the order in which they are taken."""
    found = [read_environment(folder / name) for name in names for folder in folders() if (folder / name).is_dir()]
    return sorted(found, key=lambda environment: not environment.complete)


def find_environment(name: str = "") -> Environment:
    """Return the engine environment to start the host in.

    ``name``: one of NAMES, or the path of an environment. "": the first complete one of NAMES, else this interpreter,
    if it has ONNX Runtime itself. Raises ``RejectedInput``: CONFIG_VALUE for an unknown name, BUNDLE_BACKEND where
    there is none; both say what to do.
    """
    if name:
        return _named(name)
    incomplete = []
    for environment in environments():
        if environment.complete:
            return environment
        incomplete.append(f"{environment.folder} is there, but {environment.reason}")
    if not missing_here():
        return Environment(Path(sys.executable), "", complete=True)
    raise _none_usable("; ".join(["got no engine environment", *incomplete]), DEFAULT)


def missing_here() -> list[str]:
    """Return what this interpreter lacks of NEEDED; looked for, not imported."""
    return [module for module in NEEDED if importlib.util.find_spec(module) is None]


def read_environment(folder: Path) -> Environment:
    """Return the environment in ``folder``, whose name is the folder's, and whether it is complete."""
    python = folder / "bin" / "python"
    reason = _why_incomplete(folder, python)
    return Environment(python.absolute(), folder.name, not reason, reason)


def read_note(folder: Path) -> dict[str, Any]:
    """Return what the environment in ``folder`` says it was made of, {} where it does not."""
    try:
        with (folder / COMPLETE).open("rb") as stream:
            note = json.loads(stream.read(_MOST_NOTE_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return note if isinstance(note, dict) else {}


def requirements_file(name: str) -> Path:
    """Return the file of the pinned packages of the environment ``name``."""
    return Path(__file__).with_name(f"requirements-{name}.txt")


def _named(name: str) -> Environment:
    if "/" in name:
        environment = read_environment(expand_home(name).absolute())
    elif name in NAMES:
        candidates = [environment for environment in environments() if environment.name == name]
        environment = candidates[0] if candidates else read_environment(folders()[0] / name)
    else:
        detail = f"got the engine environment {name[:100]!r}{nearest(name, NAMES)}; `segzero engines list` shows them"
        raise RejectedInput(Code.CONFIG_VALUE, detail)
    if environment.complete:
        return environment
    shown = f"got the engine environment {name[:200]!r}, but {environment.reason}"
    raise _none_usable(shown, environment.name if environment.name in NAMES else DEFAULT)


def _why_incomplete(folder: Path, python: Path) -> str:
    if not folder.is_dir():
        return f"there is no {folder}"
    if not python.exists():
        return "it has no working bin/python"
    note = read_note(folder)
    if not note:
        return "it is half made"
    if note.get("package") != str(PACKAGE):
        return f"it was made for the package in {str(note.get('package'))[:200]}, not for {PACKAGE}"
    return ""


def _none_usable(what: str, name: str) -> RejectedInput:
    return RejectedInput(Code.BUNDLE_BACKEND, f"{what}; make it: segzero engines install {name}")
