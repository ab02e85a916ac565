"""`segzero engines`: Pythons of their own for the engines, apart from ROS 2's, and TensorRT engines built here."""

import argparse
import json

from segzero_ros.cli import built
from segzero_ros.cli.output import format_table
from segzero_ros.cli.parser import NOT_OK, OK, Parser, refuse
from segzero_ros.engines.environment import DEFAULT, INSTALLABLE, environments, folders, read_note
from segzero_ros.errors import Code, RejectedInput

ABOUT = """An engine environment is a Python with one kind of engine, pinned, in a folder of its own: the node starts
its engines there, and ROS 2's Python stays as it is. The node takes the fastest that is complete. TensorRT's engines
are built on the machine that runs them, from a bundle's ONNX graphs."""
EXAMPLES = (
    "segzero engines install",
    "segzero engines install cuda --python python3.12",
    "segzero engines list",
    "segzero engines remove cuda",
    "segzero engines build tabletop",
    'segzero engines build tabletop --target "NVIDIA GeForce RTX 4090:8.9:580.95.05 (CUDA 13.0)" --engine-dir engines',
    "segzero engines list tabletop",
    "segzero engines verify tabletop",
)
PLACE = "where to (default: ~/.local/share/segzero_ros/engines; for every user /usr/local/share/segzero_ros/engines)"


def configure(parser: Parser) -> None:
    """Add the actions and their options."""
    parser.describe(ABOUT, EXAMPLES)
    actions = parser.add_commands("actions", "ACTION")
    what = "make an environment, or make it whole again, and try it out"
    install = actions.add_parser("install", help=what, description=f"{what[0].upper()}{what[1:]}.")
    kinds = f"{', '.join(reversed(INSTALLABLE))} (default {DEFAULT})"
    install.add_argument("name", nargs="?", choices=INSTALLABLE, default=DEFAULT, metavar="NAME", help=kinds)
    install.add_argument("--python", default="", metavar="PY", help="the Python to make it with (default: found)")
    install.set_defaults(run=run_install)
    what = "the environments, and which one is taken; with BUNDLE its TensorRT engines, and for what they were built"
    listing = actions.add_parser("list", help=what, description=f"{what[0].upper()}{what[1:]}.")
    built.add_list_options(listing, nargs="?", default="", help="a bundle's directory or name")
    listing.set_defaults(run=run_list)
    remove = actions.add_parser("remove", help="remove an environment", description="Remove an environment.")
    remove.add_argument("name", choices=INSTALLABLE, metavar="NAME", help=", ".join(reversed(INSTALLABLE)))
    remove.set_defaults(run=run_remove)
    built.add_actions(actions)
    for action in (install, remove):
        action.add_argument("--dir", default="", metavar="DIR", help=PLACE)


def run_install(options: argparse.Namespace) -> int:
    """Make an environment; 1 when a step failed."""
    from segzero_ros.engines.install import install

    try:
        environment = install(options.name, options.python, options.dir, say=lambda line: print(line, flush=True))
    except RejectedInput as error:
        if error.code is not Code.BUNDLE_BACKEND:
            raise
        refuse("segzero engines install", error.detail)
        return NOT_OK
    print(f"ready: {environment.folder}")
    if options.dir and environment.folder.parent not in folders():
        print(f"the node looks in {', '.join(map(str, folders()))}; this one it takes by its path")
    return OK


def run_list(options: argparse.Namespace) -> int:
    """Print every environment, the one that a node takes first; of a bundle its TensorRT engines."""
    if options.bundle:
        return built.run_list(options)
    found = environments(INSTALLABLE)
    notes = [read_note(environment.folder) for environment in found]
    if options.json:
        for environment, note in zip(found, notes, strict=True):
            state = {"complete": environment.complete, "reason": environment.reason}
            print(json.dumps({"name": environment.name, "folder": str(environment.folder), **state, **note}))
        return OK
    rows = [
        (environment.name, str(note.get("python", "")), environment.reason or "complete", str(environment.folder))
        for environment, note in zip(found, notes, strict=True)
    ]
    nothing = f"no engine environment in {', '.join(map(str, folders()))}; make one: segzero engines install {DEFAULT}"
    print(format_table(("name", "Python", "state", "where"), rows) if rows else nothing)
    return OK


def run_remove(options: argparse.Namespace) -> int:
    """Remove an environment."""
    from segzero_ros.engines.install import remove

    for folder in remove(options.name, options.dir):
        print(f"removed {folder}")
    return OK
