"""`segzero bundle verify|list|use|rollback`: is a bundle usable here, which are there, and which one is `current`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from segzero_ros.backends import open_pipeline
from segzero_ros.bundle import (
    MANIFEST,
    bundle_folders,
    current_bundles,
    current_file,
    open_named_bundle,
)
from segzero_ros.cli.options import add_backend_option
from segzero_ros.cli.parser import NOT_OK, OK, REFUSED, Parser, refuse
from segzero_ros.errors import Code, RejectedInput

EXAMPLES = ("segzero bundle verify tabletop", "segzero bundle verify ~/.cache/segzero_ros/bundles/visionreasoner-7b")
ABOUT = (
    "Check a bundle as the node does before any engine sees a byte: format, the hash of every file, profile, engines."
)
USE_ABOUT = (
    "Verify a bundle and make it the one that nodes with the parameter bundle: current open. With --running the node "
    "that runs opens it beside the one in use and changes over once it has passed; if it does not, all stays as it is."
)
KEPT = 10  # bundles to go back to
SWITCH_S = 600  # for a large bundle to open


def configure(parser: Parser) -> None:
    """Add the actions and their options."""
    parser.describe("A bundle is the directory in which a reasoner and a segmenter travel.", EXAMPLES)
    actions = parser.add_commands("actions", "ACTION")
    verify = actions.add_parser(
        "verify", help="check every file, the profile and the engines", description=ABOUT, examples=EXAMPLES
    )
    verify.add_argument("bundle", metavar="BUNDLE", help="a bundle's directory or name")
    add_backend_option(verify)
    verify.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    verify.set_defaults(run=run)
    listing = actions.add_parser("list", help="the bundles that can be named, and which is current")
    listing.set_defaults(run=run_list)
    use = actions.add_parser("use", help="verify one and make it current", description=USE_ABOUT)
    use.add_argument("bundle", metavar="BUNDLE", help="a bundle's directory or name")
    use.set_defaults(run=run_use)
    back = actions.add_parser("rollback", help="make the one before current again")
    back.set_defaults(run=run_rollback)
    for action in (use, back):
        action.add_argument("--running", action="store_true", help="change the node that runs, too")
        ros = "arguments of ROS, say -r __ns:=/arm"
        action.add_argument("--ros-args", nargs=argparse.REMAINDER, default=[], metavar="...", help=ros)


def run(options: argparse.Namespace) -> int:
    """Verify a bundle; 1 when it must not be used, 2 when there is none."""
    try:
        report = verify(options.bundle, options.backend)
    except RejectedInput as error:
        print(f"segzero bundle verify: {error}", file=sys.stderr)
        return REFUSED if error.code is Code.BUNDLE_MISSING else NOT_OK
    print(json.dumps(report) if options.json else format_report(report))
    return OK


def run_list(_: argparse.Namespace) -> int:
    """Print a line per bundle."""
    try:
        current = current_bundles()[0]
    except RejectedInput:
        current = ""
    found = [file.parent for folder in bundle_folders() for file in sorted(folder.glob(f"*/{MANIFEST}"))]
    found += [Path(current)] if current and Path(current) not in found else []
    for path in found:
        print(f"{'*' if str(path) == current else ' '} {path.name:<24} {_size(path):7.1f} MB  {path}")
    print("* = current; segzero bundle use NAME" if current else "none is current; segzero bundle use NAME")
    return OK


def run_use(options: argparse.Namespace) -> int:
    """Make a bundle current; 1 when it must not be used or the running node does not take it, 2 when there is none."""
    try:
        bundle = open_named_bundle(options.bundle)
    except RejectedInput as error:
        print(f"segzero bundle use: {error}", file=sys.stderr)
        return REFUSED if error.code is Code.BUNDLE_MISSING else NOT_OK
    path = str(bundle.path.resolve())
    if options.running and (status := change_running(path, options.ros_args)) != OK:
        return status
    _note([path, *(known for known in _known() if known != path)])
    print(f"{bundle.name} is current: {path}")
    return OK


def run_rollback(options: argparse.Namespace) -> int:
    """Make the bundle before the current one current again."""
    known = _known()
    if len(known) < 2:
        return refuse("segzero bundle rollback", f"no bundle was current before; {current_file()} has {len(known)}")
    path = open_named_bundle(known[1]).path
    if options.running and (status := change_running(str(path), options.ros_args)) != OK:
        return status
    _note([known[1], *known[2:], known[0]])
    print(f"{path.name} is current again: {path}")
    return OK


def change_running(path: str, ros_arguments: list[str]) -> int:
    """Have the running node change over to the bundle in ``path``; 1 where it does not."""
    try:
        from segzero_ros.ros.client import Client, NoAnswerError
        from segzero_ros.ros.executor.process import StartError

        client = Client(arguments=["--ros-args", *ros_arguments])
    except ImportError as error:
        return refuse("segzero bundle", f"--running needs ROS 2: source its setup.bash ({error})")
    except StartError as error:
        return refuse("segzero bundle", str(error))
    try:
        client.change_bundle(path, SWITCH_S)
    except NoAnswerError as error:
        print(f"segzero bundle: {error}", file=sys.stderr)
        return NOT_OK
    finally:
        client.close()
    return OK


def _known() -> list[str]:
    try:
        return current_bundles()
    except RejectedInput:
        return []


def _note(paths: list[str]) -> None:
    """Write which bundles ``current`` has been, in one step."""
    file = current_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        written = file.with_suffix(".new")
        written.write_text(json.dumps({"bundles": paths[:KEPT]}), encoding="utf-8")
        written.replace(file)
    except OSError as error:
        raise RejectedInput(Code.CONFIG_VALUE, f"cannot write {file} ({error.strerror or error})") from None


def _size(path: Path) -> float:
    return sum(file.stat().st_size for file in path.glob("**/*") if file.is_file()) / 1e6


def verify(name: str, backend: str) -> dict[str, Any]:
    """Open the bundle and its engines; return what it is, or raise ``RejectedInput``."""
    bundle = open_named_bundle(name)
    engines = open_pipeline(bundle, backend).engines
    files = [file for file in bundle.path.glob("*/**/*") if file.is_file()]
    return {
        "path": str(bundle.path),
        "name": bundle.name,
        "profile": bundle.profile.name,
        "image_size": list(bundle.profile.image_size),
        "engines": engines,
        "reasoner": bundle.reasoner.architecture,
        "segmenter": bundle.segmenter.architecture,
        "files": len(files),
        "bytes": sum(file.stat().st_size for file in files),
        "versions": dict(bundle.versions),
        "provenance": dict(bundle.provenance),
    }


def format_report(report: dict[str, Any]) -> str:
    """Return the report in a few lines for people."""
    width, height = report["image_size"]
    return "\n".join(
        (
            f"{report['name']} is whole and unaltered: {report['files']} files, {report['bytes'] / 1e6:.1f} MB",
            f"  in         {report['path']}",
            f"  profile    {report['profile']}, pictures {width} x {height}",
            f"  reasoner   {report['reasoner']}",
            f"  segmenter  {report['segmenter']}",
            f"  engines    {report['engines']}",
        )
    )
