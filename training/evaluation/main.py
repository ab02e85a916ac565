"""Scores a bundle on pictures whose truth is known, through the robot's own pipeline: no torch, no second path.

    segzero eval --data tabletop --split test --seed 7 --count 2000 --samples run.jsonl --page run
    segzero eval --data tabletop --wording spoken
    segzero eval --data ReasonSeg --split val --bundle visionreasoner-7b --samples reasonseg.jsonl
    segzero eval --compare before.jsonl after.jsonl

Every sample counts; a row that cannot be read, an answer that cannot be, an engine that fails and a time that is up are
wrong answers with their code. A killed run goes on with --resume. docs/evaluation.md defines every figure.
"""

import hashlib
import json
import os
import platform
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from segzero_ros.bundle import MANIFEST, open_named_bundle
from segzero_ros.cli.offline import INSTALL
from segzero_ros.cli.options import add_engine_options, open_engines
from segzero_ros.cli.parser import OK, Parser, Renamed, at_least, missing
from training.data.base import Examples, unusable
from training.data.open import FORMATS, open_examples
from training.data.tabletop import open_tabletop
from training.evaluation import sealed
from training.evaluation.compare import compare, comparison_table
from training.evaluation.record import Record, read_samples, whole_lines
from training.evaluation.run import ask_all
from training.evaluation.spoken import SpokenExamples
from training.evaluation.summary import scores, summarise, table

if TYPE_CHECKING:
    from segzero_ros.tabletop.scene import Grammar

WORDINGS = ("template", "composed", "spoken")
WORLDS = ("simple", "rich")  # tabletop/scene.py's, which needs MuJoCo
TABLETOP_COUNT = 300  # scenes, unless told otherwise
EXAMPLES = (
    "segzero eval --data tabletop --split test --seed 7 --count 300",
    "segzero eval --data tabletop --wording composed --count 600",
    "segzero eval --data tabletop --wording spoken",
    "segzero eval --data tabletop --world rich",
    "segzero eval --data sealed --bundle mine",
    "segzero eval --count 2000 --samples run.jsonl --page run --out summary.json",
    "segzero eval --count 2000 --samples run.jsonl --resume",
    "segzero eval --compare before.jsonl after.jsonl",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    options = read_arguments(sys.argv[1:] if arguments is None else arguments)
    if options.compare:
        compared = compare(*options.compare)
        print(comparison_table(compared))
        write_json(options.out, compared)
        return OK
    try:
        return evaluate(options)
    except OSError as error:  # a full disk, say
        kept = f"; {str(options.samples)!r} has what is done: make room, then --resume" if options.samples else ""
        raise unusable(f"could not write or read ({error}){kept}") from None


def evaluate(options: Namespace) -> int:
    """Ask all questions and tell the figures."""
    check_folders(options.out, options.samples)
    check_page(options.page)
    if options.data == sealed.NAME:
        return take_sealed_test(options)
    if options.page and missing(["matplotlib"]):
        raise unusable(f"got --page, whose charts need matplotlib; {INSTALL}")
    examples = open_data(options)
    about = describe(options, len(examples))
    done = earlier(options, about, examples)
    records = [*done, *go_on(options, examples, about, done)]
    seconds = sum(record.milliseconds["total_ms"] for record in records) / 1000  # of all parts of a resumed run
    summary = about | {"seconds": round(seconds, 1)} | summarise(records)
    if options.also_spoken:
        summary["spoken"] = spoken_figures(options)
    print(table(summary))
    write_json(options.out, summary)
    if options.page:
        from training.evaluation.page import write_page

        print(f"page: {write_page(options.page, summary, records, examples)}")
    return OK


def take_sealed_test(options: Namespace) -> int:
    """Ask a bundle the questions that it is asked once, and write down its figures."""
    chosen = (options.samples, options.page, options.resume, options.count, options.also_spoken)
    if any(chosen) or options.world != "simple":
        raise unusable("got --data sealed with options that show or choose its questions; it takes --bundle and --out")
    sealed.refuse_a_second_time(fingerprint(options))
    examples = sealed.SealedExamples()
    about = describe(options, len(examples)) | {"seed": sealed.SEED, "wording": "sealed"}
    pipeline = open_engines(options)
    with Progress(None, about, [], len(examples)) as progress:
        records = list(ask_all(pipeline, examples, progress.seen, tokens_of=tokens_of(options)))
    summary = about | sealed.figures(records)
    sealed.write_down(about, summary, examples.questions_hash)
    print(table(summary | {"types": summary["parts"] | summary["types"]}))
    print(f"written down in {sealed.SCORES}; this bundle has taken the sealed test")
    write_json(options.out, summary)
    return OK


def check_folders(*files: Path | None) -> None:
    """Refuse a file that cannot be written before hours are spent on what belongs into it."""
    for file in files:
        if file and (file.is_dir() or not file.parent.is_dir()):
            raise unusable(f"got {str(file)!r}, want a file in a folder that is there; make the folder first")
    if len({file.resolve() for file in files if file}) < sum(map(bool, files)):
        raise unusable("got one file for --out and --samples, want two; the figures would write over the samples")


def check_page(folder: Path | None) -> None:
    """Refuse a folder of a page that cannot be made."""
    there = next((place for place in (folder, *folder.parents) if place.exists()), folder) if folder else None
    if there and not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise unusable(f"got --page {folder}, which cannot be made in {there}; name another one")


def go_on(options: Namespace, examples: Examples, about: dict[str, Any], done: Sequence[Record]) -> Iterator[Record]:
    """Ask what has not been asked yet; a full file of samples needs no engine."""
    if len(done) == len(examples):
        return
    pipeline = open_engines(options)
    with Progress(options.samples, about, done, len(examples)) as progress:
        how: dict[str, Any] = {"timeout_sec": options.timeout, "tokens_of": tokens_of(options)}
        yield from ask_all(pipeline, examples, progress.seen, start=len(done), **how)


def spoken_figures(options: Namespace) -> dict[str, Any]:
    """Return the figures of the commands by hand, as those of one group."""
    pipeline = open_engines(options)
    how: dict[str, Any] = {"timeout_sec": options.timeout, "tokens_of": tokens_of(options)}
    asked = ask_all(pipeline, SpokenExamples(), lambda _: None, **how)
    return scores(list(asked))


def tokens_of(options: Namespace) -> Callable[[str], int] | None:
    """Return what counts a text's tokens by the bundle's own tokenizer, local engine or server; None for the fakes."""
    file = None if options.backend == "fake" else open_named_bundle(options.bundle).reasoner.files.get("tokenizer")
    if file is None:
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def write_json(file: Path | None, values: dict[str, Any]) -> None:
    """Write figures as JSON where a file is named."""
    if file and file.exists() and not file.is_file():  # a device, a pipe: to be written, not to be replaced
        file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    elif file:
        fresh = file.with_name(f".{file.name}.partial")
        try:
            fresh.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
            fresh.replace(file)
        finally:
            fresh.unlink(missing_ok=True)


def read_arguments(arguments: Sequence[str]) -> Namespace:
    """Return the options of `segzero eval`."""
    parser = Parser(
        "segzero eval", "Score a bundle on pictures whose truth is known, through the robot's pipeline.", EXAMPLES
    )
    parser.add_argument(
        "--data", default="tabletop", metavar="SOURCE", help=f"{'; '.join(FORMATS)}; sealed: once (default tabletop)"
    )
    split = "as the data has them; tabletop's test (its default) has compositions and wordings never trained on"
    parser.add_argument("--split", default=None, metavar="NAME", help=split)
    parser.add_argument("--seed", type=at_least(0), default=7, help="another seed gives other scenes (default 7)")
    count = f"samples; tabletop: scenes, one question each (default {TABLETOP_COUNT}), else all there are"
    parser.add_argument("--count", type=at_least(1), default=None, help=count)
    wording = "template (default); composed: colour, kind, place, size, number joined; spoken: 100 commands by hand"
    parser.add_argument("--wording", choices=WORDINGS, default=WORDINGS[0], metavar="NAME", help=wording)
    world = "tabletop: simple (default), the shipped models' world; rich: more kinds, shapes, in, on, under"
    parser.add_argument("--world", choices=WORLDS, default=WORLDS[0], metavar="NAME", help=world)
    parser.add_argument("--also-spoken", action="store_true", help="ask those 100 as well; a row of their own")
    add_engine_options(parser)
    parser.add_argument("--timeout", type=at_least(0), default=0, metavar="SEC", help="seconds a question has (0: all)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--json", type=Path, dest="out", action=Renamed, new="--out")
    parser.add_argument("--samples", type=Path, metavar="FILE", help="write one JSON line per sample, each at once")
    parser.add_argument(
        "--page", type=Path, metavar="DIR", help="write DIR/index.html: figures, best, worst and failed"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the --samples file of a killed run")
    compared = "compare two --samples files over the same samples; evaluates nothing"
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("A", "B"), help=compared)
    options = parser.parse_args(arguments)
    if options.split is None:
        options.split = "test" if options.data == "tabletop" else ""
    return options


def open_data(options: Namespace) -> Examples:
    """Return the questions that the options ask for."""
    if options.world != "simple" and (options.data != "tabletop" or options.wording == "spoken"):
        raise unusable(f"got --world {options.world}; it is for --data tabletop with --wording template or composed")
    spoken = options.wording == "spoken"
    if options.data == "tabletop" and not spoken:
        grammar: Grammar = "composed" if options.wording == "composed" else "plain"
        return open_tabletop(options.split, options.seed, options.count or TABLETOP_COUNT, grammar, options.world)
    if options.wording == "template":
        return open_examples(options.data, split=options.split, seed=options.seed, count=options.count)
    if options.data != "tabletop" or options.split != "test":
        got = f"--wording {options.wording} with --data {options.data} --split {options.split}"
        where = "tabletop's test split" if spoken else "tabletop"
        raise unusable(f"got {got}; it is about {where}")
    return SpokenExamples(options.count)


def earlier(options: Namespace, about: dict[str, Any], examples: Examples) -> list[Record]:
    """Return the records of a killed run that --resume goes on with; a file of anything else is refused untouched."""
    file = options.samples
    if options.resume and not file:
        raise unusable("got --resume without --samples FILE; name the file to go on with")
    if not file or not file.exists():
        return []
    if not options.resume:
        raise unusable(f"got --samples {str(file)!r}, which is there; add --resume to go on with it, or move it")
    text = whole_lines(file)
    if not text and begun(file):
        return []
    run, records = read_samples(file)
    check_same_run(file, run, about, records)
    for record in (*records[:1], *records[-1:]):
        check_same_sample(file, record, examples)
    os.truncate(file, len(text.encode("utf-8")))  # a line cut short by the kill goes
    return records


def begun(file: Path) -> bool:
    """Tell whether a file without a whole line is what a kill in its first moment leaves."""
    return json.dumps({"run": {}})[:9].startswith(file.read_text(encoding="utf-8")[:9])


def check_same_run(file: Path, run: dict[str, Any], about: dict[str, Any], records: Sequence[Record]) -> None:
    """Raise ``RejectedInput`` CONFIG_VALUE, naming the first difference, unless the file is of the run now wanted."""
    run = {"world": "simple"} | run  # before 0.2 there was one
    for key in (*SAME_RUN, *(key for key in SETTINGS if key in run)):  # 0.1 wrote no settings
        if run.get(key) != about[key]:
            was, now = run.get(key), about[key]
            raise unusable(f"got {str(file)!r} of a run with {key} {was!r}, now {now!r}; repeat its options or move it")
    if [record.number for record in records] != list(range(len(records))):
        raise unusable(f"got {str(file)!r} with samples left out or out of order; move it and begin anew")


def check_same_sample(file: Path, record: Record, examples: Examples) -> None:
    """Raise CONFIG_VALUE where the data has another question, or another truth, than a sample was asked with."""
    if record.absent is None:  # its row could not be read then
        return
    example = examples[record.number]
    if (example.question, example.boxes) != (record.text, record.true_boxes):
        changed = f"whose data was changed since, sample {record.number} at least"
        raise unusable(f"got {str(file)!r}, {changed}; move it and begin anew")


# What makes two runs the same one, so that the second may go on where the first was killed.
SAME_RUN = ("data", "split", "seed", "count", "wording", "world", "bundle", "bundle_sha256", "backend", "timeout_sec")


# What the engine was opened with, beside its backend: the same answers are not to be had with others.
SETTINGS = ("server", "model", "provider", "draft_tokens", "free_answers")


class Progress:
    """Writes each record into the file of samples at once, and on a terminal how far it is and how many are right."""

    def __init__(self, file: Path | None, about: dict[str, Any], done: Sequence[Record], count: int) -> None:
        self._lines: TextIO | None = None
        self._done, self._right, self._count = len(done), sum(record.right for record in done), count
        self._began, self._before = time.monotonic(), len(done)
        if file:
            self._lines = file.open("a" if done else "w", encoding="utf-8")
            if not done:
                print(json.dumps({"run": about}), file=self._lines, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._lines:
            self._lines.close()

    def seen(self, record: Record) -> None:
        """Take the next record."""
        self._done, self._right = self._done + 1, self._right + record.right
        if self._lines:
            print(record.line(), file=self._lines, flush=True)
        if sys.stderr.isatty():
            rate = (time.monotonic() - self._began) / (self._done - self._before)
            left = f"{rate * (self._count - self._done) / 60:.1f} min left"
            end = "\n" if self._done == self._count else ""
            print(f"\r{self._done}/{self._count}, {self._right} right, {left} ", end=end, file=sys.stderr, flush=True)


def describe(options: Namespace, count: int) -> dict[str, Any]:
    """Return what is evaluated, when, and on which machine."""
    return {
        "data": options.data,
        "split": options.split,
        "seed": options.seed,
        "count": count,
        "wording": options.wording,
        "world": options.world,
        "bundle": Path(options.bundle).name,
        "bundle_sha256": fingerprint(options),
        "backend": options.backend,
        "timeout_sec": options.timeout,
        **{name: getattr(options, name) for name in SETTINGS},
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": f"{processor()}, {os.cpu_count()} cores",
    }


def fingerprint(options: Namespace) -> str:
    """Return a hash of what a bundle answers with (its files, prompt and profile), "" for the fakes without one."""
    if options.backend == "fake":
        return ""
    bundle = open_named_bundle(options.bundle)
    manifest = json.loads((bundle.path / MANIFEST).read_text(encoding="utf-8"))
    parts = {key: manifest.get(key) for key in ("files", "profile", "prompt", "system", "image_size")}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def processor() -> str:
    """Return the CPU's name as Linux tells it, else its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    sys.exit(main())
