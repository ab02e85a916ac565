"""No engine that could be wrong reaches TensorRT: a spy counts what is deserialised. No build leaves half an engine."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segzero_ros.backends import EngineOptions, tensorrt
from segzero_ros.backends.tensorrt import builder as tensorrt_engine
from segzero_ros.backends.tensorrt import store as tensorrt_store
from segzero_ros.backends.tensorrt.builder import BuildFailed, build_engines, build_network, write_whole
from segzero_ros.backends.tensorrt.library import Gpu, Library
from segzero_ros.backends.tensorrt.profiles import ROLES
from segzero_ros.backends.tensorrt.store import engine_file, engine_folder, open_engine, wanted_identity
from segzero_ros.bundle import Bundle, open_bundle
from segzero_ros.cli.main import main
from segzero_ros.errors import Code, RejectedInput
from tests.backends.tensorrt.fake_tensorrt import FakeCuda, fake_tensorrt

BUNDLE = Path(__file__).parents[3] / "bundles" / "tabletop"
GPU = Gpu("Fake GPU", "8.9", "CUDA 13.0")
SEGMENTER = ("segmenter.encoder", "segmenter.decoder")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(BUNDLE)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    cuda = FakeCuda()
    library = Library("tensorrt_rtx", "1.7.1", fake_tensorrt("tensorrt_rtx", cuda))
    for module in (tensorrt, tensorrt_store):
        monkeypatch.setattr(module, "find_library", lambda: library)
        monkeypatch.setattr(module, "find_cuda", lambda: cuda)
        monkeypatch.setattr(module, "find_gpu", lambda _: GPU)
    return library


@pytest.fixture
def engines(bundle: Bundle, library: Library, tmp_path: Path) -> Path:
    """The folder with the segmenter's two engines."""
    build_engines(bundle, SEGMENTER, str(tmp_path), library, GPU, report=lambda _: None)
    return engine_folder(str(tmp_path), bundle)


def encoder(engines: Path) -> Path:
    return next(engines.glob("segmenter.encoder-*.engine"))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def exchange(file: Path) -> None:
    shutil.copy(next(file.parent.glob("segmenter.decoder-*.engine")), file)


def link(file: Path) -> None:
    file.rename(file.with_suffix(".real"))
    file.symlink_to(file.with_suffix(".real"))


def link_to_nothing(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


def note_of_another(file: Path) -> None:
    shutil.copy(next(file.parent.glob("segmenter.decoder-*.json")), file.with_suffix(".json"))


def altered_note(key: str, value: Any) -> Callable[[Path], None]:
    def alter(file: Path) -> None:
        note = json.loads(file.with_suffix(".json").read_text())
        (note if key in note else note["identity"])[key] = value
        file.with_suffix(".json").write_text(json.dumps(note))

    alter.__name__ = f"note_says_other_{key}"
    return alter


def named(name: str, spoil: Callable[[Path], object]) -> Callable[[Path], object]:
    spoil.__name__ = name
    return spoil


SPOILT = [
    *(truncate, empty, flip, exchange, link, link_to_nothing, note_of_another),
    *(altered_note(key, "x") for key in ("sha256", "bytes", "gpu", "driver", "version", "graph", "flavour", "role")),
    altered_note("nonsense", 1),
    named("a_directory", lambda file: (file.unlink(), file.mkdir())),
    named("world_writable", lambda file: file.chmod(0o602)),
    named("group_writable", lambda file: file.chmod(0o620)),
    named("note_world_writable", lambda file: file.with_suffix(".json").chmod(0o606)),
    named("folder_world_writable", lambda file: file.parent.chmod(0o777)),
    named("no_note", lambda file: file.with_suffix(".json").unlink()),
    named("note_is_no_json", lambda file: file.with_suffix(".json").write_text("[" * 1000)),
    named("note_is_a_list", lambda file: file.with_suffix(".json").write_text("[]")),
    named("note_is_huge", lambda file: file.with_suffix(".json").write_text(" " * 100_000)),
]


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_a_spoilt_engine_is_refused_before_it_is_deserialised(
    spoil: Callable[[Path], object], bundle: Bundle, library: Library, engines: Path, tmp_path: Path
) -> None:
    spoil(encoder(engines))
    with pytest.raises(RejectedInput, match=f"segzero engines build {bundle.path}") as refusal:
        tensorrt.open_segmenter(bundle, EngineOptions(engine_dir=str(tmp_path)))
    assert refusal.value.code is Code.BUNDLE_ALTERED
    assert library.api.Runtime.deserialised == 0


def test_a_thousand_flipped_bits_are_all_refused(bundle: Bundle, library: Library, engines: Path) -> None:
    file, rng = encoder(engines), np.random.default_rng(0)
    good = file.read_bytes()
    for _ in range(1000):
        bad = bytearray(good)
        bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
        file.write_bytes(bad)
        with pytest.raises(RejectedInput), open_engine(bundle, SEGMENTER[0], engines, library, GPU):
            pass
    file.write_bytes(good)
    with open_engine(bundle, SEGMENTER[0], engines, library, GPU) as plan:
        assert bytes(plan) == good


def test_a_note_that_never_ends_is_passed_over(bundle: Bundle, engines: Path) -> None:
    note = encoder(engines).with_suffix(".json")
    note.unlink()
    os.mkfifo(note)
    assert encoder(engines) not in [file for file, _ in tensorrt_store.notes(engines)]
    assert len(list(tensorrt_store.notes(engines))) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_an_engine_of_another_user_is_refused(bundle: Bundle, library: Library, engines: Path, tmp_path: Path) -> None:
    os.chown(encoder(engines), 12345, 12345)
    with pytest.raises(RejectedInput, match="belongs to user 12345"):
        tensorrt.open_segmenter(bundle, EngineOptions(engine_dir=str(tmp_path)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"gpu": replace(GPU, driver="CUDA 13.1")}, "driver 'CUDA 13.0', want 'CUDA 13.1'"),
        ({"gpu": replace(GPU, capability="12.0")}, "capability '8.9', want '12.0'"),
        ({"version": "1.8.0"}, "version '1.7.1', want '1.8.0'"),
        ({"flavour": "tensorrt"}, "flavour 'tensorrt_rtx', want 'tensorrt'"),
    ],
)
def test_an_engine_for_another_machine_is_named_and_not_opened(
    change: dict[str, Any], told: str, bundle: Bundle, library: Library, engines: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    here = replace(library, **{key: value for key, value in change.items() if key != "gpu"})
    monkeypatch.setattr(tensorrt, "find_library", lambda: here)
    monkeypatch.setattr(tensorrt, "find_gpu", lambda _: change.get("gpu", GPU))
    with pytest.raises(RejectedInput) as refusal:
        tensorrt.open_segmenter(bundle, EngineOptions(engine_dir=str(tmp_path)))
    assert refusal.value.code is Code.BUNDLE_BACKEND and told in str(refusal.value)
    assert library.api.Runtime.deserialised == 0


def test_another_graph_wants_another_engine(bundle: Bundle, library: Library, engines: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(BUNDLE, copy)
    manifest = json.loads((copy / "bundle.json").read_text())
    manifest["files"]["segmenter/encoder.onnx"]["sha256"] = "0" * 64
    (copy / "bundle.json").write_text(json.dumps(manifest))
    moved = {role: copy / path.relative_to(BUNDLE) for role, path in bundle.segmenter.files.items()}
    other = replace(bundle, path=copy, segmenter=replace(bundle.segmenter, files=moved))
    with pytest.raises(RejectedInput, match="another graph"), open_engine(other, SEGMENTER[0], engines, library, GPU):
        pass


def test_external_weights_are_part_of_the_graphs_hash(bundle: Bundle, library: Library, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(BUNDLE, copy)
    manifest = json.loads((copy / "bundle.json").read_text())
    moved = {role: copy / path.relative_to(BUNDLE) for role, path in bundle.segmenter.files.items()}
    other = replace(bundle, path=copy, segmenter=replace(bundle.segmenter, files=moved))
    keys = set()
    for digest in "012":
        manifest["files"]["segmenter/encoder.onnx.data"] = {"sha256": digest * 64, "bytes": 1}
        (copy / "bundle.json").write_text(json.dumps(manifest))
        keys.add(wanted_identity(other, SEGMENTER[0], library, GPU).key)
    assert len(keys) == 3


# ---- building ----


def test_a_full_disk_leaves_nothing_and_says_so(
    bundle: Bundle, library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def nearly_full(file: Path) -> Iterator[Any]:
        with unnamed(file) as (stream, publish):

            class Full:
                fileno, flush = stream.fileno, stream.flush

                def write(self, content: Any) -> int:
                    stream.write(content[:100])
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            yield Full(), publish

    unnamed = tensorrt_engine._unnamed
    monkeypatch.setattr(tensorrt_engine, "_unnamed", nearly_full)
    with pytest.raises(RejectedInput, match=r"No space left.*make room") as refusal:
        build_engines(bundle, SEGMENTER, str(tmp_path), library, GPU, report=lambda _: None)
    assert refusal.value.code is Code.BUNDLE_BACKEND
    assert list(engine_folder(str(tmp_path), bundle).iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(bundle: Bundle, library: Library) -> None:
    """As under a HOME that is read-only."""
    with pytest.raises(RejectedInput, match="give another --engine-dir") as refusal:
        build_engines(bundle, SEGMENTER, "/proc/engines", library, GPU, report=lambda _: None)
    assert refusal.value.code is Code.BUNDLE_BACKEND


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_really_full_file_system_leaves_nothing(tmp_path: Path) -> None:
    """A file-size limit stops the write in the kernel, as a full disk does."""
    program = (
        "import resource, signal, sys; from pathlib import Path;"
        "from segzero_ros.backends.tensorrt.builder import write_whole;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000));"
        "write_whole(Path(sys.argv[1]), memoryview(bytes(100_000)))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a.engine")]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("chunk", [0, 1, 9])
def test_a_build_killed_at_any_chunk_leaves_the_old_engine_or_nothing(tmp_path: Path, chunk: int) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from segzero_ros.backends.tensorrt import builder as t; t._CHUNK = 1000\n"
        "real, count = os.fsync, [0]\n"
        "class View(bytes):\n"
        "    def __getitem__(self, part):\n"
        "        count[0] += 1\n"
        f"        if count[0] > {chunk}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return bytes(self)[part]\n"
        "t.write_whole(Path(sys.argv[1]), View(bytes(10_000)))"
    )
    (tmp_path / "old.engine").write_bytes(b"old")
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path / name)], cwd=Path(__file__).parents[3])
        for name in ("old.engine", "new.engine")
    ]
    assert [process.wait() for process in running] == [-signal.SIGKILL] * 2
    left = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert left == {"old.engine": b"old"}


def test_where_files_cannot_be_unnamed_they_are_hidden_until_whole(tmp_path: Path, monkeypatch: Any) -> None:
    real = os.open

    def no_unnamed(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not here")
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(tensorrt_engine.os, "open", no_unnamed)
    write_whole(tmp_path / "a.engine", memoryview(b"whole"))
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"whole"]
    assert (tmp_path / "a.engine").stat().st_mode & 0o777 == 0o600


def test_what_a_killed_build_left_is_swept_but_not_what_another_is_writing(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for process in (gone.pid, os.getpid()):
        (tmp_path / f".a.engine.{process}.partial").write_bytes(b"half")
    tensorrt_engine.sweep(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [f".a.engine.{os.getpid()}.partial"]


def test_an_engine_is_private_whatever_the_umask(engines: Path) -> None:
    assert engines.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in engines.iterdir()} == {0o600}


def test_what_is_there_is_not_built_again_and_what_is_spoilt_is(
    bundle: Bundle, library: Library, engines: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    flip(encoder(engines))
    build_engines(bundle, SEGMENTER, str(tmp_path), library, GPU, report=said.append)
    assert "MB in" in said[0] and "there already" in said[1]
    tensorrt.open_segmenter(bundle, EngineOptions(engine_dir=str(tmp_path)))


def test_a_graph_that_tensorrt_does_not_parse_is_told_in_its_words(library: Library, monkeypatch: Any) -> None:
    class Refusing(library.api.OnnxParser):  # type: ignore[misc, name-defined]
        num_errors = 1

        def parse_from_file(self, model: str) -> bool:
            return False

        def get_error(self, index: int) -> Any:
            return type("Error", (), {"desc": lambda self: "no such operator"})()

    monkeypatch.setattr(library.api, "OnnxParser", Refusing)
    with pytest.raises(BuildFailed, match="no such operator"):
        build_network(library, Path("graph.onnx"), (), GPU)


# ---- the command ----


def test_verify_and_list_tell_what_is_there(
    bundle: Bundle, library: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [str(BUNDLE), "--engine-dir", str(tmp_path)]
    assert main(["engines", "verify", *where]) == 1
    assert "not built" in capsys.readouterr().out
    build_engines(bundle, list(ROLES), str(tmp_path), library, GPU, report=lambda _: None)
    assert main(["engines", "verify", *where, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["files"]) == len(ROLES)
    assert main(["engines", "list", *where]) == 0
    shown = capsys.readouterr().out
    assert all(role in shown for role in ROLES) and "Fake GPU" in shown
    truncate(engine_file(engine_folder(str(tmp_path), bundle), wanted_identity(bundle, SEGMENTER[0], library, GPU)))
    assert main(["engines", "verify", *where]) == 1
    assert f"segzero engines build {BUNDLE}" in capsys.readouterr().out
