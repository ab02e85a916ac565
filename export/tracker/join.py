"""SAM 2's memory put into a bundle whose segmenter has the same picture encoder."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.segmenter_onnx import FEATURES, SegmenterEncoder
from export.self_test.main import amend
from export.tracker.graphs import export_tracker, load_tracker
from segzero_ros.backends.onnx.session import open_session
from segzero_ros.bundle import MANIFEST, Bundle, hash_file, open_bundle
from segzero_ros.errors import Code, RejectedInput

SAME = 0.02  # largest relative difference of two exports of one encoder, FP16 storage included
FOLDER = "segmenter"


def add_tracker(path: Path, checkpoint: Path) -> Bundle:
    """Put the memory of a Sam2VideoModel directory into the bundle in ``path`` and return it.

    Graphs are as precise as the bundle's. ``RejectedInput``: the checkpoint is not whole, or its encoder is another
    than the segmenter's, of whose features its memory would know nothing.
    """
    bundle = open_bundle(path)
    _check_encoder(bundle, checkpoint)
    arithmetic = str(bundle.provenance.get("arithmetic", "float"))
    store = str(bundle.provenance.get("store", "half"))
    with tempfile.TemporaryDirectory() as scratch:
        graphs = export_tracker(
            checkpoint, Path(scratch), store="float" if store == "float" else "half",
            arithmetic="half" if arithmetic == "half" else "float",
        )  # fmt: skip
        files = {
            f"{FOLDER}/{file.name}": file.read_bytes() for file in sorted(Path(scratch).iterdir()) if file.is_file()
        }
    manifest = json.loads((path / MANIFEST).read_text("utf-8"))
    segmenter = manifest["segmenter"]
    roles = {**segmenter["files"], **{role: f"{FOLDER}/{graph.name}" for role, graph in graphs.items()}}
    provenance = {**manifest["provenance"], "tracker": _note(checkpoint)}
    amend(path, {"segmenter": {**segmenter, "files": roles}, "provenance": provenance}, files)
    return open_bundle(path)


def _check_encoder(bundle: Bundle, checkpoint: Path) -> None:
    model = load_tracker(checkpoint)
    side = int(model.config.image_size)
    width, height = bundle.segmenter.image_size
    if (side, side) != (width, height):
        raise _other(checkpoint, f"pictures of {side} x {side}", f"{width} x {height}")
    pixels = np.random.default_rng(0).standard_normal((1, 3, side, side), np.float32)
    ours = open_session(bundle.segmenter.files["encoder"]).run(list(FEATURES), {"pixels": pixels})
    with torch.inference_mode():
        theirs = SegmenterEncoder(model)(torch.from_numpy(pixels))
    for name, one, other in zip(FEATURES, ours, theirs, strict=True):
        gap = float(np.abs(one - other.numpy()).max() / np.abs(one).max())
        if not gap < SAME:
            raise _other(checkpoint, f"an encoder whose {name} differs by {gap:.2f} of its largest value", f"{SAME}")


def _other(checkpoint: Path, got: str, want: str) -> RejectedInput:
    return RejectedInput(
        Code.BUNDLE_FORMAT,
        f"{checkpoint}: got {got}, want at most {want} as the bundle's segmenter; give the checkpoint it was made of",
    )


def _note(checkpoint: Path) -> dict[str, Any]:
    note: dict[str, Any] = {
        "checkpoint": checkpoint.resolve().name,
        "sha256": {file.name: hash_file(file) for file in sorted(checkpoint.glob("*.safetensors"))},
    }
    training = checkpoint / "training.json"
    return {**note, "training": json.loads(training.read_text("utf-8"))} if training.is_file() else note
