"""`segzero replay` of what the node's recorder wrote last, in a process of its own, its lines told to the pages."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LONGEST_S = 600.0
MOST_LINE = 1000  # characters of a line that a page is told
Say = Callable[[str], None]
Parts = Mapping[str, Mapping[str, Any]]


class Replays:
    """One replay at a time; in the server's thread."""

    def __init__(self, command: tuple[str, ...] = (sys.executable, "-m", "segzero_ros.cli", "replay")) -> None:
        """``command``: what the file's name is put behind."""
        self._command = command
        self._process: asyncio.subprocess.Process | None = None

    async def run(self, parts: Parts, say: Say) -> None:
        """Replay the file that the node's diagnostics name; ``say`` gets each line, or why there is none."""
        if self._process is not None:
            say("a replay is at work already; wait for its end")
            return
        file = str(parts.get("recorder", {}).get("values", {}).get("file", ""))
        if not file:
            say("nothing is recorded yet: set the node's parameter record, and press “Save failure” first")
        elif not Path(file).is_file():
            say(f"{file} is on the node's machine, not on this one; there: segzero replay {file}")
        else:
            await self._run(file, say)

    async def _run(self, file: str, say: Say) -> None:
        say(f"segzero replay {file}")
        out = asyncio.subprocess.PIPE
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command, file, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=asyncio.subprocess.STDOUT,
            env=environment,
        )  # fmt: skip
        try:
            await asyncio.wait_for(_tell_lines(process, say), LONGEST_S)
            status = await process.wait()
            say({0: "every answer is the same", 1: "an answer is different"}.get(status, f"ended with status {status}"))
        except asyncio.TimeoutError:
            say(f"the replay took more than {LONGEST_S:.0f} s and was ended")
        finally:
            await self.stop()

    async def stop(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _tell_lines(process: asyncio.subprocess.Process, say: Say) -> None:
    assert process.stdout is not None  # noqa: S101 - it was asked for
    while True:
        try:
            line = await process.stdout.readline()
        except ValueError:  # a line beyond the reader's limit: what follows is read on
            continue
        if not line:
            return
        say(line.decode("utf-8", "replace").rstrip()[:MOST_LINE])
