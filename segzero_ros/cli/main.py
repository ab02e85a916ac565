"""The command line `segzero`: one sub-parser per command, each imported when its command is chosen."""

import os
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from segzero_ros.cli import offline
from segzero_ros.cli.parser import CommandParser, Parser, explain, refuse
from segzero_ros.errors import RejectedInput

INTERRUPTED = 130  # what a shell says of a process that Ctrl-C ended

ABOUT = """A camera frame and a sentence in, masks and the reasoning behind them out.

`segzero COMMAND --help` tells more about each. `make demo` shows all of it at work."""
EXAMPLES = (
    'segzero ground table "the mug left of the yellow ball" --out found.png',
    'segzero say "something to drink from"',
    "segzero eval --data tabletop --split test --seed 7 --count 300",
)
COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "ground": "find what a sentence means in a picture (no ROS needed)",
        "listen": "hear what is said, from a file or a microphone, and print the commands",
        "say": "say a sentence to the running node and watch it reason",
        "bundle": "verify a bundle: format, every file's hash, profile, engines",
        "engines": "make, list or remove Pythons of their own for the engines; build TensorRT engines",
        "doctor": "look at this machine: what is there, what is missing, what to do",
        "host": "open the engines once for all nodes of this machine",
        "serve": "answer several robots with one bundle's reasoner, by the OpenAI protocol",
        "mcp": "serve the running node to an agent: tools ground, track, stop, status",
        "console": "serve a page beside the running node: camera, commands, corrections",
        "replay": "ask the commands of a recording again, and compare the answers",
        "train": "make training data; train a demo reasoner or segmenter",
        **{name: command.summary for name, command in offline.COMMANDS.items()},
    }
)


ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        "doctor": "segzero_ros.doctor.command",
        "engine": "segzero_ros.cli.built",
        "replay": "segzero_ros.replay.command",
        "mcp": "segzero_ros.agents.command",
        "console": "segzero_ros.console.command",
        "listen": "segzero_ros.hearing.command",
    }
)
OLD_NAMES = ("engine",)  # not shown by --help; they go in 0.3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status. What the outside did wrong is one line and status 2, no traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = build_parser().parse_args(["--help"] if words == ["help"] else words)  # imports the command
        status = int(options.run(options))
        sys.stdout.flush()
        return status
    except RejectedInput as error:
        return refuse(f"segzero {words[0]}", str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `segzero ... | head`: nobody reads any more
        _give_up_output()
        return 0
    except OSError as error:  # a full disk, also under standard output
        _give_up_output()
        return refuse(f"segzero {words[0]}", explain(error, "what it was to write"))


def _give_up_output() -> None:
    """Send the rest of standard output, which Python writes at its end, nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser() -> Parser:
    """Return the parser of `segzero`."""
    parser = Parser("segzero", ABOUT, EXAMPLES)
    commands = parser.add_commands("commands", "COMMAND", _command_parser)
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary)
    for name in OLD_NAMES:
        commands.add_parser(name)
    return parser


def _command_parser(prog: str, **_: Any) -> CommandParser | offline.OfflineParser:
    name = prog.rpartition(" ")[2]
    if name in offline.COMMANDS:
        return offline.OfflineParser(prog, offline.COMMANDS[name])
    return CommandParser(prog, ELSEWHERE.get(name, f"segzero_ros.cli.{name}"))
