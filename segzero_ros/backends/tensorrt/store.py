"""Built engines on disk: found by what they were built from and for, and checked before TensorRT sees a byte.

An engine is machine code made for one GPU, driver and TensorRT version, so beside each lies a JSON file with its
``Identity`` and SHA-256. ``open_engine`` refuses (BUNDLE_BACKEND, BUNDLE_ALTERED) whatever does not fit, with the
command that builds it anew. Covered: engines missing, cut short, flipped, foreign, built from another graph or for
another machine, reached through a symbolic link, writable by others or owned by somebody else; what was hashed is what
is deserialised. Not covered: whoever can write as this user, or as root.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from segzero_ros.backends.decoding.generation import read_shape
from segzero_ros.backends.tensorrt.library import Gpu, Library, find_cuda, find_gpu, find_library
from segzero_ros.backends.tensorrt.profiles import ROLES, Profiles, reasoner_profiles, segmenter_profiles
from segzero_ros.bundle import MANIFEST, Bundle, expand_home
from segzero_ros.errors import Code, RejectedInput

FORMAT = 1  # of the JSON beside an engine, and of how engines are built
MAX_NOTE_BYTES = 1 << 16
WEIGHTS = (".bin", ".data")  # external weights, which belong to the graph beside them


@dataclass(frozen=True, slots=True)
class Identity:
    """What an engine was built from and for; two machines share an engine only when all of it is equal.

    ``graph``: SHA-256 of the ONNX file together with its external weights. ``profiles``: the ranges of shapes, as JSON.
    """

    format: int
    role: str
    graph: str
    precision: str
    profiles: str
    flavour: str
    version: str
    gpu: str
    capability: str
    driver: str

    @property
    def key(self) -> str:
        """SHA-256 over all fields."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Note:
    """The JSON beside an engine: its identity, its own SHA-256 and size, and how long building took."""

    identity: Identity
    sha256: str
    bytes: int
    seconds: float


def engine_folder(engine_dir: str, bundle: Bundle) -> Path:
    """Where the engines of ``bundle`` lie: ``engine_dir`` or ``~/.cache/segzero_ros/engines``, by the bundle's name."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or expand_home("~/.cache"))
    return (expand_home(engine_dir) if engine_dir else cache / "segzero_ros" / "engines") / bundle.name


def engine_file(folder: Path, identity: Identity) -> Path:
    """The engine's file; its note is the same with .json."""
    return folder / f"{identity.role}-{identity.key[:16]}.engine"


def wanted_identity(bundle: Bundle, role: str, library: Library, gpu: Gpu) -> Identity:
    """Return the identity that the engine for ``role`` of ``bundle`` must have here."""
    profiles = json.dumps(profiles_of(bundle, role))
    return Identity(
        FORMAT, role, graph_hash(bundle, role), precision(bundle), profiles,
        library.flavour, library.version, gpu.name, gpu.capability, gpu.driver,
    )  # fmt: skip


def profiles_of(bundle: Bundle, role: str) -> Profiles:
    """Return the profiles of the graph for ``role``."""
    part, graph = ROLES[role]
    if part == "segmenter":
        return segmenter_profiles(graph)
    return reasoner_profiles(graph, read_shape(bundle.reasoner.files["config"]))


def roles_of(bundle: Bundle, part: str = "all") -> tuple[str, ...]:
    """The roles whose graphs the bundle has, of one part or of ``all``."""
    graphs = {"segmenter": bundle.segmenter.files, "reasoner": bundle.reasoner.files}
    return tuple(role for role, (of, graph) in ROLES.items() if part in ("all", of) and graph in graphs[of])


def graph_file(bundle: Bundle, role: str) -> Path:
    """Return the ONNX file for ``role``."""
    part, graph = ROLES[role]
    return (bundle.segmenter if part == "segmenter" else bundle.reasoner).files[graph]


def precision(bundle: Bundle) -> str:
    """Arithmetic of the bundle's graphs, "float" or "half": networks are strongly typed, so it is the engines' too."""
    return str(bundle.provenance.get("arithmetic", "float"))


def graph_hash(bundle: Bundle, role: str) -> str:
    """SHA-256 over the hashes of the graph and of the weights beside it, as the manifest has them.

    The bundle was opened, so its files are what the manifest says; 14 GB need not be read a second time.
    """
    path = graph_file(bundle, role).relative_to(bundle.path).as_posix()
    listed: dict[str, dict[str, Any]] = json.loads((bundle.path / MANIFEST).read_text("utf-8"))["files"]
    folder = path.rpartition("/")[0]
    beside = (file for file in listed if file.rpartition("/")[0] == folder and file.endswith(WEIGHTS))
    hashes = [f"{file} {listed[file]['sha256']}" for file in sorted({path, *beside})]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


# ---- finding and checking ----


def read_note(file: Path) -> Note:
    """Read the JSON beside the engine ``file``; ``ValueError`` when it is none of ours."""
    beside = file.with_suffix(".json")
    found = beside.stat()
    if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_NOTE_BYTES:
        raise ValueError(f"{beside.name} is no file, or too long")
    try:
        content = json.loads(beside.read_text("utf-8"))
        return Note(**{**content, "identity": Identity(**content["identity"])})
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{beside.name} is no note of an engine ({error})") from None


def missing_engines(bundle: Bundle, roles: tuple[str, ...], folder: Path, library: Library, gpu: Gpu) -> list[str]:
    """Return why each engine that is not there is not: what differs from the nearest one, or that there is none."""
    wanted = (wanted_identity(bundle, role, library, gpu) for role in roles)
    return [why_missing(folder, identity) for identity in wanted if not engine_file(folder, identity).is_file()]


def why_missing(folder: Path, wanted: Identity) -> str:
    """Return in a few words why there is no engine for ``wanted`` in ``folder``."""
    differences = [differing(note.identity, wanted) for _, note in notes(folder) if note.identity.role == wanted.role]
    nearest = min(differences, key=len, default=[])
    return f"{wanted.role}: {', '.join(nearest) if nearest else 'not built'}"


def differing(got: Identity, want: Identity) -> list[str]:
    """Name the fields in which two identities differ; hashes and profiles only by name."""
    names = {"graph": "another graph", "profiles": "other shapes"}
    got_fields, want_fields = asdict(got), asdict(want)
    unequal = [name for name in got_fields if got_fields[name] != want_fields[name]]
    return [names.get(name) or f"{name} {got_fields[name]!r}, want {want_fields[name]!r}" for name in unequal]


def notes(folder: Path) -> Iterator[tuple[Path, Note]]:
    """Yield the engines of ``folder`` that have a readable note."""
    for file in sorted(folder.glob("*.engine")):
        try:
            yield file, read_note(file)
        except (OSError, ValueError):
            continue


@contextmanager
def open_engine(bundle: Bundle, role: str, folder: Path, library: Library, gpu: Gpu) -> Iterator[memoryview]:
    """Give the bytes of the engine for ``role``, checked; they are gone when the context ends.

    Raises ``RejectedInput``: BUNDLE_BACKEND when there is none for this bundle and machine, BUNDLE_ALTERED when it must
    not be used.
    """
    wanted = wanted_identity(bundle, role, library, gpu)
    file = engine_file(folder, wanted)
    if not file.exists() and not file.is_symlink():
        raise refused(Code.BUNDLE_BACKEND, bundle, f"no engine for {why_missing(folder, wanted)}")
    try:
        for each, kind in ((folder, stat.S_ISDIR), (file, stat.S_ISREG), (file.with_suffix(".json"), stat.S_ISREG)):
            check_owner(each, kind)
        note = read_note(file)
    except (OSError, ValueError) as error:
        raise refused(Code.BUNDLE_ALTERED, bundle, f"{file}: {error}") from None
    if note.identity != wanted:
        raise refused(Code.BUNDLE_ALTERED, bundle, f"{file}: built for {', '.join(differing(note.identity, wanted))}")
    with _mapped(bundle, file, note) as view:
        yield view


def check_owner(path: Path, kind: Callable[[int], bool]) -> None:
    """``ValueError`` unless ``path`` is of ``kind``, of this user or of root, and nobody else may write it."""
    found = path.lstat()
    if not kind(found.st_mode):
        raise ValueError(f"{path.name} is a symbolic link or something else than a plain {_KINDS[kind]}")
    if found.st_uid not in (os.geteuid(), 0):
        raise ValueError(f"{path.name} belongs to user {found.st_uid}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ValueError(f"{path.name} may be written by others (mode {found.st_mode & 0o777:o})")


_KINDS = {stat.S_ISDIR: "folder", stat.S_ISREG: "file"}


@contextmanager
def _mapped(bundle: Bundle, file: Path, note: Note) -> Iterator[memoryview]:
    """Map the engine and compare its hash; the very bytes that were hashed are handed on."""
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size != note.bytes or not size:
            raise refused(Code.BUNDLE_ALTERED, bundle, f"{file}: got {size} bytes, want {note.bytes}")
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
            if hashlib.sha256(view).hexdigest() != note.sha256:
                raise refused(Code.BUNDLE_ALTERED, bundle, f"{file}: got other content, want SHA-256 {note.sha256}")
            yield view


def refused(code: Code, bundle: Bundle, what: str) -> RejectedInput:
    """Return the refusal of an engine, with the command that builds it anew."""
    return RejectedInput(code, f"{what}; build it here: segzero engines build {bundle.path}")


def verify(bundle: Bundle, engine_dir: str, roles: tuple[str, ...] | None = None) -> list[Path]:
    """Check the engines of ``roles``, None = all of the bundle's, as ``open_engine`` does; return their files."""
    library, gpu = find_library(), find_gpu(find_cuda())
    folder, files = engine_folder(engine_dir, bundle), []
    for role in roles_of(bundle) if roles is None else roles:
        with open_engine(bundle, role, folder, library, gpu):
            files.append(engine_file(folder, wanted_identity(bundle, role, library, gpu)))
    return files
