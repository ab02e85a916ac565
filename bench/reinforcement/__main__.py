"""Ask all runs of the study, and write figures, tables and plot.

python -m bench.reinforcement --data runs/study/data --out runs/study --page docs/reinforcement.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.record import RESULTS, device_slug, record, write
from bench.reinforcement import second
from bench.reinforcement.figures import figures, over_steps
from bench.reinforcement.page import BEGIN, END, draw, renew, results
from segzero_ros.cli.parser import Parser, refuse
from segzero_ros.errors import RejectedInput
from training.grpo.study.answers import COUNTS, SECOND_COUNTS, ask_runs, ask_second_runs
from training.grpo.study.arms import SECOND, SETTINGS

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; a folder without runs is one line and status 2."""
    parser = Parser("python -m bench.reinforcement", __doc__ or "")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="what the study's `data` made")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the runs")
    parser.add_argument("--second", action="store_true", help="the second study's data and runs")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "reinforcement.md", metavar="FILE")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="default docs/images/reinforcement.png, -2 the second"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="default bench/results/DEVICE/reinforcement.json, -2")
    parser.add_argument("--asked", action="store_true", help="ask nothing: report what is there")
    args = parser.parse_args(argv)
    name = "reinforcement-2" if args.second else "reinforcement"
    args.plot, args.json = args.plot or IMAGES / f"{name}.png", args.json or RESULTS / device_slug() / f"{name}.json"
    try:
        _ = args.asked or (ask_second_runs if args.second else ask_runs)(args.data, args.out)
    except RejectedInput as error:
        return refuse("python -m bench.reinforcement", str(error))
    report(args, name)
    return 0


def report(args: argparse.Namespace, name: str) -> None:
    """Write figures, plot and the page's tables."""
    steps = {run.name: rows for run in sorted(args.out.glob("*-*")) if (rows := over_steps(run, args.data))}
    first = {run: rows for run, rows in steps.items() if run in ("free-0", "required-0")}
    if args.second:
        found, settings = second.figures(args.out), dict(SECOND) | {"questions": SECOND_COUNTS}
        text, marks = second.results(found, first), (second.BEGIN, second.END)
    else:
        found, settings = figures(args.out), dict(SETTINGS) | {"questions": COUNTS}
        text, marks = results(found, first), (BEGIN, END)
    command = ["python", "-m", "bench.reinforcement", *(["--second"] if args.second else [])]
    write(record(name, command, settings, found | {"steps": steps}), args.json)
    if steps:
        draw(steps, args.plot)
    renew(args.page, text, marks)
    print(f"{args.json}, {args.page}" + (f", {args.plot}" if steps else ""))


if __name__ == "__main__":
    sys.exit(main())
