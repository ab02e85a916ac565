"""Short GRPO runs that differ in one thing each: what every choice is worth on the demo world.

    python -m training.grpo.ablate --model checkpoints/tabletop --data DIR --val DIR --out runs/ablations

Each variant trains with every seed for the same number of steps and of completions per step, and answers the same
held-out questions before and after. Finished runs are kept: start again to go on. `--table` only prints the table of
what is there, as Markdown; `--json FILE` writes its figures.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segzero_ros.cli.parser import Parser, at_least
from segzero_ros.errors import Code, RejectedInput
from training.evaluation.intervals import interval

Values = NDArray[np.float64]

COMPLETIONS = 96  # per step, in every variant
GROUP = 8
FORCED = "Look: "
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "baseline": (),  # reward v3, groups of 8, KL 0, thinking
    "no thinking": ("--no-thinking",),
    "reward v2": ("--reward", "vision_reasoner_v2"),
    "reward v1 (soft)": ("--reward", "seg_zero_v1_soft"),
    "groups of 4": ("--samples", "4"),
    "groups of 16": ("--samples", "16"),
    "KL 1e-3": ("--kl", "1e-3"),
    "KL 5e-3": ("--kl", "5e-3"),
    "KL 1e-2": ("--kl", "1e-2"),
    "no length budget": ("--no-length-budget",),
    "vision tower trained": ("--no-freeze-vision",),
    "no word noise": ("--word-noise", "0", "--val-word-noise", "0.5"),
    f"thinking begins with {FORCED.strip()!r}": ("--prefix", FORCED),
}
FIGURES = {"hit": "hit", "box IoU": "iou", "mask IoU": "mask", "tokens": "tokens"}


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = read_arguments(argv)
    if not args.table:
        run_all(args)
    results = {name: figures(args.out, name, args.seeds) for name in VARIANTS}
    print(table({name: result for name, result in results.items() if result}))
    if args.json:
        args.json.write_text(
            json.dumps({"steps": args.steps, "seeds": args.seeds, "variants": results}, indent=1) + "\n"
        )


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Options; what follows `--` goes to every run of `segzero train grpo`."""
    parser = Parser("python -m training.grpo.ablate", __doc__ or "")
    parser.add_argument("--model", default="checkpoints/tabletop")
    parser.add_argument("--data", required=True)
    parser.add_argument("--val", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=at_least(1), default=40)
    parser.add_argument("--seeds", type=at_least(0), nargs="+", default=[0, 1])
    parser.add_argument("--questions", type=at_least(1), default=480, help="held-out questions, even over the kinds")
    parser.add_argument("--jobs", type=at_least(1, 256), default=1, help="runs side by side")
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("more", nargs="*", help="after --: options of every run")
    return parser.parse_args(argv)


def run_all(args: argparse.Namespace) -> None:
    """Train what is not yet there, seed by seed, so that a stopped series has all variants of the first seeds."""
    wanted = [(name, seed) for seed in args.seeds for name in VARIANTS if not finished(args.out, name, seed)]
    with ThreadPoolExecutor(args.jobs) as pool:
        for _ in pool.map(lambda one: run_one(args, *one), wanted):
            pass


def run_one(args: argparse.Namespace, name: str, seed: int) -> None:
    """One run in a process of its own, its output in a log; RejectedInput with the log's name when it fails."""
    out = folder(args.out, name, seed)
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "training.grpo", *options(args, name, seed)]
    began = time.monotonic()
    with (out / "run.log").open("w") as log:
        status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    if status:
        raise RejectedInput(
            Code.CONFIG_VALUE, f"the run {name!r}, seed {seed}, ended with {status}; see {out / 'run.log'}"
        )
    (out / "finished").touch()
    print(f"{name}, seed {seed}: {time.monotonic() - began:.0f} s", flush=True)


def options(args: argparse.Namespace, name: str, seed: int) -> list[str]:
    """The arguments of one run: the same number of completions per step whatever the size of the groups."""
    own = VARIANTS[name]
    group = int(own[own.index("--samples") + 1]) if "--samples" in own else GROUP
    pairs = {
        "model": args.model,
        "data": args.data,
        "val": args.val,
        "out": folder(args.out, name, seed),
        "steps": args.steps,
        "seed": seed,
        "prompts-per-step": COMPLETIONS // group,
        "evaluate-every": args.steps,
        "evaluate-count": args.questions,
        "save-every": args.steps,
    }
    return [str(word) for key, value in pairs.items() for word in (f"--{key}", value)] + [*args.more, *own]


def folder(out: Path, name: str, seed: int) -> Path:
    """Where a run lies."""
    plain = "".join(letter if letter.isalnum() or letter == "-" else "-" for letter in name.lower()).strip("-")
    return out / f"{plain}-seed{seed}"


def finished(out: Path, name: str, seed: int) -> bool:
    """Whether a run is there from start to end."""
    return (folder(out, name, seed) / "finished").exists()


def figures(out: Path, name: str, seeds: Sequence[int]) -> dict[str, Any]:
    """A variant's figures after training and what they changed by, with the interval over questions, seeds averaged.

    Empty where no run is finished. Hits also for several objects and for absent ones.
    """
    done = [seed for seed in seeds if finished(out, name, seed)]
    if not done:
        return {}
    runs = [rows(folder(out, name, seed)) for seed in done]
    before, after = runs[0][0], [last for _, last in runs]
    result: dict[str, Any] = {"seeds": done, "questions": len(before)}
    for title, key in FIGURES.items():
        start, ends = column(before, key), np.stack([column(last, key) for last in after])
        result[title] = {
            "start": round(float(start.mean()), 4),
            "end": [round(float(end.mean()), 4) for end in ends],
            "change": interval(ends.mean(0) - start),
        }
    for kind in ("several", "absent"):
        some = np.array([row["kind"] == kind for row in before])
        start, ends = column(before, "hit")[some], np.stack([column(last, "hit")[some] for last in after])
        result[f"{kind} hit"] = {
            "start": round(float(start.mean()), 4),
            "end": [round(float(end.mean()), 4) for end in ends],
            "change": interval(ends.mean(0) - start),
        }
    return result


def rows(run: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The held-out answers scored before and after a run, one per question in the same order."""
    first, *_, last = sorted((run / "held_out").glob("*.jsonl"))
    return tuple([json.loads(line) for line in path.read_text().splitlines()] for path in (first, last))  # type: ignore[return-value]


def column(scored: Sequence[Mapping[str, Any]], key: str) -> Values:
    """One figure of every question."""
    return np.array([float(row[key]) for row in scored])


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: after training, seed by seed, and in brackets the interval of the change from before.

    A variant that begins elsewhere than the first one (without thinking, say) shows from where.
    """
    titles = [*FIGURES, "several hit", "absent hit"]
    lines = ["| | " + " | ".join(titles) + " |", "|---|" + "---|" * len(titles)]
    first = next(iter(results.values()), {})
    if results:
        lines.append(
            "| before training | " + " | ".join(_value(title, first[title]["start"]) for title in titles) + " |"
        )
    for name, result in results.items():
        lines.append(f"| {name} | " + " | ".join(_cell(title, result[title], first[title]) for title in titles) + " |")
    return "\n".join(lines)


def _cell(title: str, figure: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    change, scale = figure["change"], 1 if title == "tokens" else 100
    ends = ", ".join(_value(title, end) for end in figure["end"])
    if _value(title, figure["start"]) != _value(title, first["start"]):
        ends = f"{_value(title, figure['start'])} -> {ends}"
    return f"{ends} ({scale * change['low']:+.1f} to {scale * change['high']:+.1f})"


def _value(title: str, value: float) -> str:
    return f"{value:.1f}" if title == "tokens" else f"{100 * value:.1f}"


if __name__ == "__main__":
    main()
