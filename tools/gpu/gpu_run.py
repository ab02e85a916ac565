"""One run on a GPU machine, by a deadline: renderers, the reasoner's training, the segmenter's, what goes back."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pieces
from carried import ROOT, MissingError

sys.path.insert(0, str(ROOT))
from training.demo_models.recipes.reasoner import read_arguments
from training.demo_models.recipes.shapes import SHAPES

LOOK_S = 1.0  # between two looks at what is going on
FIRST_SHARDS_S = 120.0  # until pictures must be there
LEAST_TRAINING_S = 5.0
GRACE_S = 15.0  # for a training to save when it is asked to end
MOST_BYTES = 60 * pieces.MIB  # that come back
FAILURES = 3
DISK_SHARE = 0.7  # of what is free that pictures take at most


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything: `renderers` processes make shards of `count` pictures, `shards` each.

    `whole`: renderers whose pictures stay whole, for the segmenter. `workers` prepare steps. `start_s`: what it takes
    a training to begin; `end_s`: evaluating and packing at the end. `reasoner`, `segmenter`: options of the trainings.
    """

    device: str
    renderers: int
    whole: int
    shards: int
    whole_shards: int
    count: int
    val_count: int
    first: int
    workers: int
    start_s: float
    end_s: float
    reasoner: dict[str, int | float]
    segmenter: dict[str, int | float]


TOY = Size(
    *("cpu", 1, 1, 3, 3, 6, 4, 1, 1),
    *(15.0, 5.0),
    {"--images-per-step": 2, "--questions": 2, "--vision-images": 2, "--vision-steps": 10, "--steps": 100,
     "--pictures-on-device": 40, "--evaluate-count": 3},
    {"--images-per-step": 1, "--prompts-per-image": 2},
)  # fmt: skip


def real_size(cores: int, pictures: int) -> Size:
    """For a GPU beside so many cores: a third of them render, half prepare steps."""
    renderers, workers, count, whole = max(2, cores // 3), max(1, cores // 2), 250, 2
    whole_shards = 20
    return Size(
        *("cuda", renderers, whole, max(1, pictures // count // renderers), whole_shards, count, 300, renderers),
        *(workers, 20.0, 35.0),
        {"--images-per-step": 256, "--questions": 4, "--vision-images": 512, "--evaluate-count": 600,
         "--evaluate-every": 3000, "--pictures-on-device": pictures},
        {"--images-per-step": 48, "--prompts-per-image": 5},
    )  # fmt: skip


def room_for(folder: Path, shape: str) -> int:
    """How many pictures fit beside `folder`."""
    return int(DISK_SHARE * shutil.disk_usage(folder).free / (4 * SHAPES[shape].size ** 2))


def check_options(shape: str, options: list[str]) -> None:
    """End the process as the reasoner's training would, now instead of when pictures are there."""
    read_arguments(["--data", "D", "--val", "D", "--out", "D", "--shape", shape, *options])


class Run:
    """Everything that runs between now and the deadline; `stop` ends it early, with what is learned so far."""

    def __init__(
        self,
        size: Size,
        work: Path,
        out: Path,
        seconds: float,
        env: dict[str, str],
        shape: str = "demo",
        world: str = "simple",
    ) -> None:
        self.size, self.work, self.out, self.env, self.shape, self.world = size, work, out, env, shape, world
        self.deadline = time.monotonic() + seconds
        self.stopped = False
        self.packed = 0.0
        self.renderers: dict[str, subprocess.Popen[bytes]] = {}
        self.rendering: dict[str, list[str]] = {}  # what each was begun with
        self.failed: Counter[str] = Counter()
        self.followed: set[str] = set()
        work.mkdir(parents=True, exist_ok=True)

    def stop(self) -> None:
        """Ask for the end."""
        self.stopped = True

    @property
    def left(self) -> float:
        """Seconds to the deadline."""
        return self.deadline - time.monotonic()

    def run(self, start: Path | None, segmenter_share: float, reasoner_options: list[str]) -> bool:
        """All of it; whether both trainings ended well."""
        began = time.monotonic()
        with self._rendering():
            reasoner = self._reasoner_command(start, reasoner_options)
            self._wait_for_shards()
            self._say(f"{self._rendered()} pictures after {time.monotonic() - began:.0f} s")
            share = 0.0 if segmenter_share <= 0 else segmenter_share
            reasoner_s = (self.left - self.size.end_s) * (1 - share)
            done = self._train("reasoner", reasoner_s, reasoner)
            if share and not self.stopped:
                done &= self._train("segmenter", self.left - self.size.end_s / 2, self._segmenter_command())
            self._say(f"{self._rendered() / (time.monotonic() - began):.1f} pictures rendered a second, on average")
        self._pack(states=True)
        return done

    # ---- pictures ----

    @contextmanager
    def _rendering(self) -> Iterator[None]:
        """Renderers at work; they end with the block."""
        val = ["--out", self._data("val"), "--split", "val", "--count", str(self.size.val_count), "--shards", "1"]
        try:
            self._render("render-val", val)
            for number in range(self.size.renderers):
                self._render(f"render-{number}", self._share(number, whole=number < self.size.whole))
            yield
        finally:
            for process in self.renderers.values():
                _end(process)

    def _render(self, name: str, words: list[str]) -> None:
        self.rendering[name] = words
        module = ["training.demo_models.render_tabletop", *words, "--world", self.world]
        self.renderers[name] = self._begin(name, module)

    def _share(self, number: int, *, whole: bool, first: int = 0) -> list[str]:
        """What one renderer makes: whole pictures, or such as the reasoner sees; `first`: its first shard."""
        size = self.size
        words = ["--out", self._data("train"), "--count", str(size.count), "--start", str(number * 10_000 + first)]
        words += ["--shards", str(size.whole_shards if whole else size.shards), "--grammar", "mixed"]
        return words if whole else [*words, "--squash", str(SHAPES[self.shape].size)]

    def _render_on(self) -> None:
        """Renderers that have made their whole pictures go on with others; one that failed is begun again, twice."""
        whole = {f"render-{number}": number for number in range(self.size.whole)}
        for name, process in list(self.renderers.items()):
            status = process.poll()
            if status == 0 and name in whole and name not in self.followed:
                self.followed.add(name)
                self._render(name, self._share(whole[name], whole=False, first=self.size.whole_shards))
            elif status:
                self.failed[name] += 1
                self._say(f"{name}: status {status}; {self._last_words(name)}")
                del self.renderers[name]
                if self.failed[name] < FAILURES:
                    self._render(name, self.rendering[name])

    def _wait_for_shards(self) -> None:
        until = time.monotonic() + min(FIRST_SHARDS_S, self.left / 2)
        while not self.stopped:
            self._render_on()
            found = len(list((self.work / "data" / "train").glob("shard-*")))
            if found >= self.size.first and list((self.work / "data" / "val").glob("shard-*")):
                return
            hopeless = "render-val" not in self.renderers or len(self.renderers) == 1
            if hopeless or time.monotonic() > until:
                raise MissingError(f"no pictures came in time; {self._last_words('render-0', 'render-val')}")
            time.sleep(LOOK_S / 4)

    def _rendered(self) -> int:
        return self.size.count * len(list((self.work / "data" / "train").glob("shard-*")))

    def _data(self, split: str) -> str:
        return str(self.work / "data" / split)

    # ---- trainings ----

    def _reasoner_command(self, start: Path | None, more: list[str]) -> Callable[[float, int], list[str]]:
        begun = [] if start is None else ["--start", str(self._fitting(self._checkpoint_of(start)))]

        def command(seconds: float, failures: int) -> list[str]:
            words = self._common("reasoner", seconds, failures, self.size.reasoner)
            words += ["--val", self._data("val"), "--shape", self.shape, *begun, *more]
            return ["training.demo_models.pretrain_reasoner", *words]

        return command

    def _segmenter_command(self) -> Callable[[float, int], list[str]]:
        def command(seconds: float, failures: int) -> list[str]:
            words = self._common("segmenter", seconds, failures, self.size.segmenter)
            return ["training.demo_models.pretrain_segmenter", *words, "--val", self._data("val")]

        return command

    def _common(self, name: str, seconds: float, failures: int, options: dict[str, int | float]) -> list[str]:
        """Options of both; after a failure, most likely of memory, half of the pictures.

        The clock of a resumed training goes on where it was saved, so these seconds come on top.
        """
        checkpoint = self.work / name / "checkpoint"
        resumed = failures > 0 and checkpoint.exists()
        seconds += _seconds_used(checkpoint) if resumed else 0.0
        pictures = max(1, int(options["--images-per-step"]) >> failures)
        chosen = options | {"--images-per-step": pictures}
        words = [word for option, value in chosen.items() for word in (option, str(value))]
        words += ["--data", self._data("train"), "--out", str(self.work / name)]
        words += ["--device", self.size.device, "--workers", str(self.size.workers), "--seconds", f"{seconds:.1f}"]
        return [*words, "--resume"] if resumed else words

    def _checkpoint_of(self, start: Path) -> Path:
        """A checkpoint as it is, a bundle's weights as one."""
        if not (start / "bundle.json").exists():
            return start
        program = (
            "import sys, pathlib; from bench.checkpoint_of_bundle import write_checkpoints; "
            "from segzero_ros.bundle import open_bundle; "
            "write_checkpoints(open_bundle(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2]))"
        )
        folder = self.work / "start"
        command = [sys.executable, "-c", program, str(start.resolve()), str(folder)]
        if subprocess.run(command, env=self.env, cwd=ROOT, check=False).returncode:
            raise MissingError(f"{start}: its weights could not be taken (see above); give a checkpoint")
        return folder / "reasoner"

    def _fitting(self, checkpoint: Path) -> Path:
        """The checkpoint, if a reasoner of this run's shape can begin with it; deeper ones can, wider ones cannot."""
        try:
            text = json.loads((checkpoint / "config.json").read_text("utf-8"))["text_config"]
            width, layers = int(text["hidden_size"]), int(text["num_hidden_layers"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MissingError(f"{checkpoint}: is no checkpoint of a reasoner ({error!r}); give one") from None
        shape = SHAPES[self.shape]
        if width != shape.width or not layers <= shape.layers <= 2 * layers:
            raise MissingError(
                f"{checkpoint}: {width} wide with {layers} layers, which --shape {self.shape} cannot begin with "
                f"({shape.width} wide, {shape.layers} layers); leave --start away or give another --shape"
            )
        return checkpoint

    def _train(self, name: str, seconds: float, command: Callable[[float, int], list[str]]) -> bool:
        """One training until its time is over; begun again where it was saved when it ends before that."""
        until = time.monotonic() + seconds
        for failures in range(FAILURES):
            if self.stopped:
                return False
            left = until - time.monotonic() - self.size.start_s
            if left < LEAST_TRAINING_S:
                self._say(f"{name}: {max(0, left):.0f} s are left, which is too little to train")
                return False
            self._say(f"{name}: {left:.0f} s of training")
            process = self._begin(name, command(left, failures))
            if self._watch(process, min(until + self.size.end_s, self.deadline - self.size.end_s / 3)) == 0:
                self._say(self._figures(name))
                return True
            if self.stopped:
                return False
            self._say(f"{name}: status {process.returncode}; {self._last_words(name)}")
        return False

    def _watch(self, process: subprocess.Popen[bytes], until: float) -> int:
        """Wait for a training and pack what it saves; past its time it is asked to end. Returns its status."""
        try:
            while process.poll() is None and not self.stopped and time.monotonic() < until:
                self._pack_new()
                self._render_on()
                time.sleep(LOOK_S)
        finally:
            _end(process, GRACE_S)
        return process.returncode

    # ---- what goes back ----

    def _pack_new(self) -> None:
        """Pack once a newer checkpoint is there."""
        saved = [path.stat().st_mtime for path in self.work.glob("*/checkpoint") if path.is_dir()]
        if saved and max(saved) > self.packed:
            try:
                self._pack(states=False)
            except FileNotFoundError:  # saved anew at this very moment: next time
                return
            except OSError as error:
                self._say(f"nothing was packed: {error}")
            self.packed = max(saved)

    def _pack(self, *, states: bool) -> None:
        """Weights and logs; with `states` what a resumed run needs, too, as long as there is room."""
        found = {path.relative_to(self.work).as_posix(): path for path in self._worth_keeping()}
        room = MOST_BYTES - sum(path.stat().st_size for path in found.values())
        later = [*self.work.glob("*/checkpoint/*.pt"), *self.work.glob("*/state.pt")] if states else []
        for path in sorted(later, key=lambda path: path.stat().st_size):
            room -= path.stat().st_size
            if room < 0:
                self._say(f"{path.relative_to(self.work)} stays behind: it does not fit")
                continue
            found[path.relative_to(self.work).as_posix()] = path
        names = pieces.pack(found, self.out)
        if states:
            self._say(f"{len(found)} files in {len(names)} pieces in {self.out}")

    def _worth_keeping(self) -> list[Path]:
        weights = [path for path in self.work.glob("*/checkpoint/*") if path.suffix != ".pt"]
        return sorted([*weights, *self.work.glob("*/log.jsonl"), *self.work.glob("*.log")])

    def _figures(self, name: str) -> str:
        """The last line of a training's log that has each of the figures worth saying."""
        log = self.work / name / "log.jsonl"
        rows = [json.loads(line) for line in log.read_text("utf-8").splitlines()] if log.exists() else []
        said = {key: row[key] for row in rows for key in ("step", "pictures_per_s", "waiting") if key in row}
        held = next((row["held_out"]["all"] for row in reversed(rows) if "held_out" in row), None)
        iou = next((row["held_out_iou"] for row in reversed(rows) if "held_out_iou" in row), None)
        said |= {"held_out": held} if held else {}
        return f"{name}: {json.dumps(said | ({'held_out_iou': iou} if iou is not None else {}))}"

    # ---- processes ----

    def _begin(self, name: str, module: list[str]) -> subprocess.Popen[bytes]:
        with (self.work / f"{name}.log").open("ab") as log:
            return subprocess.Popen([sys.executable, "-m", *module], env=self.env, cwd=ROOT, stdout=log, stderr=log)

    def _last_words(self, *names: str) -> str:
        logs = [self.work / f"{name}.log" for name in names]
        lines = [log.read_text("utf-8", "replace").strip().splitlines() for log in logs if log.exists()]
        return "; ".join(line[-1][:300] for line in lines if line) or f"see {self.work}"

    def _say(self, text: str) -> None:
        print(f"[{max(0.0, self.left):5.0f} s left] {text}", flush=True)


def _seconds_used(checkpoint: Path) -> float:
    """What a training by the clock had used when it was saved; 0 where that cannot be read."""
    try:
        return float(json.loads((checkpoint / "training.json").read_text("utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _end(process: subprocess.Popen[bytes], grace_s: float = 5.0) -> None:
    """Ask a process to end, and end it when it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
