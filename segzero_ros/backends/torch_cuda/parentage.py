"""Is this the checkpoint that the bundle was exported from? Told by the SHA-256 of its weights, not by file names.

Profile, tokenizer, spelling and scores of a bundle are those of one checkpoint. A quantised checkpoint has other bytes
under the same names; it counts where ``python -m export.parent`` has written into it what it was made of (`NOTE`),
and as long as its own weights are those that were there then.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segzero_ros.bundle import Bundle, hash_file
from segzero_ros.errors import Code, RejectedInput

NOTE = "segzero_parent.json"  # {"parent": {file: SHA-256}, "weights": {file: SHA-256}}
INDEX = "model.safetensors.index.json"
SAY_SO = "say once what it was made of: python -m export.parent DIR --of CHECKPOINT"
_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")

_log = logging.getLogger(__name__)


def check_parentage(bundle: Bundle, checkpoint: Path) -> None:
    """Refuse a checkpoint that the bundle's reasoner was not exported from (``RejectedInput`` BUNDLE_BACKEND).

    A bundle that does not say what it was exported from goes on, with a warning.
    """
    recorded = _hashes(bundle.provenance.get("reasoner"), "sha256")
    wanted = {name: value for name, value in recorded.items() if _WEIGHTS.fullmatch(name)}
    if not wanted:
        _log.warning(
            "%s does not say which checkpoint it was exported from: whether %s is that one cannot be told",
            bundle.path,
            checkpoint,
        )
        return
    found = weight_hashes(checkpoint)
    if found == wanted:
        return
    if is_quantised(checkpoint):
        found = _parent_of(checkpoint, found)
        if found == wanted:
            return
    raise _refused(_difference(bundle, checkpoint, found, wanted))


def is_quantised(checkpoint: Path) -> bool:
    """Whether a checkpoint says so, as transformers (config.json) or TensorRT Model Optimizer write it."""
    return (checkpoint / "hf_quant_config.json").is_file() or isinstance(
        _read(checkpoint / "config.json").get("quantization_config"), dict
    )


def weight_files(checkpoint: Path) -> list[Path]:
    """Return the files that hold the model's weights; other safetensors beside them are not the model's."""
    index = checkpoint / INDEX
    if not index.is_file():
        return [file for file in sorted(checkpoint.glob("*.safetensors")) if _WEIGHTS.fullmatch(file.name)]
    shards = _read(index).get("weight_map")
    names = sorted({str(name) for name in shards.values()}) if isinstance(shards, dict) else []
    return [checkpoint / Path(name).name for name in names]


def weight_hashes(checkpoint: Path) -> dict[str, str]:
    """Return file name -> SHA-256 of those; all bytes are read."""
    try:
        return {file.name: hash_file(file) for file in weight_files(checkpoint)}
    except OSError as error:
        raise _refused(f"got {checkpoint}, whose weights cannot be read ({error}); copy the checkpoint again") from None


def _parent_of(checkpoint: Path, weights: Mapping[str, str]) -> dict[str, str]:
    """Return the hashes of what a quantised checkpoint was made of."""
    if not (checkpoint / NOTE).is_file():
        raise _refused(f"got {checkpoint}, quantised and without {NOTE}; {SAY_SO}")
    note = _read(checkpoint / NOTE)
    if _hashes(note, "weights") != weights:
        raise _refused(f"got {checkpoint}, whose weights are not those that its {NOTE} was written for; {SAY_SO}")
    return _hashes(note, "parent")


def _difference(bundle: Bundle, checkpoint: Path, found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Name the first file that differs, with both hashes."""
    name = next(name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name))
    got, want = (hashes.get(name, "no such file") for hashes in (found, wanted))
    return (
        f"got model {checkpoint} with {name} {got}, but bundle {bundle.name!r} was exported from one with {want}; "
        "name that checkpoint (model:=DIR, --model DIR), or export a bundle of this one (segzero export)"
    )


def _hashes(note: Any, key: str) -> dict[str, str]:
    found = note.get(key) if isinstance(note, Mapping) else None
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, Mapping) else {}


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _refused(f"got {file}, which cannot be read ({error}); copy the checkpoint again") from None
    return found if isinstance(found, dict) else {}


def _refused(detail: str) -> RejectedInput:
    return RejectedInput(Code.BUNDLE_BACKEND, detail)
