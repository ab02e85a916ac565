"""`segzero engines install|list|remove`: Pythons of their own for the engines, apart from ROS 2's."""

import argparse
import json

from segzero_ros.cli.output import format_table
from segzero_ros.cli.parser import NOT_OK, OK, Parser, refuse
from segzero_ros.engines.environment import DEFAULT, NAMES, environments, folders, read_note
from segzero_ros.errors import Code, RejectedInput

ABOUT = """An engine environment is a Python with one kind of engine, pinned, in a folder of its own: the node starts
its engines there, and ROS 2's Python stays as it is. The node takes the fastest that is complete."""
EXAMPLES = (
    "segzero engines install",
    "segzero engines install cuda --python python3.12",
    "segzero engines list",
    "segzero engines remove cuda",
)
PLACE = "where to (default: ~/.local/share/segzero_ros/engines; for every user /usr/local/share/segzero_ros/engines)"


def configure(parser: Parser) -> None:
    """Add the three actions and their options."""
    parser.describe(ABOUT, EXAMPLES)
    actions = parser.add_commands("actions", "ACTION")
    what = "make an environment, or make it whole again, and try it out"
    install = actions.add_parser("install", help=what, description=f"{what[0].upper()}{what[1:]}.")
    kinds = f"{', '.join(reversed(NAMES))} (default {DEFAULT})"
    install.add_argument("name", nargs="?", choices=NAMES, default=DEFAULT, metavar="NAME", help=kinds)
    install.add_argument("--python", default="", metavar="PY", help="the Python to make it with (default: found)")
    install.set_defaults(run=run_install)
    listing = actions.add_parser("list", help="what is there, and which one is taken", description="What is there.")
    listing.add_argument("--json", action="store_true", help="print one JSON object per environment instead of a table")
    listing.set_defaults(run=run_list)
    remove = actions.add_parser("remove", help="remove an environment", description="Remove an environment.")
    remove.add_argument("name", choices=NAMES, metavar="NAME", help=", ".join(reversed(NAMES)))
    remove.set_defaults(run=run_remove)
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
    """Print every environment, the one that a node takes first."""
    found = environments()
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
