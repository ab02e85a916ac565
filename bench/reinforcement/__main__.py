"""Ask all runs of the study, and write figures, tables and plot.

python -m bench.reinforcement --data runs/study/data --out runs/study --page docs/reinforcement.md
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.record import RESULTS, device_slug, record, write
from bench.reinforcement.figures import figures, over_steps
from bench.reinforcement.page import draw, renew, results
from segzero_ros.cli.parser import Parser, refuse
from segzero_ros.errors import RejectedInput
from training.grpo.study.answers import COUNTS, ask_runs
from training.grpo.study.arms import SETTINGS

ROOT = Path(__file__).resolve().parents[2]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; a folder without runs is one line and status 2."""
    parser = Parser("python -m bench.reinforcement", __doc__ or "")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="what the study's `data` made")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the runs")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "reinforcement.md", metavar="FILE")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "images" / "reinforcement.png", metavar="FILE")
    parser.add_argument("--json", type=Path, default=RESULTS / device_slug() / "reinforcement.json", metavar="FILE")
    parser.add_argument("--asked", action="store_true", help="ask nothing: report what is there")
    args = parser.parse_args(argv)
    try:
        _ = args.asked or ask_runs(args.data, args.out)
    except RejectedInput as error:
        return refuse("python -m bench.reinforcement", str(error))
    found = figures(args.out)
    steps = {run.name: rows for run in sorted(args.out.glob("*-*")) if (rows := over_steps(run, args.data))}
    settings = dict(SETTINGS) | {"questions": COUNTS}
    whole = record("reinforcement", ["python", "-m", "bench.reinforcement"], settings, found | {"steps": steps})
    write(whole, args.json)
    if steps:
        draw(steps, args.plot)
    first = {name: rows for name, rows in steps.items() if name == "free-0"}
    renew(args.page, results(found, first))
    print(f"{args.json}, {args.page}" + (f", {args.plot}" if steps else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
