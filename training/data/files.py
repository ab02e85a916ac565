"""The files of a data set: paths that stay inside its folder, pictures and masks within the robot's limits, JSON."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import MAX_COMPRESSED_BYTES, decode_compressed
from training.data.base import Mask, quote, unusable

MAX_JSON_BYTES = 2 << 30  # COCO's largest annotation file has 0.5 GB; takes about ten times as much memory when read
PICTURES = (".jpg", ".jpeg", ".png")
MOST_COLOURS = 255  # objects in one mask picture
_WITHOUT_ALPHA = (0, 2, 3)  # PNG colour types: grey, RGB, palette


def inside(folder: Path, name: object) -> Path:
    """Return the path of a data set's file; ``RejectedInput`` where the name leads out of the folder, or nowhere."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise unusable(f"got the file name {quote(name)}, want a path inside {str(folder)!r}, such as 'images/one.jpg'")
    try:
        path = (find_name(folder, name) or folder / name).resolve()
        there = path.is_file()
    except (OSError, RuntimeError) as error:
        raise unusable(f"got the file name {quote(name)}, which the system refuses ({_reason(error)})") from None
    if not path.is_relative_to(folder.resolve()):
        raise unusable(f"got the file {quote(name)} outside {str(folder)!r}; put a copy of it into the folder")
    if not there:
        raise unusable(f"got the file {quote(name)}, which is not in {str(folder)!r}; correct the name (case counts)")
    return path


def find_name(folder: Path, name: str) -> Path | None:
    """Return the file of a name below a folder, None where there is none.

    A Mac writes an accent as a letter of its own (NFD), keyboards give one letter (NFC): both are the same name here.
    """
    if (folder / name).is_file():
        return folder / name
    path = folder
    for part in PurePosixPath(name).parts:
        wanted = unicodedata.normalize("NFC", part)
        path = path / part if (path / part).exists() else path / _names(path).get(wanted, part)
    return path if path.is_file() else None


def picture_of(file: Path) -> Path | None:
    """Return the picture beside a JSON file of the same name, whatever the case of its ending; None without one."""
    for ending in PICTURES:
        for written in (ending, ending.upper()):
            if (found := file.with_suffix(written)).is_file():
                return found
    stem = unicodedata.normalize("NFC", file.stem)
    places = (path for name, path in _names(file.parent).items() if PurePosixPath(name).stem == stem)
    return next((file.parent / path for path in places if PurePosixPath(path).suffix.lower() in PICTURES), None)


def _names(folder: Path) -> Mapping[str, str]:
    """The names in a folder as they are written there, by how they are typed."""
    try:
        return _listed(folder, folder.stat().st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=64)
def _listed(folder: Path, _changed_ns: int) -> Mapping[str, str]:
    return {unicodedata.normalize("NFC", path.name): path.name for path in sorted(folder.iterdir())}


def _reason(error: Exception) -> str:
    """Return what the system says, without the name, which may be long."""
    return getattr(error, "strerror", None) or type(error).__name__


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Return a JPEG or PNG file as RGB (H, W, 3), turned as its EXIF orientation says."""
    return decode_compressed(read_bytes(path), 0).rgb


def read_bytes(path: Path) -> bytes:
    """Return a picture file's bytes, or raise ``RejectedInput`` IMAGE_UNREADABLE or IMAGE_SIZE."""
    try:
        size = path.stat().st_size
        if size > MAX_COMPRESSED_BYTES:
            raise RejectedInput(
                Code.IMAGE_SIZE, f"got {path.name} of {size} bytes, want at most {MAX_COMPRESSED_BYTES}"
            )
        return path.read_bytes()
    except OSError as error:
        raise RejectedInput(
            Code.IMAGE_UNREADABLE, f"could not read {str(path)!r} ({error.strerror or error}); check its permissions"
        ) from None


def read_mask_objects(path: Path, size: tuple[int, int]) -> tuple[Mask, ...]:
    """Return one mask (H, W) per colour of a PNG, black being the background, from the darkest on.

    A black and white mask is one object; a label image (1, 2, 3 ... or colours) is several. ``size``: (width, height)
    of the picture. Raises ``RejectedInput`` for another size, a JPEG, 16 bits, transparency or blurred edges.
    """
    content = read_bytes(path)
    if not content.startswith(b"\x89PNG"):
        raise unusable(f"got the mask {path.name!r}, want a PNG file (JPEG blurs the edges of a mask)")
    if len(content) > 25 and (content[24] == 16 or content[25] not in _WITHOUT_ALPHA):
        raise unusable(f"got the mask {path.name!r} with 16 bits or transparency, want 8 bits, grey or colours")
    rgb = decode_compressed(content, 0).rgb
    if rgb.shape[:2] != (size[1], size[0]):
        raise unusable(
            f"got the mask {path.name!r} of {rgb.shape[1]} x {rgb.shape[0]} pixels, want the picture's "
            f"{size[0]} x {size[1]}; export it in the size of the photo"
        )
    labels = rgb.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    colours = [int(colour) for colour in np.unique(labels) if colour]
    if len(colours) > MOST_COLOURS:
        raise unusable(f"got the mask {path.name!r} with {len(colours)} colours, want one per object and sharp edges")
    return tuple(np.asarray(labels == colour) for colour in colours)


def read_json(path: Path) -> Any:
    """Return what a JSON file holds; Windows' cp1252 where it is not UTF-8, as some of ReasonSeg's files are not."""
    try:
        if path.exists() and not path.is_file():
            raise unusable(f"got {str(path)!r}, which is no file; a device may never end, a pipe never begin")
        if path.stat().st_size > MAX_JSON_BYTES:
            raise unusable(f"got {str(path)!r} of more than {MAX_JSON_BYTES} bytes; split it")
        content = path.read_bytes()
    except OSError as error:
        raise unusable(f"could not read {str(path)!r} ({error.strerror or error})") from None
    try:
        return parse_json(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return parse_json(content.decode("cp1252", "replace"))


def parse_json(text: str, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Return the value of a JSON text, or raise ``RejectedInput`` where it is broken; ``pairs`` makes its objects."""
    try:
        return json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        where = f"character {error.pos + 1}" if error.lineno == 1 else f"line {error.lineno}"
        raise unusable(f"got no JSON at {where} ({error.msg}): {quote(error.doc[error.pos :][:20])}; mend it") from None
    except (RecursionError, ValueError):  # nesting without end, or a number of thousands of digits
        raise unusable(f"got JSON that nobody wrote by hand: {quote(text[:20])}; mend it") from None
