"""Command lines that say what they want: help worth reading, "did you mean" for unknown names, status 2 for misuse."""

import argparse
import importlib.util
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from segzero_ros.errors import nearest

OK = 0  # done; the answer is OK
NOT_OK = 1  # there is an answer and it is not OK, or a check failed
REFUSED = 2  # wrong usage or unusable input; nothing was done

STATUS = "exit status: 0 done, 1 the answer is not OK or a check failed, 2 wrong usage or unusable input"


class Parser(argparse.ArgumentParser):
    """An argument parser that knows the nearest option to an unknown one."""

    def __init__(self, prog: str, description: str, examples: Sequence[str] = ()) -> None:
        shown = "".join(f"  {example}\n" for example in examples)
        epilog = (f"examples:\n{shown}\n" if shown else "") + STATUS
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(prog, description=description, epilog=epilog, formatter_class=layout, allow_abbrev=False)

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse; an unknown option or a word too many ends with status 2 and a hint."""
        options, unknown = self.parse_known_args(arguments)
        if unknown:
            self.error(self._too_much(unknown[0][:100]))
        return options

    def _too_much(self, word: str) -> str:
        if not word.startswith("-"):
            return f"got {word!r} too much; a sentence of several words needs quotes"
        known = [name for name in self._option_string_actions if name.startswith("--")]
        return f"got the unknown option {word!r}{nearest(word.partition('=')[0], known)}"

    def error(self, message: str) -> NoReturn:
        """Print one line and how to get help; end with status 2."""
        self.exit(REFUSED, f"{self.prog}: {message}\nTry: {self.prog} --help\n")


class Renamed(argparse.Action):
    """An option by its old name: does what the new one does, and says so on standard error; not shown by --help."""

    def __init__(self, *, new: str, **options: Any) -> None:
        super().__init__(**options | {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS})
        self._new = new

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Take the value and say the new name."""
        print(f"{parser.prog}: {option} is called {self._new} now; the old name goes in 0.3", file=sys.stderr)
        setattr(namespace, self.dest, values)


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    """Return the ``type=`` of an argument that must be one of ``names``."""
    known = tuple(names)

    def read(name: str) -> str:
        if name not in known:
            raise argparse.ArgumentTypeError(f"got {name[:100]!r}{nearest(name, known)}")
        return name

    return read


def at_least(least: int) -> Callable[[str], int]:
    """Return the ``type=`` of a whole number with a lower bound."""

    def read(text: str) -> int:
        if not text.lstrip("-").isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"got {text[:100]!r}, want a whole number from {least} on")
        return int(text)

    return read


def refuse(prog: str, message: str) -> int:
    """Say on standard error why nothing was done; return the exit status."""
    print(f"{prog}: {message}", file=sys.stderr)
    return REFUSED


def missing(modules: Iterable[str]) -> list[str]:
    """Return those modules that are not installed, without importing any."""
    return [name for name in modules if importlib.util.find_spec(name) is None]
