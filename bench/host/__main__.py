"""`python -m bench.host`: the table of the engines' process, measured; written to bench/results/DEVICE/host.json."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from bench import record
from bench.host import border, ends, nodes
from segzero_ros.cli.parser import Parser, at_least


def main() -> int:
    """Measure what was asked for; everything unless some of it is named."""
    parser = Parser("python -m bench.host", __doc__ or "")
    parser.add_argument("--only", nargs="*", default=[], help="border, kills, hangs, loading, memory, turns")
    parser.add_argument("--count", type=at_least(5), default=60, help="commands per contestant (60)")
    parser.add_argument("--kills", type=at_least(1), default=200)
    parser.add_argument("--hangs", type=at_least(1), default=20)
    parser.add_argument("--loading", type=at_least(5), default=60, help="seconds that engines take to open (60)")
    parser.add_argument("--out", type=Path, default=record.RESULTS / record.device_slug() / "host.json")
    options = parser.parse_args()
    os.environ["ROS_DOMAIN_ID"] = str(60 + os.getpid() % 40)
    parts = {
        "border": lambda: {name: border.measure(name, options.count) for name in ("onnx", "fake")},
        "kills": lambda: ends.kills(options.kills),
        "hangs": lambda: ends.hangs(options.hangs),
        "loading": lambda: nodes.while_loading(options.loading),
        "memory": lambda: [nodes.memory(count) for count in (2, 4)],
        "turns": lambda: [nodes.turns(count) for count in (2, 4)],
    }
    figures: dict[str, Any] = json.loads(options.out.read_text())["figures"] if options.out.exists() else {}
    for name in options.only or parts:
        figures[name] = parts[name]()
        print(name, json.dumps(figures[name], indent=1), flush=True)
    settings = {name: getattr(options, name) for name in ("count", "kills", "hangs", "loading")}
    given = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    record.write(record.record("host", ["python", "-m", "bench.host", *given], settings, figures), options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
