"""Folders that are replaced whole: on the disk before they get their name, the one before kept until then."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from segzero_ros.errors import Code, RejectedInput


@contextmanager
def written(place: Path, mend: str) -> Iterator[None]:
    """Say in one line (``RejectedInput``) that `place` could not be written, whatever the library calls a full disk."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        said = str(error).strip().partition("\n")[0][:200]
        raise RejectedInput(Code.CONFIG_VALUE, f"could not write {place} ({said}); {mend}") from None


def replace_folder(fresh: Path, place: Path, *, keep: bool = False) -> None:
    """Rename `fresh` to `place`; what was there goes to `place`.old first and is removed after, or kept with `keep`.

    A power cut leaves `place`, or `place`.old alone, which `recover_folder` brings back.
    """
    sync_folder(fresh)
    old = _old(place)
    if place.exists():
        shutil.rmtree(old, ignore_errors=True)
        place.replace(old)
    fresh.replace(place)
    _sync(place.parent)
    if not keep:
        shutil.rmtree(old, ignore_errors=True)


def recover_folder(place: Path) -> Path:
    """Return `place`, brought back from `place`.old when a replacement was cut off between its two renames."""
    if not place.exists() and _old(place).exists():
        _old(place).replace(place)
    return place


def score_in(file: Path) -> float:
    """Return the score that a validation.json names, less than any where there is none or none can be read."""
    try:
        return float(json.loads(file.read_text())["score"])
    except FileNotFoundError:
        return -math.inf
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        print(f"{file} cannot be read ({type(error).__name__}: {error}); the best is found anew", file=sys.stderr)
        return -math.inf


def replace_file(fresh: Path, place: Path) -> None:
    """Rename `fresh` to `place` once it is on the disk; what was there stays as `place`.old."""
    _sync(fresh)
    if place.exists():
        place.replace(_old(place))
    fresh.replace(place)
    _sync(place.parent)


def sync_folder(folder: Path) -> None:
    """Wait until a folder and all below it are on the disk."""
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def check_states(folder: Path) -> None:
    """Refuse a folder with a state of torch that is cut short or changed: they are zip files with checksums."""
    for file in sorted((*folder.glob("*.pt"), *folder.glob("*.pth"))):
        check_state(file)


def check_state(file: Path) -> None:
    """Refuse one such file."""
    try:
        with zipfile.ZipFile(file) as opened:
            bad = opened.testzip()
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        bad = str(error)
    if bad:
        raise RejectedInput(Code.CONFIG_VALUE, f"{file}: cut short or changed ({bad})")


def _old(place: Path) -> Path:
    return place.with_name(f"{place.name}.old")


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


# ---- a checkpoint and its state ----


def save_run(
    out: Path, model: Any, state: Mapping[str, Any], *, step: int, note: Mapping[str, Any] | None = None
) -> None:
    """Write `checkpoint/` (a directory of transformers) and `state.pt`, each replaced whole, numbers only.

    The state before stays beside them. `note`: goes into the checkpoint as training.json.
    """
    check_finite(model, step)
    fresh, file = out / "checkpoint.new", out / "state.pt.new"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with written(out / "checkpoint", "make room or name another --out; --resume goes on from the one before"):
            model.save_pretrained(fresh)
            if note is not None:
                (fresh / "training.json").write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
            torch.save(dict(state), file)
            replace_folder(fresh, out / "checkpoint")
            replace_file(file, out / "state.pt")
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        file.unlink(missing_ok=True)


def load_state(out: Path, wanted_format: int) -> dict[str, Any]:
    """The newest state of a run that can be read.

    FileNotFoundError when there is none, ValueError when it is of another format.
    """
    state: dict[str, Any] = torch.load(newest_state(out), map_location="cpu", weights_only=True)
    if state["format"] != wanted_format:
        raise ValueError(
            f"got {out}/state.pt of format {state['format']}, want {wanted_format}; start anew without --resume"
        )
    return state


def newest_state(out: Path) -> Path:
    """`state.pt`, or the one before where it is cut short or changed, with a word; RejectedInput when both are."""
    state, before = out / "state.pt", out / "state.pt.old"
    if not state.is_file() and not before.is_file():
        raise FileNotFoundError(f"{state}: missing; start without --resume")
    try:
        check_state(state)
    except RejectedInput as error:
        if not before.is_file():
            raise
        check_state(before)
        print(f"{error.detail}; going on from {before.name}", file=sys.stderr)
        return before
    return state


# ---- stopped, or ruined ----


class LossGuard:
    """Leaves out the update of a step whose loss or gradient is no number, and says so; ten in a row end the run."""

    MOST_SKIPPED = 10

    def __init__(self, prog: str, model: nn.Module) -> None:
        self._prog, self._model, self._skipped = prog, model, 0

    def usable(self, loss: Tensor, norm: Tensor, step: int) -> bool:
        """Whether step `step` may change the weights; if not, the gradients are dropped. `norm`: of all gradients."""
        if bool(torch.isfinite(loss)) and bool(torch.isfinite(norm)):
            self._skipped = 0
            return True
        self._model.zero_grad(set_to_none=True)
        self._skipped += 1
        print(f"{self._prog}: step {step}: the loss or a gradient is no number; the step is left out", file=sys.stderr)
        if self._skipped >= self.MOST_SKIPPED:
            raise RejectedInput(
                Code.CONFIG_VALUE, f"got {self._skipped} such steps in a row up to step {step}; try smaller rates"
            )
        return False


def check_finite(model: nn.Module, step: int) -> None:
    """Refuse to save weights that are no numbers."""
    if not all(bool(torch.isfinite(weight).all()) for weight in model.parameters()):
        raise RejectedInput(
            Code.CONFIG_VALUE,
            f"got weights that are no numbers after step {step}, which were not saved; go on with --resume from the "
            "checkpoint before, with smaller rates",
        )


class Stop(threading.Event):
    """Set when the run is asked to end; `signal`: by which one. `saves`: whether there is a step to be saved."""

    signal = 0
    saves = False


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """While inside, Ctrl-C and SIGTERM ask for a save and an end, and are acknowledged at once; a second ends at once.

    So does the first while there is nothing to save. Background shells start their processes with SIGINT ignored, so
    the handler is set in any case.
    """
    asked = Stop()

    def handle(number: int, _: Any) -> None:
        if asked.is_set() or not asked.saves:
            raise SystemExit(128 + number)
        asked.signal = number
        asked.set()
        os.write(2, b"\nstopping: what is learned so far is saved; once more to end at once\n")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
