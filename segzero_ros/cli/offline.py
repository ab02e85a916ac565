"""The commands whose code is in a clone of the repository only: their words are handed over as they are."""

import argparse
import importlib
import runpy
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from segzero_ros.cli.parser import LateParser, Parser, missing, refuse

CLONE = "run it from a clone of the segzero_ros repository, which has training/ and export/"
INSTALL = "in a clone of the repository: .venv/bin/python -m pip install -r requirements/offline.txt"


class Offline(NamedTuple):
    """Where a command's ``main(arguments)`` is, the packages it needs, and what --help says of it.

    ``options``: the module whose ``read_arguments`` reads its words, where ``module`` itself imports those packages.
    """

    module: str
    needs: tuple[str, ...]
    summary: str
    options: str = ""


COMMANDS: Mapping[str, Offline] = MappingProxyType(
    {
        "data": Offline(
            "training.data.check", (), "check a data set of your own: every bad row and why; rows of recordings"
        ),
        "eval": Offline("training.evaluation.main", ("mujoco",), "score a bundle on scenes whose truth is known"),
        "bench": Offline("bench.main", ("mujoco",), "measure a bundle: where the time goes, and against transformers"),
        "export": Offline(
            "export.bundle",
            ("torch", "transformers", "onnx", "onnxscript"),
            "turn Qwen2.5-VL (or Qwen3-VL) and SAM 2 checkpoints into a bundle",
        ),
    }
)


class OfflineParser(LateParser):
    """What argparse has in place of such a command's parser: leaves all words but --version to the command."""

    def __init__(self, prog: str, command: Offline, **_: Any) -> None:
        self._prog = prog
        self._command = command

    def parse_known_args(self, args: Sequence[str], namespace: Any = None) -> tuple[Any, list[str]]:
        """Set ``run`` to hand the words over."""
        if args[:1] == ["--version"]:
            return Parser(self._prog).parse_known_args(args, namespace)
        options = namespace or argparse.Namespace()
        options.run = lambda _: hand_over(self._prog, self._command, args)
        return options, []


def hand_over(prog: str, command: Offline, arguments: Sequence[str]) -> int:
    """Call the command's ``main`` when it and the packages it needs are installed, else say what is missing."""
    absent = missing(command.needs)
    asked = {"-h", "--help"} & set(arguments)
    if absent and not asked:
        return refuse(prog, f"needs {', '.join(absent)}; {INSTALL}")
    try:
        if asked and command.options:
            importlib.import_module(command.options).read_arguments(arguments)
        found = importlib.import_module(command.module)
    except ModuleNotFoundError as error:
        if error.name in (command.module, command.options, command.module.partition(".")[0]):
            return refuse(prog, f"there is no {command.module} here; {CLONE}")
        return refuse(prog, f"needs {error.name}; {INSTALL}")
    return int(found.main(list(arguments)) or 0)


def run_renamed(old: str, new: str) -> None:
    """Run module ``new`` in place of ``old``, by whose name somebody started it, and say so."""
    print(f"python -m {old} is called python -m {new} now; the old name goes in 0.3", file=sys.stderr)
    runpy.run_module(new, run_name="__main__", alter_sys=True)
