"""`segzero data check`: names every row of a data set that cannot be used, and why; nothing on disk is changed.

Beyond what an example must be to be read at all (``training.data.open``): rows that contradict each other, and what the
profile's model could not say or see. The exit status is 0 when every row can be used, 1 when one cannot.
"""

from __future__ import annotations

import statistics
import sys
import zlib
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from segzero_ros.cli.parser import NOT_OK, OK, Parser, at_least
from segzero_ros.errors import RejectedInput
from segzero_ros.matching import Box
from segzero_ros.profile import PROFILES, Profile, get_profile
from training.data import from_recording
from training.data.base import Example, Examples, profile_faults
from training.data.open import FORMATS, Selection, open_examples

DEFAULT_PROFILE = "abstaining_v2"
EXAMPLES = (
    "segzero data check photos",
    "segzero data check photos --pictures sheets",
    "segzero data check ReasonSeg --split val --profile vision_reasoner_v2",
    "segzero data check photos/train.jsonl --image-size 196",
)
ABOUT = (
    "Check a data set before a training or an evaluation meets its first bad row: names each one, its fault and the "
    f"mend, and sums up the rest. DATA is one of: {'; '.join(FORMATS)}."
)
UP_TO = 240  # examples drawn on sheets, evenly over the data: 20 sheets, as many as anybody looks at


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["from-recording"]:
        return from_recording.main(arguments[1:])
    options = read_arguments(arguments)
    profile = chosen_profile(options)
    examples = open_examples(options.data, split=options.split, seed=options.seed, count=options.count)
    report = check(examples, profile, report_bad, progress(len(examples)))
    print(summary(examples, report, profile))
    if options.pictures:
        print(draw(examples, report, options.pictures))
    return NOT_OK if report.bad else OK


def read_arguments(arguments: Sequence[str]) -> Namespace:
    """Return the options of `segzero data`."""
    parser = Parser("segzero data", ABOUT, EXAMPLES)
    others = "or from-recording: rows of what a robot recorded (segzero data from-recording --help)"
    parser.add_argument("action", choices=["check", "from-recording"], metavar="check", help=others)
    parser.add_argument("data", metavar="DATA", help="a folder or file of one's own, or tabletop")
    parser.add_argument("--split", default="", metavar="NAME", help="train, val, test, as the data has them (all)")
    what = f"whose model is to learn it: {', '.join(PROFILES)} (default {DEFAULT_PROFILE})"
    parser.add_argument("--profile", choices=PROFILES, default=DEFAULT_PROFILE, metavar="NAME", help=what)
    size = "side of the square that its pictures are squashed to (default: the profile's; the demo models' is 196)"
    parser.add_argument("--image-size", type=at_least(28), metavar="N", help=size)
    parser.add_argument("--count", type=at_least(1), metavar="N", help="look at so many rows only, drawn by --seed")
    parser.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N", help="of that draw, or of tabletop's scenes"
    )
    where = "draw boxes, points, masks and questions on sheets in this folder, to be looked at"
    parser.add_argument("--pictures", type=Path, metavar="DIR", help=where)
    return parser.parse_args(arguments)


def chosen_profile(options: Namespace) -> Profile:
    """Return the profile that the options name, at the picture size they ask for."""
    profile = get_profile(options.profile)
    side = options.image_size
    return replace(profile, image_size=(side, side)) if side else profile


def report_bad(where: str, why: str) -> None:
    """Print a bad row."""
    print(f"{where}: {why}", flush=True)


def progress(total: int) -> Callable[[int], None]:
    """Return what shows how far the check is: a count, on a terminal only."""

    def show(done: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return show


@dataclass(slots=True)
class Report:
    """What was found: numbers of good and ``bad`` rows, and figures of the good ones."""

    good: list[int] = field(default_factory=list)
    bad: list[int] = field(default_factory=list)
    objects: list[int] = field(default_factory=list)  # per good row
    questions: set[str] = field(default_factory=set)
    sizes: list[tuple[int, int]] = field(default_factory=list)  # (width, height) per good row
    sides: list[float] = field(default_factory=list)  # shorter side of each box, pixels of the profile's picture
    masks: int = 0

    def count(self, number: int, example: Example, profile: Profile) -> None:
        """Add a good row."""
        self.good.append(number)
        self.objects.append(len(example.boxes))
        self.questions.add(example.question.lower())
        self.sizes.append(example.size)
        self.masks += example.mask is not None and bool(example.boxes)
        across, down = (frame / side for frame, side in zip(profile.image_size, example.size, strict=True))
        self.sides += [min((x1 - x0) * across, (y1 - y0) * down) for x0, y0, x1, y1 in example.boxes]


@dataclass(slots=True)
class Seen:
    """Rows before this one, to find those that are given twice or contradict each other."""

    ids: dict[str, str] = field(default_factory=dict)
    answers: dict[tuple[int, str], tuple[str, frozenset[Box]]] = field(default_factory=dict)  # by picture and question

    def faults(self, where: str, example: Example) -> list[str]:
        """Return what is wrong about this row given those before it, and remember it."""
        first = self.ids.setdefault(example.id, where)
        faults = [f"got the id {example.id!r}, which {first} has, too; give it another"] if first != where else []
        key, boxes = (zlib.crc32(example.rgb.tobytes()), example.question.lower()), frozenset(example.boxes)
        earlier, answer = self.answers.setdefault(key, (where, boxes))
        if answer != boxes:
            faults.append(f"got another answer to the same question about the same picture than {earlier}; keep one")
        return faults


def check(
    examples: Examples,
    profile: Profile,
    bad: Callable[[str, str], None],
    seen: Callable[[int], None] = lambda done: None,
) -> Report:
    """Look at every row; ``bad`` is told where and why for each that cannot be used, ``seen`` how many are done."""
    report, before = Report(), Seen()
    for number in range(len(examples)):
        try:
            example = examples[number]
            faults = [*before.faults(examples.where(number), example), *profile_faults(example, profile)]
        except RejectedInput as error:
            faults = [getattr(error, "why", error.detail)]
        if faults:
            report.bad.append(number)
            bad(examples.where(number), "; ".join(faults))
        else:
            report.count(number, example, profile)
        seen(number + 1)
    return report


def summary(examples: Examples, report: Report, profile: Profile) -> str:
    """Return the figures in a few lines for people."""
    lines = [examples.name, f"  rows       {len(examples)}, {len(report.bad) or 'none'} of them bad"]
    if report.good:
        lines += _figures(report, profile)
    lines += [f"  note       {note}" for note in notes(report, profile)]
    outcome = f"mend {len(report.bad)}, or leave them out" if report.bad else f"every row fits {profile.name}"
    return "\n".join([*lines, f"  so         {outcome}"])


def _figures(report: Report, profile: Profile) -> Iterable[str]:
    absent, rows = report.objects.count(0), len(report.objects)
    yield f"  questions  {len(report.questions)} different, {absent} with no such object ({100 * absent / rows:.0f} %)"
    several = sum(count > 1 for count in report.objects)
    yield f"  objects    {sum(report.objects)}, several at once in {several} rows; masks in {report.masks} rows"
    smallest, largest = (choose(report.sizes, key=lambda size: size[0] * size[1]) for choose in (min, max))
    yield f"  pictures   {smallest[0]} x {smallest[1]} to {largest[0]} x {largest[1]} pixels"
    if report.sides:
        low, middle, high = min(report.sides), statistics.median(report.sides), max(report.sides)
        frame = f"{profile.image_size[0]} x {profile.image_size[1]}"
        yield f"  boxes      shorter side {low:.0f} to {high:.0f} pixels at {frame}, half of them under {middle:.0f}"


def notes(report: Report, profile: Profile) -> Iterable[str]:
    """Yield what is no fault of a row, but of the whole."""
    absent = report.objects.count(0)
    if report.good and profile.abstains and not absent:
        yield 'no row says "no such object" (boxes []; COCO: neg_category_ids): it learns to find something everywhere'
    if absent * 2 > len(report.good):
        yield "more than half of the rows have no object: a model trained on this learns to answer []"


def draw(examples: Examples, report: Report, folder: Path) -> str:
    """Draw good rows on sheets, all or evenly spread ones; return what was done."""
    from training.data.sheet import write_sheets

    step = -(-len(report.good) // UP_TO) or 1
    chosen = Selection(examples, report.good[::step])
    files = write_sheets(chosen, folder)
    return f"{len(chosen)} of {len(report.good)} good rows on {len(files)} sheets in {folder}"


if __name__ == "__main__":
    sys.exit(main())
