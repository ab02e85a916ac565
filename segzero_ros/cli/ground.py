"""`segzero ground`: one picture and one sentence, through the robot's own pipeline, without ROS."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from segzero_ros.backends import DEFAULTS, EngineOptions, open_pipeline
from segzero_ros.cli.parser import NOT_OK, OK, Parser, Renamed, at_least, one_of
from segzero_ros.config import BACKENDS as ENGINES
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import MAX_COMPRESSED_BYTES, Frame
from segzero_ros.pipeline import Pipeline, Segmentation

DEFAULT_BUNDLE = "tabletop"
BACKENDS = ("auto", *ENGINES)

EXAMPLES = (
    'segzero ground table.jpg "the mug left of the bowl" --out found.png',
    'segzero ground table.jpg "something to drink from" --json | jq .instances',
    'segzero ground kitchen.png "the kettle" --bundle ~/.cache/segzero_ros/bundles/visionreasoner-7b',
)


def main(arguments: Sequence[str]) -> int:
    """Ground a sentence in a picture file; 1 when nothing was found."""
    options = read_arguments(arguments)
    frame = read_picture(options.image)
    result = ground(frame, options)
    if options.out:
        from segzero_ros.overlay import draw_overlay

        write_picture(options.out, draw_overlay(result))
    if options.mask:
        write_picture(options.mask, result.labels)
    print(json.dumps(as_json(result)) if options.json else described(result))
    return OK if result.code is Code.OK else NOT_OK


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options of `segzero ground`."""
    parser = Parser("segzero ground", "Find what a sentence means in a picture: masks, and the reasoning.", EXAMPLES)
    parser.add_argument("image", type=Path, metavar="IMAGE", help="a JPEG or PNG file")
    parser.add_argument("command", metavar="COMMAND", help='what to find, in quotes: "the red mug"')
    add_bundle_options(parser)
    parser.add_argument("--out", type=Path, metavar="PNG", help="write the picture with masks, boxes and points on it")
    parser.add_argument("--mask", type=Path, metavar="PNG", help="write the label image: 0 background, k = instance k")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return parser.read(arguments)


def add_bundle_options(parser: argparse.ArgumentParser) -> None:
    """Add --bundle, --backend and what the backends take, which several commands have."""
    where = f"a bundle's directory or name (default {DEFAULT_BUNDLE}, which knows the demo world only)"
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE, metavar="DIR", help=where)
    parser.add_argument("--backend", type=one_of(BACKENDS), default="auto", metavar="NAME", help=", ".join(BACKENDS))
    add = parser.add_argument
    add(
        "--threads",
        type=at_least(0),
        default=0,
        metavar="N",
        help="CPU threads per engine; 0 = one per core, and one for small models",
    )
    add("--server", default="", metavar="URL", help="remote: http://HOST:PORT/v1")
    add("--model", default="", metavar="NAME", help="a checkpoint's directory, or the server's name of its model")
    add("--provider", default="auto", metavar="NAME", help="of ONNX Runtime: auto, cpu, cuda, tensorrt")
    add("--draft-tokens", type=at_least(0), default=0, metavar="N", help="tokens guessed ahead from the prompt")
    add("--speculate", dest="draft_tokens", type=at_least(0), action=Renamed, new="--draft-tokens")
    add("--free-answers", action="store_true", help="do not keep answers to the grammar")


def engine_options(options: argparse.Namespace) -> EngineOptions:
    """Return what `add_bundle_options` read for the engines."""
    return replace(
        DEFAULTS,
        threads=options.threads,
        server=options.server,
        model=options.model,
        provider=options.provider,
        draft_tokens=options.draft_tokens,
        constrained=not options.free_answers,
    )


def read_picture(path: Path) -> Frame:
    """Read a JPEG or PNG file, or raise ``RejectedInput`` IMAGE_UNREADABLE or IMAGE_SIZE."""
    from segzero_ros.frame import decode_compressed

    try:
        size = path.stat().st_size
        if size > MAX_COMPRESSED_BYTES:
            raise RejectedInput(Code.IMAGE_SIZE, f"got {path} of {size} bytes, want at most {MAX_COMPRESSED_BYTES}")
        return decode_compressed(path.read_bytes(), 0)
    except OSError as error:
        detail = f"could not read {str(path)!r} ({error.strerror or error}); give the path of a JPEG or PNG file"
        raise RejectedInput(Code.IMAGE_UNREADABLE, detail) from None


def write_picture(path: Path, pixels: Any) -> None:
    """Write an RGB picture (H, W, 3) or a label image (H, W) as PNG."""
    import cv2
    import numpy as np

    stored = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
    data = np.asarray(cv2.imencode(".png", stored)[1]).tobytes()
    try:
        path.write_bytes(data)
    except OSError as error:
        raise RejectedInput(Code.CONFIG_VALUE, f"could not write {str(path)!r} ({error.strerror or error})") from None


def ground(frame: Frame, options: argparse.Namespace) -> Segmentation:
    """Open the bundle and answer; without --json the text appears as the model writes it."""
    from segzero_ros.command import read_command

    command = read_command(options.command, "segzero-ground")
    pipeline = open_engines(options.bundle, options.backend, engine_options(options))
    if options.json:
        return pipeline.ground(frame, command)
    result = pipeline.ground(frame, command, on_text=_show)
    print()
    return result


def open_engines(bundle: str, backend: str, engines: EngineOptions = DEFAULTS) -> Pipeline:
    """Open a bundle, by name or directory, and its engines; the fake ones need no bundle."""
    from segzero_ros.bundle import open_bundle, resolve_bundle

    if backend == "fake" and bundle == DEFAULT_BUNDLE:
        return open_pipeline(None, backend, options=engines)
    return open_pipeline(open_bundle(resolve_bundle(from_here(bundle))), backend, options=engines)


def from_here(bundle: str) -> str:
    """Return a bundle's path as a shell means it: what has a slash is below the working directory, a name is a name."""
    plain = bundle.startswith(("/", "~", "./", "../", "package://")) or "/" not in bundle
    return bundle if plain else f"./{bundle}"


def _show(piece: str) -> None:
    sys.stdout.write(piece)
    sys.stdout.flush()


def as_json(result: Segmentation) -> dict[str, Any]:
    """Return the answer as plain JSON values; boxes and points in pixels of the picture."""
    height, width = result.labels.shape
    return {
        "command": result.command.text,
        "code": result.code.name,
        "detail": result.detail,
        "reasoning": result.reasoning,
        "answer": result.text,
        "image_size": [width, height],
        "instances": [
            asdict(instance) | {"pixels": pixels(result, instance.mask_index)} for instance in result.instances
        ],
        "timing": asdict(result.timing),
    }


def pixels(result: Segmentation, index: int) -> int:
    """Return how many pixels the instance with this mask index has."""
    return int((result.labels == index).sum())


def described(result: Segmentation) -> str:
    """Return the answer in a few lines for people."""
    if result.code is not Code.OK:
        return f"{result.code.name}: {result.detail}"
    lines = []
    for instance in result.instances:
        box = " ".join(f"{value:.0f}" for value in instance.box)
        size = pixels(result, instance.mask_index)
        lines.append(f"{instance.mask_index}. {instance.label}: box {box}, {size} pixels, score {instance.score:.2f}")
    timing = result.timing
    lines.append(
        f"{timing.total_ms:.0f} ms: reasoning {timing.reasoning_ms:.0f}, segmentation {timing.segmentation_ms:.0f}, "
        f"{timing.tokens} tokens"
    )
    return "\n".join(lines)
