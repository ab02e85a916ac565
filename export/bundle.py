"""Checkpoints -> bundle: export a reasoner and a segmenter, compare them with their checkpoints, write the manifest.

    python -m export.bundle --reasoner CHECKPOINT --segmenter CHECKPOINT --profile abstaining_v2 --image-size 168 \
        --out bundles/tabletop --evaluation evaluation.json
    python -m export.bundle --reasoner VisionReasoner-7B --segmenter sam2.1-hiera-large --profile vision_reasoner_v2 \
        --out ~/.cache/segzero_ros/bundles/vision_reasoner --max-length 4096 --compare 0

The bundle appears whole or not at all: it is made beside its place and renamed into it. A bundle that is there already
is replaced only with --replace; files directly beside its manifest (a README, pictures) are carried over.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.checks import LENGTH, SIDE, check_table, to_json
from segzero_ros.bundle import MANIFEST, Bundle, hash_file, open_bundle, user_path, write_manifest
from segzero_ros.cli.parser import Parser, at_least, explain, refuse
from segzero_ros.errors import RejectedInput
from segzero_ros.profile import PROFILES, Profile, get_profile

if TYPE_CHECKING:  # torch and onnx are imported where they are needed: --help needs neither
    from export.onnx_graph import Arithmetic, Store

PACKAGES = ("torch", "transformers", "onnx", "onnxruntime", "onnxscript", "tokenizers", "numpy")
SAM2_SIDE = 1024  # what transformers takes for a config.json that does not say


class NotEqual(Exception):
    """An exported graph differs from its checkpoint by more than the limits; the message is the table."""


def export_bundle(
    reasoner: Path,
    segmenter: Path,
    out: Path,
    profile: Profile,
    *,
    max_length: int = 2048,
    store: Store = "half",
    arithmetic: Arithmetic = "float",
    compare: int = 4,
    evaluation: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    replace_old: bool = False,
    self_test: bool = False,
    tracker: Path | None = None,
) -> Bundle:
    """Write the bundle `out` from two checkpoint directories and return it, opened as the robot opens it.

    `arithmetic`: "half" for GPUs; TensorRT builds graphs in the precision they have. `compare`: pictures on which the
    graphs are compared with the checkpoints first (0 = not at all); the result goes into the evaluation as "parity",
    and NotEqual is raised beyond the limits. `self_test`: ask the new bundle, and add self-test and spelling; where it
    answers too few questions well, that is said on standard error and it goes without. `tracker`: a `Sam2VideoModel`
    directory with the segmenter's encoder, whose memory the bundle gets.

    FileExistsError when `out` is there and `replace_old` is not set, RejectedInput for a checkpoint that is not whole
    and a cache that holds no answer. Nothing is left behind by a failure.
    """
    out = user_path(str(out)).resolve()
    if out.exists() and not replace_old:
        raise FileExistsError(f"{out} exists; add --replace to replace it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        partial = Path(folder) / out.name
        partial.mkdir()
        parts = _export_parts(reasoner, segmenter, partial, profile, max_length, store, arithmetic)
        parity = _parity(reasoner, segmenter, partial, profile, parts, compare) if compare else {}
        _carry_over(out, partial)
        write_manifest(
            partial,
            name=out.name,
            profile=profile,
            backends=("onnx",),
            reasoner=parts["reasoner"],
            segmenter=parts["segmenter"],
            versions=versions(),
            provenance={**_provenance(reasoner, segmenter, store), "arithmetic": arithmetic, **(provenance or {})},
            evaluation={**(evaluation or {}), **parity},
        )
        if tracker is not None:
            from export.tracker.join import add_tracker

            add_tracker(partial, tracker)
        if self_test:
            _add_self_test(partial)
        return _move_into_place(partial, out)


def _add_self_test(partial: Path) -> None:
    """Add self-test and spelling, or say why there are none."""
    from export.self_test.main import NoSelfTest, add_self_test

    try:
        add_self_test(partial)
    except (NoSelfTest, RejectedInput, ImportError) as error:
        what = error.detail if isinstance(error, RejectedInput) else error
        print(f"the bundle goes without a self-test: {what}", file=sys.stderr)


def _export_parts(
    reasoner: Path,
    segmenter: Path,
    partial: Path,
    profile: Profile,
    max_length: int,
    store: Store,
    arithmetic: Arithmetic,
) -> dict[str, dict[str, Any]]:
    """Export both checkpoints below `partial` and return the manifest's two parts."""
    from export.reasoner_onnx import FILES, export_reasoner
    from export.segmenter_onnx import export_segmenter
    from segzero_ros.backends.decoding.generation import read_shape
    from segzero_ros.backends.torch_cuda.weights import read_json

    size = profile.image_size
    precision: dict[str, Any] = {"store": store, "arithmetic": arithmetic}
    export_reasoner(
        reasoner, partial / "reasoner", image_size=size, max_length=max_length, profile=profile, **precision
    )
    graphs = export_segmenter(segmenter, partial / "segmenter", **precision)
    side = read_json(segmenter / "config.json").get("prompt_encoder_config", {}).get("image_size", SAM2_SIDE)
    return {
        "reasoner": {
            "architecture": read_shape(partial / "reasoner" / FILES["config"]).architecture,
            "files": {role: f"reasoner/{name}" for role, name in FILES.items()},
            "max_length": max_length,
        },
        "segmenter": {
            "architecture": "SAM 2",
            "image_size": [side, side],
            "files": {role: path.relative_to(partial).as_posix() for role, path in graphs.items()},
        },
    }


def _parity(
    reasoner: Path, segmenter: Path, partial: Path, profile: Profile, parts: Mapping[str, Any], count: int
) -> dict[str, Any]:
    from export.compare import compare_reasoner, compare_segmenter
    from export.queries import drawn_questions

    questions = drawn_questions(count, seed=0)
    files = {part: {role: partial / name for role, name in parts[part]["files"].items()} for part in parts}
    size = parts["segmenter"]["image_size"]
    checks = [
        *compare_reasoner(reasoner, files["reasoner"], profile, questions),
        *compare_segmenter(segmenter, files["segmenter"], (size[0], size[1]), questions),
    ]
    print(check_table(checks))
    if not all(check.passed for check in checks):
        raise NotEqual(check_table(checks))
    return {"parity": to_json(checks)}


def versions() -> dict[str, str]:
    """Return the versions a bundle is made with."""
    installed = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **installed}


def _provenance(reasoner: Path, segmenter: Path, store: Store) -> dict[str, Any]:
    """How the bundle was made: the checkpoints' names and weights, their training's own note, this code's commit."""
    return {
        "reasoner": _checkpoint_note(reasoner),
        "segmenter": _checkpoint_note(segmenter),
        "store": store,
        "commit": _commit(),
    }


def _checkpoint_note(checkpoint: Path) -> dict[str, Any]:
    weights = sorted(checkpoint.glob("*.safetensors"))
    note: dict[str, Any] = {
        "checkpoint": checkpoint.resolve().name,
        "sha256": {file.name: hash_file(file) for file in weights},
    }
    from segzero_ros.backends.torch_cuda.weights import read_json

    training = checkpoint / "training.json"
    return {**note, "training": read_json(training)} if training.is_file() else note


def _commit() -> str:
    """Return the commit of this code, marked when it was changed since; empty outside a clone."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _carry_over(old: Path, new: Path) -> None:
    """Copy what lies directly beside an old bundle's manifest: it is not part of the bundle, but belongs to it."""
    if old.is_dir():
        for file in old.iterdir():
            if file.is_file() and file.name != MANIFEST and not file.name.startswith("."):
                shutil.copy2(file, new / file.name)


def _move_into_place(partial: Path, out: Path) -> Bundle:
    """Rename `partial` to `out`, an old bundle going aside first; reopen it there."""
    aside = partial.with_name("old")
    if out.exists():
        out.rename(aside)
    try:
        partial.rename(out)
    except OSError:
        if aside.exists():
            aside.rename(out)
        raise
    return open_bundle(out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Export a bundle from the command line."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.profile not in PROFILES:
        parser.error(f"--profile: got {options.profile!r}, want one of {', '.join(PROFILES)}")
    from segzero_ros.backends.torch_cuda.weights import read_json

    try:
        evaluation = read_json(options.evaluation) if options.evaluation else {}
        bundle = export_bundle(
            options.reasoner,
            options.segmenter,
            options.out,
            _profile(options),
            max_length=options.max_length,
            store=options.store,
            arithmetic=options.arithmetic,
            compare=options.compare,
            evaluation=evaluation,
            replace_old=options.replace,
            self_test=not options.no_self_test,
            tracker=options.tracker,
        )
    except OSError as error:
        return refuse(parser.prog, explain(error, f"the bundle {options.out}"))
    except (RejectedInput, ValueError) as error:
        return refuse(parser.prog, str(error))
    except NotEqual:
        parser.exit(1, f"{parser.prog}: the graphs differ from their checkpoints beyond the limits; nothing written\n")
    size = sum(file.stat().st_size for file in bundle.path.rglob("*") if file.is_file())
    test = f"self-test of {len(bundle.self_test['questions'])} questions" if bundle.self_test else "no self-test"
    what = f"{size / 1e6:.1f} MB, profile {bundle.profile.name}, {test}"
    print(f"{bundle.path}: {what}; try `segzero ground IMAGE 'the red mug' --bundle {bundle.path}`")
    return 0


def _profile(options: argparse.Namespace) -> Profile:
    profile = get_profile(options.profile)
    side = options.image_size
    return replace(
        profile,
        prompt=options.prompt or profile.prompt,
        system=profile.system if options.system is None else options.system,
        image_size=(side, side) if side else profile.image_size,
    )


def _parser() -> Parser:
    parser = Parser("segzero export", __doc__ or "")
    parser.add_argument("--reasoner", type=Path, required=True, help="Qwen2.5-VL or Qwen3-VL checkpoint directory")
    parser.add_argument("--segmenter", type=Path, required=True, help="SAM 2 checkpoint directory")
    parser.add_argument("--tracker", type=Path, help="SAM 2 checkpoint directory with memory: the bundle can follow")
    parser.add_argument("--profile", required=True, help=f"one of {', '.join(PROFILES)}")
    parser.add_argument("--out", type=Path, required=True, help="bundle directory; its name is the bundle's name")
    parser.add_argument(
        "--image-size",
        type=SIDE,
        help="side of the reasoner's picture (default: the profile's)",
    )
    parser.add_argument("--prompt", help="user message with {question} in it (default: the profile's)")
    parser.add_argument("--system", help="system message (default: the profile's)")
    parser.add_argument("--max-length", type=LENGTH, default=2048, help="tokens of picture, prompt and reply together")
    parser.add_argument("--store", choices=("half", "float"), default="half", help="precision of the stored matrices")
    parser.add_argument(
        "--arithmetic", choices=("half", "float"), default="float", help="half: FP16 for GPUs and TensorRT"
    )
    parser.add_argument(
        "--compare", type=at_least(0), default=4, help="pictures to compare graphs and checkpoints on; 0 = none"
    )
    parser.add_argument("--evaluation", type=Path, help="JSON file to put into the manifest, from `segzero eval --out`")
    untested = "leave out the picture and questions by which engines are checked when they open, and the spelling"
    parser.add_argument("--no-self-test", action="store_true", help=untested)
    parser.add_argument("--replace", action="store_true", help="replace a bundle that is there")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
