"""The command line of ``export.tracker``."""

from collections.abc import Sequence
from pathlib import Path

from export.tracker import graphs
from export.tracker.join import add_tracker
from segzero_ros.cli.parser import Parser, refuse
from segzero_ros.errors import RejectedInput


def main(arguments: Sequence[str] | None = None) -> int:
    """Export a checkpoint from the command line."""
    parser = Parser("python -m export.tracker", graphs.__doc__ or "")
    parser.add_argument("checkpoint", type=Path, help="Sam2VideoModel directory (config.json, model.safetensors)")
    parser.add_argument("out", type=Path, nargs="?", help="directory for the four graphs")
    parser.add_argument("--into", type=Path, metavar="BUNDLE", help="put them into this bundle, as precise as it is")
    parser.add_argument("--store", choices=("half", "float"), default="half", help="precision of the stored matrices")
    parser.add_argument("--arithmetic", choices=("half", "float"), default="float", help="half: FP16 for GPUs")
    options = parser.parse_args(arguments)
    if (options.out is None) == (options.into is None):
        parser.error("give either OUT or --into BUNDLE")
    try:
        if options.into is not None:
            print(f"{add_tracker(options.into, options.checkpoint).path}: it can follow now, by SAM 2's memory")
            return 0
        paths = graphs.export_tracker(
            options.checkpoint, options.out, store=options.store, arithmetic=options.arithmetic
        )
    except (RejectedInput, OSError, ValueError) as error:
        return refuse(parser.prog, str(error))
    for role, path in paths.items():
        print(f"{role}: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0
