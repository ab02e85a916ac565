"""The command `segzero doctor`."""

import argparse
import dataclasses
import json
from collections.abc import Iterator

from segzero_ros.cli.options import DEFAULT_BUNDLE, add_bundle_options
from segzero_ros.cli.parser import NOT_OK, OK, Parser
from segzero_ros.doctor import engines, machine, ros
from segzero_ros.doctor.finding import Finding

ABOUT = (
    "Look at this machine: what it has, which engines are taken and why, whether a picture of known truth is grounded "
    "as it should be. A line per thing: ok, note (not needed), warn (works, but worse), fail; with what to do."
)
EXAMPLES = ("segzero doctor", "segzero doctor --bundle visionreasoner-7b --json > report.jsonl")


def configure(parser: Parser) -> None:
    """Add the options."""
    parser.describe(ABOUT, EXAMPLES)
    add_bundle_options(parser)
    parser.add_argument("--engines", default="", metavar="NAME", help="their environment (default as a node chooses)")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line instead of text")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what is found as it is found; 1 where something does not work."""
    failed = 0
    for finding in examine(options):
        print(json.dumps(dataclasses.asdict(finding)) if options.json else finding.line(), flush=True)
        failed += finding.level == "fail"
    if not options.json:
        print(f"{failed} things do not work" if failed else "all that a node needs works here")
    return NOT_OK if failed else OK


def examine(options: argparse.Namespace) -> Iterator[Finding]:
    """Look at everything, the quick things first."""
    found, bundle = engines.examine_bundle(options.bundle or DEFAULT_BUNDLE)
    size = sum(file.stat().st_size for file in bundle.path.glob("*/**/*") if file.is_file()) if bundle else 0
    yield from machine.examine(size)
    yield from ros.examine()
    yield found
    if bundle is not None:
        yield from engines.examine(bundle, options.backend, options.engines)
