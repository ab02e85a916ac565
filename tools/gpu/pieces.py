"""Files in pieces of at most 16 MiB with a manifest, and back again: what a machine without a network gives back.

A folder holds one whole set at any moment: new pieces have new names, the manifest is replaced by renaming, and old
pieces go after that.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

MIB = 2**20
PIECE = 15 * MIB
MANIFEST = "manifest.json"


class DamagedError(Exception):
    """A piece is missing or is not what the manifest says; the text says which and what to do."""


def pack(files: Mapping[str, Path], out: Path, piece: int = PIECE) -> list[str]:
    """Write `files`, by the names they get back, into `out` and return the pieces' names.

    A file that changes meanwhile is taken as it is read.
    """
    out.mkdir(parents=True, exist_ok=True)
    before = sorted(out.glob("piece-*.bin"))
    turn = 1 + max((int(path.name.split("-")[1]) for path in before), default=0)
    contents = {name: path.read_bytes() for name, path in files.items()}
    pieces = []
    for number, part in enumerate(_cut(list(contents.values()), piece)):
        name = f"piece-{turn:04d}-{number}.bin"
        _write(out / name, part)
        pieces.append(_record(name, part))
    manifest = {"files": [_record(name, data) for name, data in contents.items()], "pieces": pieces}
    _write(out / MANIFEST, json.dumps(manifest, indent=1).encode())
    for path in before:
        path.unlink()
    return [record["name"] for record in pieces]


def join(folder: Path, into: Path) -> list[Path]:
    """Check the pieces in `folder`, write their files below `into` and return them; `DamagedError` before any."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedError(f"{folder / MANIFEST}: {error}; give the folder that came back from the machine") from None
    whole = b"".join(_checked(folder / record["name"], record) for record in manifest["pieces"])
    found: dict[Path, bytes] = {}
    start = 0
    for record in manifest["files"]:
        data = whole[start : start + record["size"]]
        start += record["size"]
        _compare(record["name"], data, record)
        found[into / _inside(record["name"])] = data
    for path, data in found.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, data)
    return list(found)


def _cut(contents: list[bytes], piece: int) -> Iterator[bytes]:
    whole = memoryview(b"".join(contents))
    for start in range(0, len(whole), piece):
        yield bytes(whole[start : start + piece])


def _record(name: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _checked(path: Path, record: Mapping[str, Any]) -> bytes:
    if PurePosixPath(record["name"]).name != record["name"]:
        raise DamagedError(f"got a piece called {record['name']!r}; its manifest is not ours")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedError(f"{path}: {error.strerror}; copy all pieces that {MANIFEST} names") from None
    _compare(str(path), data, record)
    return data


def _compare(name: str, data: bytes, record: Mapping[str, Any]) -> None:
    if _record(record["name"], data) != record:
        raise DamagedError(f"{name}: is not what {MANIFEST} says (size {len(data)}); copy it again")


def _inside(name: str) -> Path:
    """The name as a path that stays where it is put."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise DamagedError(f"got a file called {name!r}; its manifest is not ours")
    return Path(*parts)


def _write(path: Path, data: bytes) -> None:
    """Write so that the name never stands for half of it."""
    partial = path.with_name(f".{path.name}.part")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
