"""The commands that run offline code: its modules and packages are there, or one line says how to get them."""

import importlib
from collections.abc import Sequence

from segzero_ros.cli.parser import missing, refuse

CLONE = "run it from a clone of the segzero_ros repository, which has training/ and export/"
INSTALL = "in a clone of the repository: .venv/bin/python -m pip install -r requirements/offline.txt"


def hand_over(command: str, module: str, needs: Sequence[str], arguments: Sequence[str]) -> int:
    """Call ``module.main(arguments)`` when it and the packages it needs are installed, else say what is missing."""
    absent = missing(needs)
    if absent:
        return refuse(f"segzero {command}", f"needs {', '.join(absent)}; {INSTALL}")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name in (module, module.partition(".")[0]):
            return refuse(f"segzero {command}", f"there is no {module} here; {CLONE}")
        return refuse(f"segzero {command}", f"needs {error.name}; {INSTALL}")
    return int(found.main(list(arguments)) or 0)
