"""`segzero bundle verify`: is this bundle whole, unaltered and usable here?"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from segzero_ros.cli.ground import BACKENDS, from_here
from segzero_ros.cli.parser import NOT_OK, OK, REFUSED, Parser, one_of
from segzero_ros.errors import Code, RejectedInput

EXAMPLES = ("segzero bundle verify tabletop", "segzero bundle verify ~/.cache/segzero_ros/bundles/visionreasoner-7b")
ABOUT = (
    "Check a bundle as the node does before any engine sees a byte: format, the hash of every file, profile, engines."
)


def main(arguments: Sequence[str]) -> int:
    """Verify a bundle; 1 when it must not be used, 2 when there is none."""
    options = read_arguments(arguments)
    try:
        report = verify(options.directory, options.backend)
    except RejectedInput as error:
        print(f"segzero bundle verify: {error}", file=sys.stderr)
        return REFUSED if error.code is Code.BUNDLE_MISSING else NOT_OK
    print(json.dumps(report) if options.json else described(report))
    return OK


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options of `segzero bundle verify`."""
    parser = Parser("segzero bundle", ABOUT, EXAMPLES)
    parser.add_argument("action", type=one_of(["verify"]), metavar="verify", help="the only thing to be done with one")
    parser.add_argument("directory", metavar="DIR", help="a bundle's directory or name")
    parser.add_argument("--backend", type=one_of(BACKENDS), default="auto", metavar="NAME", help=", ".join(BACKENDS))
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return parser.read(arguments)


def verify(directory: str, backend: str) -> dict[str, Any]:
    """Open the bundle and its engines; return what it is, or raise ``RejectedInput``."""
    from segzero_ros.backends import open_pipeline
    from segzero_ros.bundle import open_bundle, resolve_bundle

    bundle = open_bundle(resolve_bundle(from_here(directory)))
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


def described(report: dict[str, Any]) -> str:
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
