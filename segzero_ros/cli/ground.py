"""`segzero ground`: one picture and one sentence, through the robot's own pipeline, without ROS."""

import argparse
import json
import stat
from pathlib import Path

from segzero_ros.cli.options import add_engine_options, check_opened, open_engines
from segzero_ros.cli.output import (
    MASK_KINDS,
    PICTURE_KINDS,
    as_json,
    format_result,
    picture_file,
    print_piece,
    write_picture,
)
from segzero_ros.cli.parser import NOT_OK, OK, Parser
from segzero_ros.command import read_command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import MAX_COMPRESSED_BYTES, Frame, decode_compressed
from segzero_ros.pipeline import Segmentation

SHIPPED = "table"  # the name of the picture that comes with the package
EXAMPLES = (
    'segzero ground table "the mug left of the yellow ball" --out found.png',
    'segzero ground table "something to drink from" --json | jq .instances',
    'segzero ground kitchen.png "the kettle" --bundle ~/.cache/segzero_ros/bundles/visionreasoner-7b',
)


def configure(parser: Parser) -> None:
    """Add the options."""
    parser.describe("Find what a sentence means in a picture: masks, and the reasoning.", EXAMPLES)
    parser.add_argument(
        "image", type=Path, metavar="IMAGE", help=f"a JPEG or PNG file; {SHIPPED} = a picture of the demo world"
    )
    parser.add_argument("command", metavar="COMMAND", help='what to find, in quotes: "the red mug"')
    add_engine_options(parser)
    drawn = "write the picture with masks, boxes and points on it, as .png or .jpg"
    labels = "write the label image as .png: 0 background, k = instance k"
    parser.add_argument("--out", type=picture_file(PICTURE_KINDS), metavar="FILE", help=drawn)
    parser.add_argument("--mask", type=picture_file(MASK_KINDS), metavar="PNG", help=labels)
    asked = "ask the bundle's self-test first, and refuse with the reason what fails it"
    parser.add_argument("--self-test", action="store_true", help=asked)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Ground a sentence in a picture file; 1 when nothing was found."""
    check_files(options)
    result = ground(read_picture(options.image), options)
    if options.out:
        from segzero_ros.overlay import draw_overlay

        write_picture(options.out, draw_overlay(result))
    if options.mask:
        write_picture(options.mask, result.labels)
    print(json.dumps(as_json(result)) if options.json else format_result(result))
    return OK if result.code is Code.OK else NOT_OK


def check_files(options: argparse.Namespace) -> None:
    """Refuse (CONFIG_VALUE), before anything is asked, what would write over the picture, or nowhere."""
    files = [file.resolve() for file in (options.image, options.out, options.mask) if file]
    if len(set(files)) < len(files):
        twice = next(file for file in files if files.count(file) > 1)
        detail = f"got {str(twice)[:200]!r} twice among IMAGE, --out and --mask; name a file for each"
        raise RejectedInput(Code.CONFIG_VALUE, detail)
    for file in (options.out, options.mask):
        if file and not file.parent.is_dir():
            detail = f"could not write {str(file)[:200]!r} (there is no such folder); make it first"
            raise RejectedInput(Code.CONFIG_VALUE, detail)


def shipped_picture() -> Path:
    """Return the picture of the demo world: beside this file where installed, in docs/images/ of a source tree."""
    installed = Path(__file__).resolve().with_name(f"{SHIPPED}.jpg")
    return installed if installed.is_file() else installed.parents[2] / "docs" / "images" / installed.name


def read_picture(path: Path) -> Frame:
    """Read a JPEG or PNG file, or the shipped one by its name; ``RejectedInput`` IMAGE_UNREADABLE or IMAGE_SIZE."""
    if str(path) == SHIPPED and not path.exists():
        path = shipped_picture()
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe may never end, a device never does
            raise _unreadable(path, "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, device or socket")
        with path.open("rb") as stream:
            content = stream.read(MAX_COMPRESSED_BYTES + 1)
        if len(content) > MAX_COMPRESSED_BYTES:
            raise RejectedInput(
                Code.IMAGE_SIZE,
                f"got {path} of {found.st_size} bytes, want at most {MAX_COMPRESSED_BYTES}; give a smaller picture",
            )
        return decode_compressed(content, 0)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from None


def _unreadable(path: Path, why: str) -> RejectedInput:
    detail = f"could not read {str(path)[:200]!r} ({why}); give the path of a JPEG or PNG file"
    return RejectedInput(Code.IMAGE_UNREADABLE, detail)


def ground(frame: Frame, options: argparse.Namespace) -> Segmentation:
    """Open the bundle and answer; without --json the text appears as the model writes it."""
    command = read_command(options.command, "segzero-ground")
    pipeline = open_engines(options)
    if options.self_test:
        check_opened(pipeline, options)
    if options.json:
        return pipeline.ground(frame, command)
    result = pipeline.ground(frame, command, on_text=print_piece)
    print()
    return result
