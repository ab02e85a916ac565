"""How the demo writes to a terminal: colours only where somebody watches."""

import os
import shutil
import sys

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


def print_line(text: str) -> None:
    """Print at once."""
    print(text, flush=True)
