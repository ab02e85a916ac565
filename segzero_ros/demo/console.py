"""`make console`: the demo world, a node that looks at it, and the console, on one machine.

For a person with a browser: nothing of ROS has to be known. It ends with Ctrl-C, and nothing of it is left behind.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from segzero_ros.cli.options import add_bundle_options
from segzero_ros.cli.parser import Parser, at_least, missing, refuse
from segzero_ros.demo.__main__ import (
    FAILED,
    IMAGE_QOS,
    INTERRUPTED,
    MOST_SEED,
    NEEDS,
    SEED,
    checked_bundle,
    replaced,
    surroundings,
)
from segzero_ros.demo.process_group import ProcessDiedError, ProcessGroup
from segzero_ros.errors import RejectedInput
from segzero_ros.ros import processes

POLL_S = 0.2
START_S = 60.0  # for the console to listen
SCENARIO = "demo"
RECORD_S = 15.0  # that the button saves: a person takes a while to press it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything until Ctrl-C; return the exit status."""
    options = read_arguments(sys.argv[1:] if arguments is None else arguments)
    absent = missing((*NEEDS, "starlette", "uvicorn", "websockets", "mcap"))
    if absent:
        return refuse("console", f"needs {', '.join(absent)}; run `make console`, which brings all of it along")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    os.environ.update(surroundings())
    try:
        with (
            ProcessGroup(options.out / "logs") as group,
            tempfile.TemporaryDirectory(prefix="segzero_console_") as place,
        ):
            start_all(options, group, Path(place))
            print(wait_for_console(options, group), flush=True)
            while True:
                group.check()
                time.sleep(POLL_S)
    except OSError as error:
        return refuse("console", f"could not write below {options.out} ({error.strerror or error}); give another --out")
    except RejectedInput as error:
        return refuse("console", str(error))
    except ProcessDiedError as error:
        print(f"the console's demo ended early: {error}", file=sys.stderr, flush=True)
        return FAILED
    except KeyboardInterrupt:
        print("\nstopped; all processes have ended")
        return INTERRUPTED


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options."""
    parser = Parser("python -m segzero_ros.demo.console", (__doc__ or "").splitlines()[0])
    add_bundle_options(parser)
    parser.add_argument("--port", type=at_least(0, 65535), default=8080, metavar="N", help="default 8080")
    parser.add_argument(
        "--seed", type=at_least(0, 100 * MOST_SEED), default=SEED * 100, help="another seed gives another table"
    )
    parser.add_argument("--rate", type=at_least(1, 60), default=10, metavar="HZ", help="of the camera (10)")
    parser.add_argument(
        "--out", type=Path, default=Path("demo_out"), metavar="DIR", help="where logs and recordings go (demo_out)"
    )
    return parser.parse_args(arguments)


def start_all(options: argparse.Namespace, group: ProcessGroup, place: Path) -> None:
    """Start the engines' host, the node, the camera and the console; ``place``: for the host's socket."""
    bundle = checked_bundle(options)
    recordings = str((options.out / "recordings").resolve())
    socket = str(place / "host.sock")
    group.start(
        "host", processes.engine_host(socket, bundle=bundle, backend=options.backend).command_line(), os.environ
    )
    node = processes.node(bundle=bundle, backend=options.backend, host=socket, record="failures")
    node = replaced(node, image_qos=IMAGE_QOS, record_dir=recordings, record_sec=RECORD_S)
    group.start("node", node.command_line(), os.environ)
    camera = replaced(processes.tabletop_camera(scenario=SCENARIO, seed=options.seed), rate=float(options.rate))
    group.start("camera", camera.command_line(), os.environ)
    words = ("--port", str(options.port), "--corrections", str((options.out / "corrections").resolve()))
    group.start("console", processes.console(*words).command_line(), os.environ)


def wait_for_console(options: argparse.Namespace, group: ProcessGroup) -> str:
    """Return the line that says where the console is."""
    log, until = options.out / "logs" / "console.log", time.monotonic() + START_S
    while time.monotonic() < until:
        group.check()
        said = [line for line in log.read_text("utf-8", "replace").splitlines() if "http://" in line]
        if said:
            return f"open {said[0].rpartition(' ')[2]} in a browser; Ctrl-C ends everything"
        time.sleep(POLL_S)
    raise ProcessDiedError(f"the console does not listen after {START_S:.0f} s; see {log}")


if __name__ == "__main__":
    sys.exit(main())
