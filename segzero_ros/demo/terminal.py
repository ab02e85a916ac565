"""What the demo writes while it runs: the thinking as it comes, colours only where somebody watches."""

import os
import shutil
import sys
from collections.abc import Sequence

_STYLES = {"bold": "1", "dim": "2", "green": "32", "red": "31", "blue": "34", "yellow": "33"}
STYLE_OF = {"OK": "green", "NO_TARGET": "blue", "CANCELLED": "yellow"}  # every other code is red


def is_pretty() -> bool:
    """Whether somebody watches, and wants colours (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def styled(text: str, *styles: str) -> str:
    """Return ``text`` in these styles on a terminal, as it is elsewhere."""
    if not (styles and text and is_pretty()):
        return text
    return f"\033[{';'.join(_STYLES[style] for style in styles)}m{text}\033[0m"


def width() -> int:
    """Return how many characters fit on a line; 120 where there is no terminal."""
    return max(60, min(160, shutil.get_terminal_size((120, 24)).columns))


def say(text: str = "", end: str = "\n") -> None:
    """Print at once."""
    print(text, end=end, flush=True)


class Thinking:
    """Prints the thinking as it grows: each call brings all of it so far."""

    def __init__(self, indent: str) -> None:
        """``indent``: put before the first word."""
        self._indent = indent
        self._shown = ""

    def __call__(self, text: str) -> None:
        """Print what is new."""
        if text.startswith(self._shown) and len(text) > len(self._shown):
            before = "" if self._shown else self._indent
            say(before + styled(text[len(self._shown) :].replace("\n", " "), "dim"), end="")
            self._shown = text

    def end(self, text: str = "") -> None:
        """Print what is still missing of the whole ``text`` and end the line; all of it if it began otherwise."""
        if not text.startswith(self._shown):
            say()
            self._shown = ""
        self(text)
        if self._shown:
            say()


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int], style_of: Sequence[str]) -> str:
    """Return rows in aligned columns; ``right``: columns of numbers; ``style_of``: one style per row ("" = none)."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.rjust(w) if at in right else cell.ljust(w)
            for at, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    drawn = [styled(line(row), *([style] if style else [])) for row, style in zip(rows, style_of, strict=True)]
    return "\n".join([styled(line(head), "bold"), *drawn])
