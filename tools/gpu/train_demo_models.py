"""The demo models trained in minutes on one GPU machine without a network; all of it tried on a CPU beforehand.

    python3 tools/gpu/train_demo_models.py collect                        # where there is a network: the wheels
    python3 tools/gpu/train_demo_models.py check                          # on the GPU machine: what it has and lacks
    python3 tools/gpu/train_demo_models.py train --seconds 560 --out OUT  # there: render, train, evaluate, pack
    python3 tools/gpu/train_demo_models.py join OUT --into runs/gpu       # here: the checkpoints out of the pieces
    python3 tools/gpu/train_demo_models.py train --rehearse --out OUT     # all of it at toy size on a CPU

What `--` is followed by goes to the reasoner's training (`segzero train reasoner --help`). A stop at any moment loses
a minute at most: OUT always holds one whole set of weights. Exit status: 0; 1 if a training failed; 2 if something is
missing, in one line; 130 if stopped.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import carried
import gpu_machine
import gpu_run
import pieces

INTERRUPTED = 130


def main(arguments: list[str]) -> int:
    """Command line."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (carried.MissingError, pieces.DamagedError) as error:
        print(f"train_demo_models: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True)
    collect = commands.add_parser("collect", help="download the wheels that a GPU machine lacks")
    collect.add_argument("--python", default="3.12", help="that machine's Python (default 3.12)")
    collect.set_defaults(run=_collect)
    check = commands.add_parser("check", help="say what this machine has and what it lacks")
    check.set_defaults(run=_check)
    install = commands.add_parser("install", help="put the carried wheels into a folder for PYTHONPATH")
    install.add_argument("site", type=Path)
    install.set_defaults(run=_install)
    join = commands.add_parser("join", help="put the files of a run together again")
    join.add_argument("folder", type=Path)
    join.add_argument("--into", type=Path, required=True)
    join.set_defaults(run=_join)
    train = commands.add_parser("train", help="render, train, evaluate and pack until a deadline")
    train.add_argument("--out", type=Path, required=True, help="where the pieces go")
    train.add_argument("--seconds", type=float, default=560.0, help="from now to the end of all of it (default 560)")
    train.add_argument("--segmenter-share", type=float, default=0.2, help="of the training time (default 0.2; 0: none)")
    train.add_argument("--start", type=Path, help="checkpoint of the reasoner, or a bundle, to begin from")
    train.add_argument("--work", type=Path, help="where pictures and runs go (default: a new temporary folder)")
    train.add_argument("--pictures", type=int, default=200_000, help="most pictures to render (default 200000)")
    train.add_argument("--shape", default="demo", choices=tuple(gpu_run.SHAPES), help="of the reasoner (demo)")
    train.add_argument("--world", default="simple", choices=("simple", "rich"), help="of the pictures (simple)")
    train.add_argument("--rehearse", action="store_true", help="toy size on the CPU, without the carried wheels")
    train.add_argument("reasoner", nargs="*", metavar="-- OPTION", help="options of the reasoner's training")
    train.set_defaults(run=_train)
    return parser


def _collect(options: argparse.Namespace) -> int:
    found = carried.collect(options.python)
    for path in found:
        print(f"{path.stat().st_size / 2**20:6.1f} MiB  {path.name}")
    return 0


def _install(options: argparse.Namespace) -> int:
    print(f"{carried.install(options.site)} carried wheels are installed; use them with PYTHONPATH={options.site}:.")
    return 0


def _check(_: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="segzero-site-") as folder:
        site = Path(folder)
        carried.install(site)
        for line in gpu_machine.report(gpu_machine.environment(site), need_cuda=True):
            print(line)
    return 0


def _join(options: argparse.Namespace) -> int:
    for path in pieces.join(options.folder, options.into):
        print(path)
    return 0


def _train(options: argparse.Namespace) -> int:
    began = time.monotonic()
    gpu_run.check_options(options.shape, options.reasoner)
    work = (options.work or Path(tempfile.mkdtemp(prefix="segzero-gpu-"))).resolve()
    work.mkdir(parents=True, exist_ok=True)
    start = options.start and options.start.resolve()
    site = work / "site"
    if not options.rehearse:
        print(f"{carried.install(site)} carried wheels are installed", flush=True)
    environment = gpu_machine.environment(site)
    for line in gpu_machine.report(environment, need_cuda=not options.rehearse):
        print(line, flush=True)
    pictures = min(options.pictures, gpu_run.room_for(work, options.shape))
    size = gpu_run.TOY if options.rehearse else gpu_run.real_size(os.cpu_count() or 2, pictures)
    seconds = options.seconds - (time.monotonic() - began)  # installing and looking took some
    work_run = gpu_run.Run(size, work, options.out, seconds, environment, options.shape, options.world)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: work_run.stop())
    done = work_run.run(start, options.segmenter_share, options.reasoner)
    return INTERRUPTED if work_run.stopped else 0 if done else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
