"""Which Python runs the recogniser: the engine environment `speech`, or this one where it has the packages."""

import importlib.util
import sys
from pathlib import Path

from segzero_ros.engines.environment import SPEECH, environments, find_environment
from segzero_ros.errors import Code, RejectedInput

NEEDED = ("faster_whisper", "ctranslate2")


def find_python(environment: str = "") -> Path:
    """Return the interpreter for the recogniser.

    ``environment``: a name or a path of an engine environment; "" = `speech` if it is complete, else this interpreter.
    Raises ``RejectedInput`` BUNDLE_BACKEND where none has the packages; it says what to do.
    """
    if environment and environment != SPEECH:
        return find_environment(environment).python
    found = environments((SPEECH,))
    complete = next((each for each in found if each.complete), None)
    if complete is not None:
        return complete.python
    if not environment and not missing_here():
        return Path(sys.executable)
    half = "".join(f"; {each.folder} is there, but {each.reason}" for each in found)
    detail = f"there is no engine environment {SPEECH!r}{half}; make it: segzero engines install {SPEECH}"
    raise RejectedInput(Code.BUNDLE_BACKEND, detail)


def missing_here() -> list[str]:
    """Return what this interpreter lacks of NEEDED; looked for, not imported."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]
