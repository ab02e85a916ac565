"""The commands whose code is in a clone of the repository only: their words are handed over as they are."""

import argparse
import importlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from segzero_ros.cli.parser import Parser, missing, refuse

CLONE = "run it from a clone of the segzero_ros repository, which has training/ and export/"
INSTALL = "in a clone of the repository: .venv/bin/python -m pip install -r requirements/offline.txt"


class Offline(NamedTuple):
    """Where a command's ``main(arguments)`` is, the packages it needs, and what --help says of it."""

    module: str
    needs: tuple[str, ...]
    summary: str


COMMANDS: Mapping[str, Offline] = MappingProxyType(
    {
        "data": Offline(
            "training.data.check", (), "check a data set of your own: every bad row and why, pictures with boxes"
        ),
        "eval": Offline("training.evaluation.main", ("mujoco",), "score a bundle on scenes whose truth is known"),
        "bench": Offline("bench.main", ("mujoco",), "measure a bundle: where the time goes, and against transformers"),
        "export": Offline(
            "export.bundle",
            ("torch", "transformers", "onnx", "onnxscript"),
            "turn Qwen2.5-VL and SAM 2 checkpoints into a bundle",
        ),
    }
)


class OfflineParser(Parser):
    """A parser that leaves all words but --version to the command's own parser."""

    def __init__(self, prog: str, command: Offline, **options: Any) -> None:
        super().__init__(prog, **options)
        self._command = command

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Set ``run`` to hand the words over."""
        words = list(args)
        if words[:1] == ["--version"]:
            return super().parse_known_args(words, namespace)
        options = namespace or argparse.Namespace()
        options.run = lambda _: hand_over(self.prog, self._command, words)
        return options, []


def hand_over(prog: str, command: Offline, arguments: Sequence[str]) -> int:
    """Call the command's ``main`` when it and the packages it needs are installed, else say what is missing."""
    absent = missing(command.needs)
    if absent:
        return refuse(prog, f"needs {', '.join(absent)}; {INSTALL}")
    try:
        found = importlib.import_module(command.module)
    except ModuleNotFoundError as error:
        if error.name in (command.module, command.module.partition(".")[0]):
            return refuse(prog, f"there is no {command.module} here; {CLONE}")
        return refuse(prog, f"needs {error.name}; {INSTALL}")
    return int(found.main(list(arguments)) or 0)
