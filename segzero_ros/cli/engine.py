"""`segzero engine build|list|verify`: the TensorRT engines of a bundle on this machine."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from segzero_ros.bundle import open_named_bundle
from segzero_ros.cli.parser import NOT_OK, OK, Parser
from segzero_ros.errors import RejectedInput

ABOUT = "TensorRT engines are built on the machine that runs them, from a bundle's ONNX graphs."
EXAMPLES = (
    "segzero engine build tabletop",
    'segzero engine build tabletop --target "NVIDIA GeForce RTX 4090:8.9:580.95.05 (CUDA 13.0)" --engine-dir engines',
    "segzero engine list tabletop",
    "segzero engine verify tabletop",
)
PARTS = ("all", "segmenter", "reasoner")


def configure(parser: Parser) -> None:
    """Add the three actions and their options."""
    parser.describe(ABOUT, EXAMPLES)
    actions = parser.add_commands("actions", "ACTION")
    build = _add_action(actions, "build", run_build, "build the engines that are missing, for this machine")
    add = build.add_argument
    add("--only", choices=PARTS, default="all", metavar="PART", help=", ".join(PARTS))
    add("--target", default="", metavar="NAME:CAPABILITY:DRIVER", help="build for a GPU that is elsewhere")
    add("--again", action="store_true", help="build also what is there")
    for name, run, what in (
        ("list", run_list, "what is there, and for what it was built"),
        ("verify", run_verify, "whether the bundle can run on its engines here"),
    ):
        action = _add_action(actions, name, run, what)
        action.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def _add_action(actions: Any, name: str, run: Callable[[argparse.Namespace], int], what: str) -> Parser:
    parser: Parser = actions.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's directory or name")
    parser.add_argument("--engine-dir", default="", metavar="DIR", help="default: ~/.cache/segzero_ros/engines")
    parser.set_defaults(run=run)
    return parser


def run_build(options: argparse.Namespace) -> int:
    """Build the engines of the bundle, or of one part, that are not there yet."""
    from segzero_ros.backends.tensorrt.builder import build_engines, read_target
    from segzero_ros.backends.tensorrt.library import find_cuda, find_gpu, find_library
    from segzero_ros.backends.tensorrt.profiles import ROLES

    bundle = open_named_bundle(options.bundle)
    library = find_library()
    gpu = read_target(options.target, library) if options.target else find_gpu(find_cuda())
    roles = [role for role in ROLES if options.only in ("all", ROLES[role][0])]
    print(f"{library.flavour} {library.version} for {gpu.name} ({gpu.capability}), driver {gpu.driver}")
    build_engines(bundle, roles, options.engine_dir, library, gpu, again=options.again)
    return OK


def run_list(options: argparse.Namespace) -> int:
    """Print every engine of the bundle, whatever it was built for."""
    from segzero_ros.backends.tensorrt.store import engine_folder, notes

    folder = engine_folder(options.engine_dir, open_named_bundle(options.bundle))
    found = [{"file": str(file), **asdict(note)} for file, note in notes(folder)]
    nothing = f"no engines in {folder}; build them: segzero engine build {options.bundle}"
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
