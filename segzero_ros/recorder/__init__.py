"""The flight recorder: MCAP files of what came in and what was answered, written beside the node's work.

    entry.py    one message, and the channel it belongs to
    ring.py     the entries of the last seconds, in memory
    store.py    a folder of files: rotated, bounded, whole up to the last group even after kill -9
    finish.py   an index for files that were cut
    thread.py   the thread that serialises, compresses and writes
    reader.py   the messages of a file, also of one that was cut
    commands.py the commands in a file, each with its picture and its answer

The node works without the package ``mcap``; only recording and reading recordings need it (``why_unavailable``).
"""

import importlib.util

INSTALL = "python3 -m pip install 'mcap>=1.6' zstandard"
READ_INSTALL = f"{INSTALL} mcap-ros2-support"


def why_unavailable(*more: str) -> str:
    """Return what to install before anything can be recorded, "" where it is there; imports nothing.

    ``more``: modules beside those that writing needs.
    """
    absent = [name for name in ("mcap", "zstandard", *more) if importlib.util.find_spec(name) is None]
    return f"needs {', '.join(absent)}: {READ_INSTALL if more else INSTALL}" if absent else ""
