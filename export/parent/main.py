"""Write into a quantised checkpoint which one it was made of, so that the parent's bundle takes it.

    python -m export.parent VisionReasoner-7B-FP8 --of VisionReasoner-7B

Model Optimizer and others write quantised weights under the names of the full ones, and do not say whose they are. What
quantising leaves as it is proves it here: every tensor of the vision tower must be the parent's, bit for bit. Written
is one file, segzero_parent.json, with the SHA-256 of both checkpoints' weights.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from segzero_ros.backends.torch_cuda.parentage import NOTE, is_quantised, weight_files, weight_hashes
from segzero_ros.cli.parser import NOT_OK, OK, Parser, refuse
from segzero_ros.errors import Code, RejectedInput

VISION = "visual."


class NotItsChild(Exception):
    """The quantised checkpoint was not made of the other; the text says by what it shows."""


def record_parent(quantised: Path, parent: Path) -> Path:
    """Write the note and return its file; ``NotItsChild``, ``RejectedInput``, ``OSError``."""
    for folder in (quantised, parent):
        if not weight_files(folder):
            raise _refused(f"got {folder}, want a folder with model.safetensors, or its shards and their index")
    if not is_quantised(quantised):
        raise _refused(f"got {quantised}, which is not quantised; its bundle is what `segzero export` makes of it")
    if is_quantised(parent):
        raise _refused(f"--of: got {parent}, which is quantised; name the full checkpoint")
    compare_vision(quantised, parent)
    note = {"parent": weight_hashes(parent), "weights": weight_hashes(quantised)}
    file, partial = quantised / NOTE, quantised / f".{NOTE}.partial"
    try:
        partial.write_text(json.dumps(note, indent=2) + "\n", "utf-8")
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return file


def compare_vision(quantised: Path, parent: Path) -> None:
    """Raise ``NotItsChild`` unless both have the same vision tower."""
    ours, theirs = _vision(quantised), _vision(parent)
    if not theirs or ours.keys() != theirs.keys():
        odd = sorted(ours.keys() ^ theirs.keys())[:1] or ["it has none"]
        raise NotItsChild(f"{quantised} has another vision tower than {parent} ({odd[0]}); was it quantised, too?")
    for name, (file, inside) in sorted(ours.items()):
        other, called = theirs[name]
        with safe_open(file, "pt") as child, safe_open(other, "pt") as whole:
            if not child.get_tensor(inside).equal(whole.get_tensor(called)):
                raise NotItsChild(f"{quantised} was not made of {parent}: {name} differs")


def _vision(checkpoint: Path) -> dict[str, tuple[Path, str]]:
    """Return file and name of each of its tensors, by the name's end; its beginning varies with transformers."""
    found: dict[str, tuple[Path, str]] = {}
    for file in weight_files(checkpoint):
        try:
            with safe_open(file, "pt") as opened:
                names = [name for name in opened.keys() if VISION in name]  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError) as error:
            raise _refused(f"{file} cannot be read ({error}); copy the checkpoint again") from None
        found |= {name[name.index(VISION) :]: (file, name) for name in names}
    return found


def _refused(detail: str) -> RejectedInput:
    return RejectedInput(Code.CONFIG_VALUE, detail)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the note from the command line; 1 where one was not made of the other."""
    parser = Parser("python -m export.parent", __doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("quantised", type=Path, metavar="QUANTISED", help="the quantised checkpoint's directory")
    parser.add_argument("--of", type=Path, required=True, metavar="CHECKPOINT", help="what it was made of")
    options = parser.parse_args(arguments)
    try:
        print(f"written: {record_parent(options.quantised, options.of)}")
    except NotItsChild as error:
        print(f"{parser.prog}: {error}")
        return NOT_OK
    except (RejectedInput, OSError) as error:
        return refuse(parser.prog, str(error))
    return OK
