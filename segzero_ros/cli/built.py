"""`segzero engines build|list BUNDLE|verify`: the TensorRT engines of a bundle on this machine."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from segzero_ros.bundle import open_named_bundle
from segzero_ros.cli.parser import NOT_OK, OK, Parser, Renamed
from segzero_ros.errors import RejectedInput

PARTS = ("all", "segmenter", "reasoner")


def configure(parser: Parser) -> None:
    """Add the actions of `segzero engine`, as 0.1 called it."""
    parser.describe("The old name of `segzero engines build`, `list BUNDLE` and `verify`; it goes in 0.3.")
    actions = parser.add_commands("actions", "ACTION")
    add_actions(actions, old=True)
    listing = actions.add_parser("list", help=LISTED, description=f"{LISTED[0].upper()}{LISTED[1:]}.")
    add_list_options(listing)
    listing.set_defaults(run=_renamed("list", run_list))


LISTED = "what is there, and for what it was built"


def add_actions(actions: Any, *, old: bool = False) -> None:
    """Add build and verify; ``old``: below the old name, which is said."""
    build = _add_action(actions, "build", run_build, "build a bundle's TensorRT engines for this machine", old)
    add = build.add_argument
    add("--only", choices=PARTS, default="all", metavar="PART", help=", ".join(PARTS))
    add("--target", default="", metavar="NAME:CAPABILITY:DRIVER", help="build for a GPU that is elsewhere")
    add("--replace", action="store_true", help="build also what is there")
    add("--again", dest="replace", nargs=0, action=Renamed, new="--replace")
    verify = _add_action(actions, "verify", run_verify, "whether a bundle can run on its TensorRT engines here", old)
    verify.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def add_list_options(parser: Parser, **options: Any) -> None:
    """Add what `list` takes for the engines of a bundle; ``options``: of the argument BUNDLE."""
    parser.add_argument("bundle", metavar="BUNDLE", **{"help": "a bundle's directory or name", **options})
    _add_folder(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def _add_folder(parser: Parser) -> None:
    where = "of TensorRT engines (default ~/.cache/segzero_ros/engines)"
    parser.add_argument("--engine-dir", default="", metavar="DIR", help=where)


def _add_action(actions: Any, name: str, run: Callable[[argparse.Namespace], int], what: str, old: bool) -> Parser:
    parser: Parser = actions.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's directory or name")
    _add_folder(parser)
    parser.set_defaults(run=_renamed(name, run) if old else run)
    return parser


def _renamed(name: str, run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    def warn(options: argparse.Namespace) -> int:
        new = f"segzero engines {name}"
        print(f"segzero engine {name} is called {new} now; the old name goes in 0.3", file=sys.stderr)
        return run(options)

    return warn


def run_build(options: argparse.Namespace) -> int:
    """Build the engines of the bundle, or of one part, that are not there yet."""
    from segzero_ros.backends.tensorrt.builder import build_engines, read_target
    from segzero_ros.backends.tensorrt.library import find_cuda, find_gpu, find_library
    from segzero_ros.backends.tensorrt.store import roles_of

    bundle = open_named_bundle(options.bundle)
    library = find_library()
    gpu = read_target(options.target, library) if options.target else find_gpu(find_cuda())
    roles = roles_of(bundle, options.only)
    print(f"{library.flavour} {library.version} for {gpu.name} ({gpu.capability}), driver {gpu.driver}")
    build_engines(bundle, roles, options.engine_dir, library, gpu, again=options.replace)
    return OK


def run_list(options: argparse.Namespace) -> int:
    """Print every engine of the bundle, whatever it was built for."""
    from segzero_ros.backends.tensorrt.store import engine_folder, notes

    folder = engine_folder(options.engine_dir, open_named_bundle(options.bundle))
    found = [{"file": str(file), **asdict(note)} for file, note in notes(folder)]
    nothing = f"no engines in {folder}; build them: segzero engines build {options.bundle}"
    print(json.dumps(found) if options.json else "\n".join(map(_format_entry, found)) or nothing)
    return OK


def run_verify(options: argparse.Namespace) -> int:
    """Check every engine as the runtime does before TensorRT sees a byte; 1 when they cannot be used here."""
    from segzero_ros.backends.tensorrt.store import verify

    bundle = open_named_bundle(options.bundle)
    try:
        files = [str(file) for file in verify(bundle, options.engine_dir)]
    except RejectedInput as error:
        print(json.dumps({"usable": False, "why": str(error)}) if options.json else f"not usable here: {error}")
        return NOT_OK
    print(json.dumps({"usable": True, "files": files}) if options.json else "usable here:\n  " + "\n  ".join(files))
    return OK


def _format_entry(entry: dict[str, Any]) -> str:
    identity = entry["identity"]
    machine = f"{identity['gpu']} ({identity['capability']}), driver {identity['driver']}"
    made = f"{identity['flavour']} {identity['version']}, {identity['precision']}"
    return f"{identity['role']:20} {entry['bytes'] / 1e6:9.1f} MB  {made}, {machine}\n  {entry['file']}"
