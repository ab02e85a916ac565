"""`segzero bundle verify`: is this bundle whole, unaltered and usable here?"""

import argparse
import json
import sys
from typing import Any

from segzero_ros.backends import open_pipeline
from segzero_ros.bundle import open_named_bundle
from segzero_ros.cli.options import add_backend_option
from segzero_ros.cli.parser import NOT_OK, OK, REFUSED, Parser
from segzero_ros.errors import Code, RejectedInput

EXAMPLES = ("segzero bundle verify tabletop", "segzero bundle verify ~/.cache/segzero_ros/bundles/visionreasoner-7b")
ABOUT = (
    "Check a bundle as the node does before any engine sees a byte: format, the hash of every file, profile, engines."
)


def configure(parser: Parser) -> None:
    """Add the options of `segzero bundle verify`."""
    parser.describe("A bundle is the directory in which a reasoner and a segmenter travel.", EXAMPLES)
    verify = parser.add_commands("actions", "ACTION").add_parser(
        "verify", help="check every file, the profile and the engines", description=ABOUT, examples=EXAMPLES
    )
    verify.add_argument("bundle", metavar="BUNDLE", help="a bundle's directory or name")
    add_backend_option(verify)
    verify.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    verify.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Verify a bundle; 1 when it must not be used, 2 when there is none."""
    try:
        report = verify(options.bundle, options.backend)
    except RejectedInput as error:
        print(f"segzero bundle verify: {error}", file=sys.stderr)
        return REFUSED if error.code is Code.BUNDLE_MISSING else NOT_OK
    print(json.dumps(report) if options.json else format_report(report))
    return OK


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
