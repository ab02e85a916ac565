"""`segzero engine build|list|verify`: the TensorRT engines of a bundle on this machine."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from segzero_ros.cli.ground import from_here
from segzero_ros.cli.offline import hand_over
from segzero_ros.cli.parser import NOT_OK, OK, Parser, one_of
from segzero_ros.errors import RejectedInput

ACTIONS = ("build", "list", "verify")
EXAMPLES = ("segzero engine build tabletop", "segzero engine list tabletop", "segzero engine verify tabletop")
ABOUT = (
    "TensorRT engines are built on the machine that runs them, from a bundle's ONNX graphs. build: those that are "
    "missing; it has options of its own (--only, --target, --again): segzero engine build --help. list: what is there, "
    "and for what it was built. verify: whether the bundle can run on them here."
)


def main(arguments: Sequence[str]) -> int:
    """Build, list or verify; 1 when the engines cannot be used, 2 when nothing could be looked at."""
    if arguments and arguments[0] == "build":
        return hand_over("engine build", "segzero_ros.backends.tensorrt.builder", (), arguments[1:])
    options = read_arguments(arguments)
    return listed(options) if options.action == "list" else verified(options)


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options of `segzero engine list` and `verify`."""
    parser = Parser("segzero engine", ABOUT, EXAMPLES)
    parser.add_argument("action", type=one_of(ACTIONS), metavar="ACTION", help=", ".join(ACTIONS))
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's directory or name")
    parser.add_argument("--engine-dir", default="", metavar="DIR", help="default: ~/.cache/segzero_ros/engines")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return parser.read(arguments)


def listed(options: argparse.Namespace) -> int:
    """Print every engine of the bundle, whatever it was built for."""
    from segzero_ros.backends.tensorrt.store import engine_folder, notes

    folder = engine_folder(options.engine_dir, _bundle(options))
    found = [{"file": str(file), **asdict(note)} for file, note in notes(folder)]
    if options.json:
        print(json.dumps(found))
    else:
        print(
            "\n".join(map(_line, found)) or f"no engines in {folder}; build them: segzero engine build {options.bundle}"
        )
    return OK


def verified(options: argparse.Namespace) -> int:
    """Check every engine as the runtime does before TensorRT sees a byte."""
    from segzero_ros.backends.tensorrt.store import verify

    bundle = _bundle(options)
    try:
        files = verify(bundle, options.engine_dir)
    except RejectedInput as error:
        print(json.dumps({"usable": False, "why": str(error)}) if options.json else f"not usable here: {error}")
        return NOT_OK
    shown = [str(file) for file in files]
    print(json.dumps({"usable": True, "files": shown}) if options.json else "usable here:\n  " + "\n  ".join(shown))
    return OK


def _bundle(options: argparse.Namespace) -> Any:
    from segzero_ros.bundle import open_bundle, resolve_bundle

    return open_bundle(resolve_bundle(from_here(options.bundle)))


def _line(entry: dict[str, Any]) -> str:
    identity = entry["identity"]
    machine = f"{identity['gpu']} ({identity['capability']}), driver {identity['driver']}"
    made = f"{identity['flavour']} {identity['version']}, {identity['precision']}"
    return f"{identity['role']:20} {entry['bytes'] / 1e6:9.1f} MB  {made}, {machine}\n  {entry['file']}"
