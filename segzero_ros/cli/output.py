"""What commands print and write: answers as text and JSON, tables, growing text, pictures."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.pipeline import Segmentation


def format_result(result: Segmentation) -> str:
    """Return the answer in a few lines for people."""
    if result.code is not Code.OK:
        return f"{result.code.name}: {result.detail}"
    lines = [f"caution: {result.detail}"] if result.detail else []
    for instance in result.instances:
        box = " ".join(f"{value:.0f}" for value in instance.box)
        size = _pixels(result, instance.mask_index)
        lines.append(f"{instance.mask_index}. {instance.label}: box {box}, {size} pixels, score {instance.score:.2f}")
    timing = result.timing
    lines.append(
        f"{timing.total_ms:.0f} ms: reasoning {timing.reasoning_ms:.0f}, segmentation {timing.segmentation_ms:.0f}, "
        f"{timing.tokens} tokens"
    )
    return "\n".join(lines)


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
            asdict(instance) | {"pixels": _pixels(result, instance.mask_index)} for instance in result.instances
        ],
        "timing": asdict(result.timing),
    }


def _pixels(result: Segmentation, index: int) -> int:
    return int((result.labels == index).sum())


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Return aligned columns, the head first; ``right``: the numbers of the columns to align to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    aligned = (
        [cell.rjust(w) if at in right else cell.ljust(w) for at, (cell, w) in enumerate(zip(row, widths, strict=True))]
        for row in (head, *rows)
    )
    return "\n".join("  ".join(cells).rstrip() for cells in aligned)


class GrowingText:
    """Prints a text that is sent whole each time it has grown: each call prints what is new."""

    def __init__(self, indent: str = "", style: Callable[[str], str] = str) -> None:
        """``indent``: put before the first word; ``style``: what is done to each piece before it is printed."""
        self._indent = indent
        self._style = style
        self._printed = ""

    def __call__(self, text: str) -> None:
        """Print the new end of ``text``."""
        if text.startswith(self._printed) and len(text) > len(self._printed):
            print_piece(("" if self._printed else self._indent) + self._style(text[len(self._printed) :]))
            self._printed = text

    def end(self, text: str = "") -> None:
        """Print what is still missing of the whole ``text`` and end the line; all of it if it began otherwise."""
        if not text.startswith(self._printed):
            print()
            self._printed = ""
        self(text)
        if self._printed:
            print(flush=True)


def print_piece(piece: str) -> None:
    """Print a piece of a line at once."""
    print(piece, end="", flush=True)


PICTURE_KINDS = (".png", ".jpg", ".jpeg")  # what `write_picture` writes, by the file's name
MASK_KINDS = (".png",)  # JPEG would change the numbers of instances


def picture_file(kinds: Sequence[str]) -> Callable[[str], Path]:
    """Return the ``type=`` of a file to write a picture to, whose name ends in one of ``kinds``."""

    def read(text: str) -> Path:
        path = Path(text)
        if path.suffix.lower() not in kinds:
            raise argparse.ArgumentTypeError(f"got {text[:200]!r}, want a name that ends in {' or '.join(kinds)}")
        return path

    return read


def write_picture(path: Path, pixels: Any) -> None:
    """Write an RGB picture (H, W, 3) or a label image (H, W) as the file's name says: .png, .jpg or .jpeg."""
    import cv2
    import numpy as np

    stored = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
    data = np.asarray(cv2.imencode(path.suffix.lower(), stored)[1]).tobytes()
    try:
        path.write_bytes(data)
    except OSError as error:
        raise RejectedInput(Code.CONFIG_VALUE, f"could not write {str(path)!r} ({error.strerror or error})") from None
