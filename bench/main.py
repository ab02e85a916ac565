"""Measures a bundle: where a command's time goes, and how that compares with what people would run instead.

    segzero bench                            # the stage table
    segzero bench --compare transformers     # against generate + Sam2Model, eager and compiled, in one run
    segzero bench --compare levers           # each lever on and off
    segzero bench --compare node             # ROS around the models
    segzero bench --compare quantised        # 8- and 4-bit weights of the language part
    segzero bench --all                      # all of these, into bench/results/, and from there into docs/speed.md

Everything compared is asked the same questions in turn within one run: on a busy machine times mean nothing, ratios do.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.record import RESULTS, device_slug, record, write
from export.queries import EvalQuery, tabletop_questions
from segzero_ros.bundle import Bundle, open_named_bundle
from segzero_ros.cli.options import add_bundle_options
from segzero_ros.cli.parser import OK, Parser, at_least, missing, refuse

COUNT = 60  # questions; the first few warm up and do not count
SEED = 7
EXAMPLES = (
    "segzero bench",
    "segzero bench --bundle visionreasoner-7b --count 20 --out mine.json",
    "segzero bench --compare transformers",
    "segzero bench --all",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    options = read_arguments(sys.argv[1:] if arguments is None else arguments)
    names = list(SUBJECTS) if options.all else [options.compare or "stages"]
    absent = missing({need for name in names for need in NEEDS.get(name, ())})
    if absent:
        return refuse("segzero bench", f"needs {', '.join(absent)}; run `make test` once, or install them")
    folder = RESULTS / device_slug()
    for name in names:
        result = measured(name, options)
        print(format_result(name, result["figures"]))
        path = options.out or (folder / f"{name}.json" if options.all else None)
        if path:
            write(result, path)
            print(f"written: {path}")
    if options.all:
        from bench.report import renew

        renew()
    return OK


def read_arguments(arguments: Sequence[str]) -> Namespace:
    """Return the options of `segzero bench`."""
    parser = Parser("segzero bench", "Measure a bundle: where a command's time goes, and against whom.", EXAMPLES)
    others = [name for name in SUBJECTS if name != "stages"]
    parser.add_argument("--compare", choices=others, metavar="WHAT", help=f"one of {', '.join(others)}")
    parser.add_argument(
        "--all", action="store_true", help="measure everything and renew bench/results and docs/speed.md"
    )
    add_bundle_options(parser)
    parser.add_argument("--count", type=at_least(8), default=COUNT, help=f"questions (default {COUNT})")
    parser.add_argument("--seed", type=at_least(0), default=SEED, help=f"of the rendered tables (default {SEED})")
    parser.add_argument(
        "--threads", type=at_least(0), default=0, help="CPU threads of both sides; 0: each one's choice"
    )
    parser.add_argument(
        "--eager-only", action="store_true", help="transformers: leave out torch.compile, which takes minutes"
    )
    checkpoint = (
        "transformers: the checkpoint the bundle was made from (default: rebuilt from the demo bundle's graphs)"
    )
    parser.add_argument("--reasoner", type=Path, metavar="DIR", help=checkpoint)
    parser.add_argument("--segmenter", type=Path, metavar="DIR", help="the same for SAM 2")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures as JSON")
    options = parser.parse_args(arguments)
    if options.all and (options.compare or options.out):
        parser.error("--all measures everything into bench/results; leave out --compare and --out")
    return options


def measured(name: str, options: Namespace) -> dict[str, Any]:
    """Measure one subject and return its record."""
    figures = SUBJECTS[name](options)
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
    command = ["segzero", "bench", *([] if name == "stages" else ["--compare", name])]
    changed = {
        key: settings[key]
        for key, usual in (("count", COUNT), ("seed", SEED), ("threads", 0))
        if settings[key] != usual
    }
    command += [word for key, value in changed.items() for word in (f"--{key}", str(value))]
    return record(
        name, command, {key: settings[key] for key in ("bundle", "backend", "count", "seed", "threads")}, figures
    )


def bundle_of(options: Namespace) -> Bundle | None:
    """Open the bundle the options name; the fakes need none."""
    return None if options.backend == "fake" else open_named_bundle(options.bundle)


def questions_of(options: Namespace) -> list[EvalQuery]:
    """Render the questions."""
    return tabletop_questions(options.count, options.seed)


# ---- what can be measured; engines and torch are imported only where they are asked for ----


def stages(options: Namespace) -> dict[str, Any]:
    """Measure the stage table."""
    from bench.stages import measure
    from segzero_ros.backends import EngineOptions

    engines = EngineOptions(threads=options.threads)
    return measure(bundle_of(options), questions_of(options), backend=options.backend, options=engines)


def transformers(options: Namespace) -> dict[str, Any]:
    """Measure ours against the paper's own way."""
    from bench.transformers_side import measure

    return measure(
        _bundle(options),
        questions_of(options),
        threads=options.threads,
        backend=options.backend,
        compiled=not options.eager_only,
        reasoner=options.reasoner,
        segmenter=options.segmenter,
    )


def levers(options: Namespace) -> dict[str, Any]:
    """Measure each lever on and off."""
    from bench.levers import measure

    return measure(_bundle(options), questions_of(options), threads=options.threads, backend=options.backend)


def quantised(options: Namespace) -> dict[str, Any]:
    """Measure the bundle with fewer bits per weight."""
    from bench.quantised_side import measure

    return measure(_bundle(options), questions_of(options), threads=options.threads)


def around_the_models(options: Namespace) -> dict[str, Any]:
    """Measure the node without its models, and with a camera nobody speaks to."""
    import tempfile

    from bench import node

    with node.ros() as rclpy, tempfile.TemporaryDirectory(prefix="segzero-bench-") as logs:
        return {
            "overhead": node.overhead(rclpy, options.count),
            "idle": node.idle(rclpy, backend="onnx", logs=Path(logs)),
        }


def _bundle(options: Namespace) -> Bundle:
    bundle = bundle_of(options)
    if bundle is None:
        raise SystemExit(refuse("segzero bench", "got --backend fake, want a backend with models"))
    return bundle


SUBJECTS: Mapping[str, Callable[[Namespace], dict[str, Any]]] = {
    "stages": stages,
    "transformers": transformers,
    "levers": levers,
    "node": around_the_models,
    "quantised": quantised,
}
NEEDS = {"transformers": ("torch", "transformers", "onnx"), "node": ("rclpy",), "quantised": ("torch", "onnx")}


def format_result(name: str, figures: Mapping[str, Any]) -> str:
    """Return figures for a terminal."""
    if name == "stages":
        from bench.stages import table

        return table(figures)
    from bench.report import TABLES

    return TABLES[name](figures)


if __name__ == "__main__":
    sys.exit(main())
