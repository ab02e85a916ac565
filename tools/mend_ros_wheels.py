"""Mends the CMake files of ROS 2 wheels, which name two directories of the machine that the wheels were built on.

CMake refuses a target whose include directories do not exist, so both are replaced by this interpreter's own::

    /opt/python/cp311-cp311/include/python3.11
    /opt/python/cp311-cp311/lib/python3.11/site-packages/numpy/_core/include

Run by the interpreter that the wheels are installed for: ``.venv/bin/python tools/mend_ros_wheels.py``.
"""

import re
import sys
import sysconfig
from pathlib import Path

NUMPY_INCLUDE = re.compile(r"/opt/python/[\w.-]+/lib/python[\d.]+t?/site-packages/numpy/_?core/include")
PYTHON_INCLUDE = re.compile(r"/opt/python/[\w.-]+/include/python[\d.]+t?")


def mend(prefix: Path, python_include: str, numpy_include: str) -> "list[Path]":
    """Replace the foreign directories in ``prefix/share/**/cmake/*.cmake``; return the files that were changed.

    A mended tree is left as it is: the second call returns an empty list.
    """
    changed = []
    for path in sorted(prefix.glob("share/**/cmake/*.cmake")):
        text = path.read_text(encoding="utf-8")
        mended = mend_text(text, python_include, numpy_include)
        if mended != text:
            path.write_text(mended, encoding="utf-8")
            changed.append(path)
    return changed


def mend_text(text: str, python_include: str, numpy_include: str) -> str:
    """Return the text of one CMake file with both directories replaced."""
    text = NUMPY_INCLUDE.sub(lambda _: numpy_include, text)
    return PYTHON_INCLUDE.sub(lambda _: python_include, text)


if __name__ == "__main__":
    import numpy as np

    mend(Path(sys.prefix), sysconfig.get_paths()["include"], np.get_include())
