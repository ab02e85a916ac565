"""Which checkpoint a GRPO run goes on from: the newest that is whole; a broken one is put aside, with a word."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from segzero_ros.errors import Code, RejectedInput
from training.saving import check_states

OPTIMIZERS = ("optimizer.pt", "optimizer.bin", "optimizer_*", "global_step*")  # alone, by FSDP, by DeepSpeed


def checkpoints(out: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    found = [path for path in out.glob("checkpoint-*") if path.name.rpartition("-")[2].isdecimal()]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def newest_whole(out: Path) -> Path | None:
    """The newest whole checkpoint, None where there is none at all; broken ones become `broken-STEP`.

    CONFIG_VALUE when all are broken.
    """
    found, last = checkpoints(out), ""
    for folder in reversed(found):
        try:
            check_checkpoint(folder)
            return folder
        except RejectedInput as error:
            last = error.detail
            aside = out / folder.name.replace("checkpoint-", "broken-")
            shutil.rmtree(aside, ignore_errors=True)
            folder.replace(aside)
            print(f"{folder.name} is not whole and was put aside as {aside.name}: {last}", file=sys.stderr)
    if found:
        raise RejectedInput(
            Code.CONFIG_VALUE, f"got no whole checkpoint in {out} ({last}); start anew in another folder"
        )
    return None


def check_checkpoint(folder: Path) -> None:
    """Refuse (``RejectedInput``) a checkpoint that a run cannot go on from."""
    from segzero_ros.backends.torch_cuda.weights import check_files, check_whole, read_json
    from training.processor import model_class

    state = read_json(folder / "trainer_state.json")
    if not isinstance(state.get("global_step"), int):
        raise RejectedInput(Code.CONFIG_VALUE, f"{folder / 'trainer_state.json'}: has no global_step")
    check_states(folder)
    if not any(
        any(folder.glob(name)) for name in OPTIMIZERS
    ):  # transformers would go on with a fresh one, and say nothing
        raise RejectedInput(Code.CONFIG_VALUE, f"{folder}: has no {OPTIMIZERS[0]}")
    if list(folder.glob("model*.safetensors")):
        check_whole(model_class(folder), folder)
    elif (folder / "config.json").is_file() and not list(folder.glob("pytorch_model_fsdp*")):
        check_files(folder)
