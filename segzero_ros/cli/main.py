"""The command line `segzero`: finds the command by its name and imports nothing else."""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from segzero_ros.cli.parser import REFUSED, STATUS, refuse
from segzero_ros.errors import RejectedInput, nearest

INTERRUPTED = 130  # what a shell says of a process that Ctrl-C ended

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "ground": "find what a sentence means in a picture (no ROS needed)",
        "say": "say a sentence to the running node and watch it reason",
        "data": "check a data set of your own: every bad row and why, pictures with boxes",
        "eval": "score a bundle on scenes whose truth is known",
        "bundle": "verify a bundle: format, every file's hash, profile, engines",
        "engine": "build, list or verify TensorRT engines for this machine",
        "serve": "answer several robots with one bundle's reasoner, by the OpenAI protocol",
        "bench": "measure a bundle: where the time goes, and against transformers",
        "export": "turn Qwen2.5-VL and SAM 2 checkpoints into a bundle",
        "train": "make training data; train a demo reasoner or segmenter",
    }
)
_MODULES = {"eval": "evaluate"}  # named otherwise than their command

HELP = """usage: segzero COMMAND ...

A camera frame and a sentence in, masks and the reasoning behind them out.

{commands}

examples:
  segzero ground table.jpg "the mug left of the bowl" --out found.png
  segzero say "something to drink from"
  segzero eval --data tabletop --split test --seed 7 --count 300

`segzero COMMAND --help` tells more about each. `make demo` shows all of it at work.
{status}"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0 if words else REFUSED
    name = words[0]
    if name not in COMMANDS:
        return refuse("segzero", f"got the command {name[:100]!r}{nearest(name, COMMANDS)}\nTry: segzero --help")
    return run(name, words[1:])


def run(name: str, arguments: Sequence[str]) -> int:
    """Run the command ``name``; what the outside did wrong is one line and status 2, never a traceback."""
    try:
        module = importlib.import_module(f"segzero_ros.cli.{_MODULES.get(name, name)}")
        status = int(module.main(arguments))
        sys.stdout.flush()
        return status
    except RejectedInput as error:
        return refuse(f"segzero {name}", str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `segzero ... | head`: nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def help_text() -> str:
    """Return what `segzero --help` prints."""
    return HELP.format(commands="\n".join(f"  {name:8} {what}" for name, what in COMMANDS.items()), status=STATUS)


if __name__ == "__main__":
    sys.exit(main())
