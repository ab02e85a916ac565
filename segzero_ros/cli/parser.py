"""Argument parsers with help worth reading, "did you mean" for unknown names, and status 2 for misuse."""

import argparse
import errno
import importlib
import importlib.util
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from segzero_ros import __version__
from segzero_ros.errors import nearest

OK = 0  # done; the answer is OK
NOT_OK = 1  # there is an answer and it is not OK, or a check failed
REFUSED = 2  # wrong usage or unusable input; nothing was done

STATUS = "exit status: 0 done, 1 the answer is not OK or a check failed, 2 wrong usage or unusable input"


class Parser(argparse.ArgumentParser):
    """An argument parser that knows the nearest name to an unknown one, and has --version."""

    def __init__(self, prog: str, description: str = "", examples: Sequence[str] = (), **options: Any) -> None:
        """``options``: what argparse itself hands to the parser of a sub-command."""
        super().__init__(prog, formatter_class=_help_layout, allow_abbrev=False, **options)
        self.describe(description, examples)
        self.add_argument("--version", action="version", version=f"segzero_ros {__version__}", help="show the version")

    def describe(self, description: str, examples: Sequence[str] = ()) -> None:
        """Set what --help shows above and below the options."""
        lines = "".join(f"  {example}\n" for example in examples)
        self.description = description
        self.epilog = (f"examples:\n{lines}\n" if lines else "") + STATUS

    def add_commands(self, title: str, metavar: str, parser_class: Any = None) -> Any:
        """Add sub-commands and return argparse's action for them; with none chosen: the help, and REFUSED."""
        self.set_defaults(run=self._print_help)
        return self.add_subparsers(title=title, metavar=metavar, parser_class=parser_class or Parser)

    def _print_help(self, _: argparse.Namespace) -> int:
        self.print_help()
        return REFUSED

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse; what is not known ends with status 2 here, where the options of the command at hand are known."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(self._unexpected(unknown[0][:100]))
        return options, []

    def _unexpected(self, word: str) -> str:
        if not word.startswith("-"):
            return f"got {word!r} too much; a sentence of several words needs quotes"
        known = [name for name in self._option_string_actions if name.startswith("--")]
        return f"got the unknown option {word!r}{nearest(word.partition('=')[0], known)}"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a name that is no choice of ``action``; argparse itself would list them all."""
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(action, f"got {str(value)[:100]!r}{nearest(str(value), choices)}")

    def error(self, message: str) -> NoReturn:
        """Print one line and how to get help; end with status 2."""
        self.exit(REFUSED, f"{self.prog}: {message}\nTry: {self.prog} --help\n")


def _help_layout(prog: str) -> argparse.HelpFormatter:
    """Return the layout of --help; argparse's own way to the terminal's width costs as much as all the rest."""
    try:
        columns = os.get_terminal_size().columns
    except OSError:  # no terminal
        columns = 100
    return argparse.RawDescriptionHelpFormatter(prog, width=columns)


class LateParser:
    """What argparse takes for the parser of a command that is imported when it is chosen."""

    def _check_help(self, action: argparse.Action) -> None:
        """Python 3.14 asks here whether the command's line of help can be formatted: ours has nothing to replace."""


class CommandParser(LateParser):
    """What argparse has in place of a command's parser until the command is chosen: then its module is imported.

    The module has ``configure(parser)``, which adds the options and ``run``, a default that is called with the options
    and returns the exit status.
    """

    def __init__(self, prog: str, module: str) -> None:
        self._prog = prog
        self._module = module

    def parse_known_args(self, args: Sequence[str], namespace: Any = None) -> tuple[Any, list[str]]:
        """Make the parser, and parse."""
        parser = Parser(self._prog)
        importlib.import_module(self._module).configure(parser)
        return parser.parse_known_args(args, namespace)


class Renamed(argparse.Action):
    """An option by its old name: does what the new one does, and says so on standard error; not shown by --help."""

    def __init__(self, *, new: str, **options: Any) -> None:
        super().__init__(**options | {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS})
        self._new = new

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Take the value, or that it was given, and say the new name."""
        print(f"{parser.prog}: {option} is called {self._new} now; the old name goes in 0.3", file=sys.stderr)
        setattr(namespace, self.dest, True if self.nargs == 0 else values)


LARGEST = 2**31 - 1  # of a whole number, where nothing less is said: what ROS, NumPy and the engines all take


def at_least(least: int, most: int = LARGEST) -> Callable[[str], int]:
    """Return the ``type=`` of a whole number with a lower bound, and an upper one."""

    def read(text: str) -> int:
        if not text.lstrip("-").isdecimal() or int(text[:20]) < least:
            raise argparse.ArgumentTypeError(f"got {text[:100]!r}, want a whole number from {least} on")
        if len(text) > 20 or int(text) > most:
            raise argparse.ArgumentTypeError(f"got {text[:100]!r}, want a whole number of {least} to {most}")
        return int(text)

    return read


def number_in(low: float, high: float = math.inf, *, above: bool = False) -> Callable[[str], float]:
    """Return the ``type=`` of a finite number from ``low`` to ``high``; ``above``: ``low`` itself is too little."""
    bounds = f"{'above' if above else 'from'} {low:g}{'' if math.isinf(high) else f' to {high:g}'}"

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or not low <= value <= high or (above and value == low):
            raise argparse.ArgumentTypeError(f"got {text[:100]!r}, want a number {bounds}")
        return value

    return read


def refuse(prog: str, message: str) -> int:
    """Say on standard error why nothing was done; return the exit status."""
    print(f"{prog}: {message}", file=sys.stderr)
    return REFUSED


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)


def explain(error: OSError, place: object) -> str:
    """Return in one line why a file was not written or read, and what to do; ``place``: where, if it does not say."""
    where, why = error.filename or place, error.strerror or str(error)
    if isinstance(error, shutil.Error):  # of a copied folder: the first file of many
        return f"could not write {place} ({error.args[0][0][2]}); make room there or name another place"
    if error.errno in FULL:
        return f"could not write {where} ({why}); make room there or name another place"
    if error.errno in CLOSED:
        return f"could not open {where} ({why}); give yourself the right or name another place"
    return str(error)


def missing(modules: Iterable[str]) -> list[str]:
    """Return those modules that are not installed, without importing any."""
    return [name for name in modules if importlib.util.find_spec(name) is None]
