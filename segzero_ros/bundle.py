"""A bundle: the directory in which one reasoner and one segmenter travel from export to the robot.

``bundle.json`` (the manifest, format 1) is trusted; every other file is checked against it before any engine sees a
byte. ``open_bundle`` checks in this order: format, then every file's size and SHA-256, then the profile.
Covered: files missing, cut short, flipped, foreign, writable by anybody, reached through a symbolic link or a path that
leaves the bundle; graphs that read their weights from a file the manifest does not list. Not covered: a file exchanged
between the check and its use, and whoever can write the manifest.
"""

import hashlib
import json
import mmap
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from segzero_ros.errors import Code, RejectedInput, nearest
from segzero_ros.profile import Profile, get_profile

FORMAT = 1
MANIFEST = "bundle.json"
CURRENT = "current"  # the name that stands for what `segzero bundle use` said
MAX_MANIFEST_BYTES = 1 << 20  # the demo bundle's has 4 kB
MAX_SPELLING_CHARS = 12  # of white space; see AnswerGrammar
MAX_IMAGE_SIDE = 4096  # of a model's input; the largest in use is 1024
_HASH_CHUNK = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_OWN_NAME = re.compile(r"[^\W_][^/\\]{0,99}")  # a manifest's: it becomes a folder, and is shown


@dataclass(frozen=True, slots=True)
class ReasonerFiles:
    """The reasoner's part: ``files`` by role ("vision", "embeddings", "decoder", "tokenizer", "config"), absolute.

    ``max_length``: tokens of the longest sequence, image, prompt and answer together.
    """

    architecture: str
    files: Mapping[str, Path]
    max_length: int


@dataclass(frozen=True, slots=True)
class SegmenterFiles:
    """The segmenter's part: ``files`` by role ("encoder", "decoder"), absolute; ``image_size``: (width, height)."""

    architecture: str
    files: Mapping[str, Path]
    image_size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle: every file in it has the size and SHA-256 its manifest names.

    ``profile``: the named profile with this bundle's own prompt, system message and image size. ``versions``,
    ``provenance``, ``evaluation``: as the manifest has them, for people. ``self_test``: see ``backends/self_test.py``.
    ``spelling``: how this reasoner spaces and quotes its answers, by the slots of ``AnswerGrammar``.
    """

    path: Path
    name: str
    profile: Profile
    backends: tuple[str, ...]
    reasoner: ReasonerFiles
    segmenter: SegmenterFiles
    versions: Mapping[str, Any]
    provenance: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    self_test: Mapping[str, Any] = field(default_factory=dict)
    spelling: Mapping[str, str] = field(default_factory=dict)


# ---- finding one ----


def resolve_bundle(name_or_path: str) -> Path:
    """Return the directory of a bundle: an absolute path, ``package://pkg/sub``, ``./path``, or a bundle's name.

    Names are looked for in ``bundles/`` of the repository or the wheel, in every installed
    ``share/segzero_ros/bundles/`` and in ``~/.cache/segzero_ros/bundles/``; the working directory counts only for paths
    that begin with ``./`` or ``../``. ``current`` is what `segzero bundle use` said last.
    Raises ``RejectedInput`` BUNDLE_MISSING.
    """
    text = name_or_path.strip()
    if text == CURRENT:
        text = current_bundles()[0]
    if text.startswith("package://"):
        return _existing(package_paths(text), text)
    if text.startswith(("/", "~", "./", "../")) or text in (".", ".."):
        return _existing([expand_home(text).absolute()], text)
    if "/" in text or not _NAME.fullmatch(text):
        raise _missing(f"got {text[:200]!r}, want a bundle's name, an absolute path, package://PKG/PATH or ./PATH")
    return _existing([folder / text for folder in bundle_folders()], text)


def current_file() -> Path:
    """Return the file in which `segzero bundle use` notes the bundles that ``current`` has been, the newest first."""
    return Path(os.environ.get("XDG_STATE_HOME") or expand_home("~/.local/state")) / "segzero_ros" / "bundles.json"


def current_bundles() -> list[str]:
    """Return the directories that ``current`` has been, the newest first; ``RejectedInput`` BUNDLE_MISSING if none."""
    try:
        noted = json.loads(current_file().read_bytes()[:MAX_MANIFEST_BYTES])["bundles"]
        paths = [path for path in noted if isinstance(path, str) and path.startswith("/")]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        paths = []
    if not paths:
        raise _missing(f"got the bundle {CURRENT!r}, but none is noted in {current_file()}; segzero bundle use NAME")
    return paths


def open_named_bundle(text: str, *, verify: bool = True) -> Bundle:
    """Find and open the bundle that a command line names: a word is a name, what has a slash is below this directory.

    ``verify``: see `open_bundle`. Raises what `resolve_bundle` and `open_bundle` raise.
    """
    plain = text.startswith(("/", "~", "./", "../", "package://")) or "/" not in text
    return open_bundle(resolve_bundle(text if plain else f"./{text}"), verify=verify)


def expand_home(text: str) -> Path:
    """Return the path with ~ at its beginning replaced; as it is where nobody knows whose home that would be."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def user_path(text: str) -> Path:
    """Return the path that somebody named to be written to; CONFIG_VALUE where ~ is the home of nobody known."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        detail = f"got {text[:200]!r} ({error}); give an absolute path, or set HOME"
        raise RejectedInput(Code.CONFIG_VALUE, detail) from None


def bundle_folders() -> list[Path]:
    """Return the directories in which bundles are looked for by name, first one first."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or expand_home("~/.cache"))
    shares = [prefix / "share" / "segzero_ros" / "bundles" for prefix in _prefixes()]
    in_wheel = _repository() / "segzero_ros" / "bundles"
    return [_repository() / "bundles", in_wheel, *shares, cache / "segzero_ros" / "bundles"]


def _existing(candidates: list[Path], text: str) -> Path:
    for candidate in candidates:
        if (candidate / MANIFEST).is_file():
            return candidate
    known = sorted({found.parent.name for folder in bundle_folders() for found in folder.glob(f"*/{MANIFEST}")})
    searched = ", ".join(str(candidate) for candidate in candidates) or "nowhere"
    raise _missing(f"got {text[:200]!r}, but no {MANIFEST} in {searched}{nearest(text, known) if known else ''}")


def package_paths(uri: str) -> list[Path]:
    """Return where a file of an installed ROS package, or of ours in the source tree, may lie; BUNDLE_MISSING."""
    package, _, inside = uri.removeprefix("package://").partition("/")
    if not _NAME.fullmatch(package) or ".." in Path(inside).parts:
        raise _missing(f"got {uri[:200]!r}, want package://PACKAGE/PATH without ..")
    shares = [prefix / "share" / package / inside for prefix in _prefixes()]
    return [*shares, _repository() / inside] if package == "segzero_ros" else shares


def _prefixes() -> list[Path]:
    return [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]


def _repository() -> Path:
    return Path(__file__).resolve().parent.parent


def _missing(what: str) -> RejectedInput:
    return RejectedInput(Code.BUNDLE_MISSING, f"{what}; make one with `segzero export`, or use the name tabletop")


# ---- opening one ----


def open_bundle(path: Path | str, *, verify: bool = True) -> Bundle:
    """Check the bundle in the directory ``path`` and return it.

    ``verify``: False where another process is to open its files and checks them: the manifest alone is read.

    Raises ``RejectedInput``, in this order: BUNDLE_MISSING, BUNDLE_FORMAT (the manifest), BUNDLE_ALTERED (a file is
    not what the manifest names, or anybody may write it), BUNDLE_FORMAT (a graph has weights outside), BUNDLE_PROFILE.
    """
    path = Path(path)
    manifest = _Manifest(_read_manifest(path), path / MANIFEST)
    reasoner, segmenter = manifest.part("reasoner"), manifest.part("segmenter")
    files = manifest.files()
    for part in (reasoner, segmenter):
        part.check_listed(files)
    backends = manifest.texts("backends")
    name, prompt, system = manifest.name(), manifest.text("prompt"), manifest.text("system")
    profile_name, image_size = manifest.text("profile"), manifest.size("image_size")
    bundle_parts = (
        ReasonerFiles(reasoner.text("architecture"), reasoner.paths(path), reasoner.count("max_length")),
        SegmenterFiles(segmenter.text("architecture"), segmenter.paths(path), segmenter.size("image_size")),
    )
    notes = [manifest.notes(key) for key in ("versions", "provenance", "evaluation")]
    more = [manifest.optional("self_test"), manifest.spelling()]
    if more[0] and str(more[0].get("picture")) not in files:
        raise _bad_format(
            path / MANIFEST, f"self_test.picture = {more[0].get('picture')!r}"[:200], "a path listed under files"
        )
    if verify:
        _verify_files(path, files)
        _verify_graphs(path, files)
    profile = replace(get_profile(profile_name), prompt=prompt, system=system, image_size=image_size)
    return Bundle(path, name, profile, backends, *bundle_parts, *notes, *more)


def _read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest's JSON object, of a format this code reads."""
    file = path / MANIFEST
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # a FIFO would never end, nor would a device
            raise _bad_format(file, "no regular file", "a manifest")
        with file.open("rb") as stream:
            text = stream.read(MAX_MANIFEST_BYTES + 1)
        if len(text) > MAX_MANIFEST_BYTES:
            raise _bad_format(file, f"more than {MAX_MANIFEST_BYTES} bytes", "a manifest")
        content = json.loads(text.decode("utf-8"))
    except FileNotFoundError:
        raise _missing(f"got {path}, which has no {MANIFEST}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise _bad_format(file, f"no readable JSON ({error})", "a manifest") from None
    if not isinstance(content, dict):
        raise _bad_format(file, type(content).__name__, "a JSON object")
    if content.get("format") != FORMAT or isinstance(content["format"], bool):
        raise _bad_format(file, f"format {content.get('format')!r}", f"format {FORMAT}")
    return content


class _Manifest:
    """Typed reading of the manifest or of one part of it; everything wrong is BUNDLE_FORMAT with the key's name."""

    def __init__(self, content: Mapping[str, Any], file: Path, prefix: str = "") -> None:
        self._content = content
        self._file = file
        self._prefix = prefix

    def text(self, key: str) -> str:
        return str(self._get(key, lambda value: isinstance(value, str) and value, "text"))

    def name(self) -> str:
        """Return the bundle's name: engines built of it go into a folder called so."""
        wanted = "a name of at most 100 printable characters that begins with a letter or digit, without / and \\"
        return str(self._get("name", _is_own_name, wanted))

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(self._get(key, lambda value: isinstance(value, list) and all(map(_is_text, value)), "texts"))

    def count(self, key: str) -> int:
        return int(self._get(key, lambda value: type(value) is int and 0 < value < 1 << 31, "a positive number"))

    def size(self, key: str) -> tuple[int, int]:
        width, height = self._get(key, _is_size, f"[width, height] of 1..{MAX_IMAGE_SIDE}")
        return width, height

    def notes(self, key: str) -> Mapping[str, Any]:
        return MappingProxyType(dict(self._get(key, lambda value: isinstance(value, dict), "an object")))

    def optional(self, key: str) -> Mapping[str, Any]:
        return self.notes(key) if key in self._content else MappingProxyType({})

    def spelling(self) -> Mapping[str, str]:
        """Return what bundles of before do not have."""
        for slot, text in self.optional("spelling").items():
            if not isinstance(text, str) or len(text) > MAX_SPELLING_CHARS or text.strip(" \n\"'"):
                raise _bad_format(self._file, f"spelling.{slot} = {text!r}"[:200], "white space or a quote")
        return self.optional("spelling")

    def part(self, key: str) -> "_Manifest":
        return _Manifest(self.notes(key), self._file, f"{self._prefix}{key}.")

    def files(self) -> Mapping[str, tuple[str, int]]:
        """Return {relative path: (SHA-256 in hexadecimal, bytes)}; every path stays inside the bundle."""
        return {inside: self._entry(inside, entry) for inside, entry in self.notes("files").items()}

    def check_listed(self, files: Mapping[str, object]) -> None:
        for role, inside in self.notes("files").items():
            if not isinstance(inside, str) or inside not in files:
                raise _bad_format(self._file, f"{self._prefix}files.{role} = {inside!r}", "a path listed under files")

    def paths(self, folder: Path) -> Mapping[str, Path]:
        return MappingProxyType({role: folder / inside for role, inside in self.notes("files").items()})

    def _entry(self, inside: str, entry: object) -> tuple[str, int]:
        parts = inside.split("/")
        if (
            inside.startswith("/")
            or "\\" in inside
            or "\0" in inside
            or not all(p not in ("", ".", "..") for p in parts)
        ):
            raise _bad_format(self._file, f"the path {inside!r}", "one inside the bundle, without .. or links")
        if not isinstance(entry, dict):
            raise _bad_format(self._file, f"files[{inside!r}] = {entry!r}", "an object with sha256 and bytes")
        digest, size = entry.get("sha256"), entry.get("bytes")
        if not (isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest) and type(size) is int and size >= 0):
            raise _bad_format(self._file, f"files[{inside!r}] = {entry!r}", "sha256 (64 hexadecimal digits) and bytes")
        return digest, size

    def _get(self, key: str, right: Any, wanted: str) -> Any:
        value = self._content.get(key)
        if not right(value):
            raise _bad_format(self._file, f"{self._prefix}{key} = {value!r}"[:200], wanted)
        return value


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_own_name(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and _OWN_NAME.fullmatch(value) is not None


def _is_size(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(side) is int and 1 <= side <= MAX_IMAGE_SIDE for side in value)
    )


def _verify_files(path: Path, files: Mapping[str, tuple[str, int]]) -> None:
    """Refuse (BUNDLE_ALTERED) a file that is not what the manifest says, and one it does not name beside those."""
    _check_writers(path, {".", MANIFEST, *(part for inside in files for part in _with_parents(inside))})
    for inside, (digest, size) in files.items():
        file = path / inside
        if any((path / part).is_symlink() for part in _with_parents(inside)):
            raise _altered(path, inside, "a symbolic link", "a regular file")
        if not file.is_file():
            raise _altered(path, inside, "no file", f"{size} bytes")
        if file.stat().st_size != size:
            raise _altered(path, inside, f"{file.stat().st_size} bytes", f"{size} bytes")
        if hash_file(file) != digest:
            raise _altered(path, inside, "other content", f"SHA-256 {digest}")
    for stranger in _unlisted(path, files):
        raise _altered(path, stranger, "a file that the manifest does not list", "none")


def _check_writers(path: Path, insides: set[str]) -> None:
    """Refuse what anybody on this machine may exchange, between this check and the engine's reading too."""
    for inside in sorted(insides):
        try:
            mode = (path / inside).lstat().st_mode
        except OSError:
            continue  # said more exactly by whoever reads it
        if mode & stat.S_IWOTH and not stat.S_ISLNK(mode):
            raise RejectedInput(
                Code.BUNDLE_ALTERED,
                f"{path / inside}: got mode {mode & 0o777:o}, which lets anybody write it, want a bundle that only its "
                f"owner can change; run `chmod -R o-w {path}`, then `segzero bundle verify {path}`",
            )


def _with_parents(inside: str) -> list[str]:
    parts = inside.split("/")
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _unlisted(path: Path, files: Mapping[str, object]) -> list[str]:
    """Return what lies in the folders of listed files without being listed; an engine might be led to read it."""
    folders = {inside.rpartition("/")[0] for inside in files} - {""}
    found = (f"{folder}/{entry.name}" for folder in sorted(folders) for entry in sorted((path / folder).iterdir()))
    return [inside for inside in found if inside not in files and inside not in folders]


def hash_file(file: Path) -> str:
    """Return the SHA-256 of ``file`` in hexadecimal, reading it in pieces."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _bad_format(file: Path, got: str, wanted: str) -> RejectedInput:
    shown = got if len(got) <= 200 else f"{got[:200]}..."
    return RejectedInput(
        Code.BUNDLE_FORMAT, f"{file}: got {shown}, want {wanted}; export the bundle again with this version of segzero"
    )


def _altered(path: Path, inside: str, got: str, wanted: str) -> RejectedInput:
    return RejectedInput(
        Code.BUNDLE_ALTERED,
        f"{path / inside}: got {got}, want {wanted}; copy the bundle again or make it anew with `segzero export`, "
        f"then run `segzero bundle verify {path}`",
    )


# ---- what a graph reads beside itself ----

#: Where ONNX's messages hold others on the way to a tensor's external data: kind -> {field number: kind}.
_NESTED: Mapping[str, Mapping[int, str]] = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "StringStringEntry"},
}


def _verify_graphs(path: Path, files: Mapping[str, object]) -> None:
    """Refuse (BUNDLE_FORMAT) a graph with weights in a file that is not listed; older ONNX Runtimes read any."""
    for inside in files:
        if inside.endswith(".json") or not (path / inside).stat().st_size:
            continue
        with (path / inside).open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            places = set(external_places(data))
        folder = inside.rpartition("/")[0]
        for place in sorted(places):
            if (f"{folder}/{place}" if folder else place) not in files:
                raise _bad_format(path / inside, f"weights in {place[:200]!r}", "a file listed in the same folder")


def external_places(data: "bytes | mmap.mmap") -> Iterator[str]:
    """Yield where an ONNX model says that its tensors' external data is; what is no ONNX model has none.

    Follows protobuf's wire format and passes over weights, so that it costs little whatever their size.
    """
    todo = [("Model", 0, len(data))]
    while todo:
        kind, start, end = todo.pop()
        for number, first, last in _protobuf_fields(data, start, end):
            inner = _NESTED[kind].get(number, "")
            if inner in _NESTED:
                todo.append((inner, first, last))
            elif inner:
                entry = {key: data[a:b] for key, a, b in _protobuf_fields(data, first, last)}
                if entry.get(1) == b"location":
                    yield entry.get(2, b"").decode("utf-8", "replace")


def _protobuf_fields(data: "bytes | mmap.mmap", at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (number, first byte, end) of each field with a length; ends at what no parser of protobuf would take."""
    while at < end:
        tag, at = _protobuf_number(data, at, end)
        wire_type = tag & 7
        if wire_type == 2:
            size, at = _protobuf_number(data, at, end)
            if at + size > end:
                return
            yield tag >> 3, at, at + size
            at += size
        elif wire_type == 0:
            _, at = _protobuf_number(data, at, end)
        else:
            at += {1: 8, 3: 0, 4: 0, 5: 4}.get(wire_type, end)  # what is in a group is looked at as if it stood alone


def _protobuf_number(data: "bytes | mmap.mmap", at: int, end: int) -> tuple[int, int]:
    """Return the varint at ``at`` and where it ends; behind ``end`` for one that does not."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
    return 0, end + 1


# ---- writing one ----


def write_manifest(
    path: Path,
    *,
    name: str,
    profile: Profile,
    backends: tuple[str, ...],
    reasoner: Mapping[str, Any],
    segmenter: Mapping[str, Any],
    versions: Mapping[str, Any],
    provenance: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    more: Mapping[str, Any] = MappingProxyType({}),
) -> Bundle:
    """Hash every file below ``path``'s folders, write ``bundle.json`` in one step and open the result.

    ``reasoner``: {"architecture", "files": {role: relative path}, "max_length"}; ``segmenter``: {"architecture",
    "image_size", "files"}. ``more``: "self_test", "spelling". Files directly beside
    the manifest (a README, pictures) are not part of the bundle.
    """
    inside = sorted(file.relative_to(path).as_posix() for file in path.glob("*/**/*") if file.is_file())
    manifest = {
        "format": FORMAT,
        "name": name,
        "profile": profile.name,
        "prompt": profile.prompt,
        "system": profile.system,
        "image_size": list(profile.image_size),
        "backends": list(backends),
        "reasoner": dict(reasoner),
        "segmenter": dict(segmenter),
        "files": {file: {"sha256": hash_file(path / file), "bytes": (path / file).stat().st_size} for file in inside},
        "versions": dict(versions),
        "provenance": dict(provenance),
        "evaluation": dict(evaluation),
        **{key: dict(value) for key, value in more.items() if value},
    }
    partial = path / f".{MANIFEST}.partial"
    partial.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", "utf-8")
    partial.replace(path / MANIFEST)
    return open_bundle(path)
