"""Which Hugging Face checkpoint a backend that runs one is to open."""

from __future__ import annotations

import json
from pathlib import Path

from segzero_ros.backends import EngineOptions
from segzero_ros.bundle import Bundle, expand_home
from segzero_ros.errors import Code, RejectedInput

ARCHITECTURE = "Qwen2_5_VLForConditionalGeneration"


def checkpoint_of(bundle: Bundle, options: EngineOptions) -> Path:
    """Return the checkpoint directory: the one named, or the one the bundle was made from if it is still there.

    ``RejectedInput`` BUNDLE_BACKEND when there is none, or one of another architecture.
    """
    made_from = str(bundle.provenance.get("reasoner", {}).get("checkpoint", ""))
    named = options.model or (made_from if Path(made_from).is_absolute() else "")
    path = expand_home(named)
    if not named or not (path / "config.json").is_file():
        raise _refused(
            f"got model {named!r}, want the directory of a checkpoint with its config.json; name it (model:=DIR, "
            "--model DIR)"
        )
    try:
        architectures = json.loads((path / "config.json").read_text("utf-8")).get("architectures")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise _refused(f"got {path}, whose config.json cannot be read ({error}); save the checkpoint again") from None
    if architectures != [ARCHITECTURE]:
        raise _refused(f"got {path} with the architectures {architectures}, want [{ARCHITECTURE!r}]")
    return path


def _refused(detail: str) -> RejectedInput:
    return RejectedInput(Code.BUNDLE_BACKEND, detail)
