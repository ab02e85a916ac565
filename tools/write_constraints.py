"""Writes requirements/constraints.txt from what is installed in `.venv`, where `make setup` has put all groups.

To move a pin: change it in its file, empty constraints.txt of the pins in question, `make setup`, then run
``.venv/bin/python tools/write_constraints.py`` and look at the difference before committing it.
"""

import re
import sys
from importlib.metadata import distributions
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parent.parent / "requirements" / "constraints.txt"

HEAD = """\
# Every package that the other files bring along, directly or not, so that no release of tomorrow changes a set-up.
# Written by tools/write_constraints.py.
"""

#: pip comes with the virtual environment, this repository is itself; a CUDA build of torch pins what it needs itself.
NOT_PINNED = re.compile(r"pip|segzero-ros|nvidia-.*|cuda-.*|triton")


def installed() -> "dict[str, str]":
    """Return what pip has installed for this interpreter: normalised name -> version without its local part.

    The wheels of ROS 2 also hold records of their contents, which are no distributions of their own.
    """
    return {
        re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower(): found.version.split("+")[0]
        for found in distributions()
        if (found.read_text("INSTALLER") or "").strip() == "pip"
    }


def main() -> int:
    """Write the file; return the exit status."""
    pins = {name: version for name, version in installed().items() if not NOT_PINNED.fullmatch(name)}
    CONSTRAINTS.write_text(HEAD + "".join(f"{name}=={pins[name]}\n" for name in sorted(pins)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
