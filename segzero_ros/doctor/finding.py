"""What the doctor finds: one line each, with what to do where something is wrong."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """``level``: "note" = not there and not needed for the demo; "warn" = works, but worse; "fail" = does not work.

    ``what``: what was found, one line. ``advice``: what to do, "" where there is nothing to do.
    """

    level: Level
    name: str
    what: str
    advice: str = ""

    def line(self) -> str:
        """Return it as a line for people."""
        return f"{self.level:<5} {self.name:<14} {self.what}" + (f"\n{'':20} -> {self.advice}" if self.advice else "")
