"""A bundle opens only when every byte is the one its manifest names, and says what to do when it is not."""

import json
import os
import random
import shutil
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segzero_ros import bundle as bundle_module
from segzero_ros.backends import EngineOptions, open_pipeline
from segzero_ros.backends.fake import FakeReasoner, FakeSegmenter
from segzero_ros.bundle import (
    MANIFEST,
    Bundle,
    bundle_folders,
    open_bundle,
    resolve_bundle,
    write_manifest,
)
from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.profile import get_profile

PROMPT = 'Find "{question}".'
FILES = ["reasoner/decoder.onnx", "reasoner/tokenizer.json", "reasoner/vision.onnx", "segmenter/encoder.onnx"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle of four small files."""
    path = tmp_path / "small"
    for seed, inside in enumerate(FILES):
        (path / inside).parent.mkdir(parents=True, exist_ok=True)
        (path / inside).write_bytes(random.Random(seed).randbytes(300))
    write(path)
    return path


def write(path: Path, **changes: Any) -> Bundle:
    parts: dict[str, Any] = {
        "name": "small",
        "profile": replace(get_profile("abstaining_v2"), prompt=PROMPT, image_size=(168, 168)),
        "backends": ("onnx",),
        "reasoner": {
            "architecture": "Qwen2.5-VL",
            "files": {"vision": FILES[2], "decoder": FILES[0], "tokenizer": FILES[1]},
            "max_length": 512,
        },
        "segmenter": {"architecture": "SAM 2", "image_size": [256, 256], "files": {"encoder": FILES[3]}},
        "versions": {"onnx": "1"},
        "provenance": {"seed": 1},
        "evaluation": {},
    }
    return write_manifest(path, **(parts | changes))


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    change(manifest)
    (path / MANIFEST).write_text(json.dumps(manifest))


def refused(path: Path) -> RejectedInput:
    with pytest.raises(RejectedInput) as error:
        open_bundle(path)
    assert "want" in error.value.detail or "no bundle.json" in error.value.detail
    return error.value


# ---- opening ----


def test_a_whole_bundle_opens_with_its_own_prompt_and_image_size(folder: Path) -> None:
    bundle = open_bundle(folder)
    assert (bundle.name, bundle.profile.name, bundle.backends) == ("small", "abstaining_v2", ("onnx",))
    assert bundle.profile.render("The mug.") == 'Find "the mug".'
    assert bundle.profile.coordinate_size() == (168, 168)
    assert bundle.reasoner.files["vision"] == folder / FILES[2]
    assert bundle.reasoner.max_length == 512
    assert bundle.segmenter.image_size == (256, 256)
    assert bundle.versions["onnx"] == "1"


def test_a_name_that_would_begin_another_line_of_a_log_is_refused_in_one(folder: Path) -> None:
    edit(folder, lambda content: content.update(name="mine\x1b[2J\n[INFO] configured\u2028\u202e"))
    refusal = refused(folder)
    assert refusal.code is Code.BUNDLE_FORMAT and str(refusal).isprintable()


@pytest.mark.parametrize("key", ["format", "profile", "name", "prompt", "image_size", "files"])
def test_however_long_a_wrong_value_is_its_refusal_is_a_line(folder: Path, key: str) -> None:
    for value in (["x" * 100_000], "x" * 100_000):
        edit(folder, lambda content, value=value: content.update({key: value}))
        with pytest.raises(RejectedInput) as error:
            open_bundle(folder)
        assert len(error.value.detail) < len(str(folder)) + 600


def test_what_lies_beside_the_manifest_is_not_part_of_it(folder: Path) -> None:
    (folder / "README.md").write_text("a picture, perhaps")
    assert open_bundle(folder).name == "small"


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda m: m.update(format=2), "format"),
        (lambda m: m.update(format=True), "format"),
        (lambda m: m.pop("format"), "format"),
        (lambda m: m.pop("name"), "name"),
        (lambda m: m.update(name=""), "name"),
        (lambda m: m.update(prompt=5), "prompt"),
        (lambda m: m.update(image_size=[168]), "image_size"),
        (lambda m: m.update(image_size=[168, 10**9]), "image_size"),
        (lambda m: m.update(image_size=[168, True]), "image_size"),
        (lambda m: m.update(backends="onnx"), "backends"),
        (lambda m: m.update(reasoner=None), "reasoner"),
        (lambda m: m["reasoner"].update(max_length=0), "reasoner.max_length"),
        (lambda m: m["reasoner"]["files"].update(vision="reasoner/other.onnx"), "reasoner.files.vision"),
        (lambda m: m["reasoner"]["files"].update(vision=["x"]), "reasoner.files.vision"),
        (lambda m: m["segmenter"].pop("files"), "segmenter.files"),
        (lambda m: m.update(files=[]), "files"),
        (lambda m: m["files"].update({FILES[0]: 7}), "files"),
        (lambda m: m["files"][FILES[0]].update(sha256="xyz"), "sha256"),
        (lambda m: m["files"][FILES[0]].update(bytes=-1), "bytes"),
        (lambda m: m.pop("evaluation"), "evaluation"),
    ],
)
def test_a_manifest_of_another_shape_names_the_key(
    folder: Path, change: Callable[[dict[str, Any]], object], key: str
) -> None:
    edit(folder, change)
    error = refused(folder)
    assert error.code is Code.BUNDLE_FORMAT
    assert key in error.detail


@pytest.mark.parametrize("content", ["", "[1]", "{", "[" * 100_000, "\x00", '{"format": 1}'])
def test_a_manifest_that_is_no_manifest_is_refused(folder: Path, content: str) -> None:
    (folder / MANIFEST).write_text(content)
    assert refused(folder).code is Code.BUNDLE_FORMAT


@pytest.mark.parametrize(
    "inside", ["../out.onnx", "/etc/passwd", "reasoner/../../out", "reasoner//x", "./x", "a\\b", "", "reasoner/\0"]
)
def test_a_path_that_leaves_the_bundle_is_refused(folder: Path, inside: str) -> None:
    edit(folder, lambda m: m["files"].update({inside: m["files"][FILES[0]]}))
    assert refused(folder).code is Code.BUNDLE_FORMAT


@pytest.mark.parametrize(
    "name", ["../x", "/etc", "a/b", "..", ".hidden", "a\\b", "a\nb", "a\x1b[31m", "\u202ea", "\u202e../x", "x" * 101]
)
def test_a_name_that_is_no_folders_is_refused(folder: Path, name: str) -> None:
    """Engines are built into a folder of this name, and it is printed."""
    edit(folder, lambda m: m.update(name=name))
    assert refused(folder).code is Code.BUNDLE_FORMAT


@pytest.mark.parametrize("name", ["visionreasoner-7b", "2 B \u00fcber.v1", "x" * 100])
def test_a_name_that_people_give_is_taken(folder: Path, name: str) -> None:
    edit(folder, lambda m: m.update(name=name))
    assert open_bundle(folder).name == name


@pytest.mark.parametrize("inside", [".", MANIFEST, "reasoner", FILES[0], FILES[3]])
def test_what_anybody_may_write_is_refused_with_the_command_that_mends_it(folder: Path, inside: str) -> None:
    (folder / inside).chmod((folder / inside).stat().st_mode | 0o002)
    error = refused(folder)
    assert error.code is Code.BUNDLE_ALTERED
    assert f"chmod -R o-w {folder}" in error.detail
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o002)
    assert open_bundle(folder)


@pytest.mark.parametrize("kind", ["fifo", "device", "directory"])
def test_a_manifest_that_never_ends_is_refused(folder: Path, kind: str) -> None:
    (folder / MANIFEST).unlink()
    if kind == "fifo":
        os.mkfifo(folder / MANIFEST)
    elif kind == "device":
        (folder / MANIFEST).symlink_to("/dev/zero")
    else:
        (folder / MANIFEST).mkdir()
    assert refused(folder).code is Code.BUNDLE_FORMAT


# ---- graphs with weights elsewhere ----


def graph_reading(place: str, where: str = "initializer") -> bytes:
    """An ONNX model that has the data of one tensor in ``place``; the tensor lies ``where``."""
    onnx = pytest.importorskip("onnx", reason="needs onnx to write graphs")
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=1)
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="location", value=place)
    node = onnx.helper.make_node("Identity", ["w"], ["y"])
    if where in ("attribute", "subgraph", "function"):
        node = onnx.helper.make_node("Constant", [], ["y"])
        node.attribute.append(onnx.AttributeProto(name="value", type=4, t=tensor))
    graph = onnx.helper.make_graph([node], "g", [], [], [tensor] if where == "initializer" else [])
    if where == "sparse":
        graph.sparse_initializer.append(onnx.SparseTensorProto(values=tensor, dims=[4]))
    if where == "subgraph":
        outer = onnx.helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=graph)
        graph = onnx.helper.make_graph([outer], "outer", [], [])
    model = onnx.helper.make_model(graph)
    if where == "function":
        del model.graph.node[:]
        model.functions.add(name="f", domain="d").node.append(node)
    return bytes(model.SerializeToString())


def with_graph(folder: Path, data: bytes) -> Path:
    """The bundle with another decoder, its manifest written anew as an attacker would."""
    (folder / FILES[0]).write_bytes(data)
    note = {"sha256": bundle_module.hash_file(folder / FILES[0]), "bytes": len(data)}
    edit(folder, lambda m: m["files"].update({FILES[0]: note}))
    return folder


@pytest.mark.parametrize("where", ["initializer", "attribute", "subgraph", "function", "sparse"])
@pytest.mark.parametrize(
    "place", ["../../x", "/etc/passwd", "not_listed.data", "../segmenter/encoder.onnx", "*/_ORT_MEM_ADDR_/*"]
)
def test_a_graph_that_reads_weights_from_outside_its_folder_is_refused(folder: Path, place: str, where: str) -> None:
    error = refused(with_graph(folder, graph_reading(place, where)))
    assert error.code is Code.BUNDLE_FORMAT
    assert place in error.detail
    assert FILES[0] in error.detail


def test_a_graph_whose_weights_are_listed_beside_it_opens(folder: Path) -> None:
    assert open_bundle(with_graph(folder, graph_reading("vision.onnx")))


def test_the_search_for_outside_weights_knows_every_message_of_onnx_that_may_hold_them() -> None:
    onnx = pytest.importorskip("onnx", reason="needs onnx's own description of its format")
    fields: dict[str, dict[int, str]] = {}  # message -> its fields that are messages themselves

    def look(message: Any) -> None:
        if message.full_name not in fields:
            inner = [field for field in message.fields if field.message_type]
            fields[message.full_name] = {field.number: field.message_type.full_name for field in inner}
            for field in inner:
                look(field.message_type)

    look(onnx.ModelProto.DESCRIPTOR)
    holders = {"onnx.TensorProto"}
    while more := {name for name, inner in fields.items() if holders & set(inner.values())} - holders:
        holders |= more
    short = lambda name: name.removeprefix("onnx.").removesuffix("Proto")  # noqa: E731
    nested = {short(m): {n: short(k) for n, k in fields[m].items() if k in holders} for m in holders}
    nested["Tensor"] = {onnx.TensorProto.DESCRIPTOR.fields_by_name["external_data"].number: "StringStringEntry"}
    assert nested == {name: dict(fields) for name, fields in bundle_module._NESTED.items()}


def test_whatever_the_bytes_the_search_for_outside_weights_ends_and_raises_nothing() -> None:
    rng = random.Random(5)
    whole = graph_reading("../../x", "subgraph")
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        list(bundle_module.external_places(bytes(data[: rng.randrange(1, len(data) + 1)])))
        list(bundle_module.external_places(rng.randbytes(60)))


def test_no_manifest_is_no_bundle(tmp_path: Path) -> None:
    assert refused(tmp_path).code is Code.BUNDLE_MISSING
    assert refused(tmp_path / "nowhere").code is Code.BUNDLE_MISSING


def test_an_altered_file_is_found_and_the_detail_says_which_and_how_to_check(folder: Path) -> None:
    (folder / FILES[1]).write_bytes(bytes(300))
    error = refused(folder)
    assert error.code is Code.BUNDLE_ALTERED
    assert FILES[1] in error.detail
    assert f"segzero bundle verify {folder}" in error.detail


def test_every_flipped_bit_is_found(folder: Path) -> None:
    rng = random.Random(3)
    for _ in range(200):
        file = folder / rng.choice(FILES)
        whole = file.read_bytes()
        flipped = bytearray(whole)
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        file.write_bytes(flipped)
        assert refused(folder).code is Code.BUNDLE_ALTERED
        file.write_bytes(whole)
    assert open_bundle(folder)


@pytest.mark.parametrize("length", [0, 299, 301])
def test_a_file_of_another_length_is_refused(folder: Path, length: int) -> None:
    (folder / FILES[0]).write_bytes(((folder / FILES[0]).read_bytes() + b"x")[:length])
    assert refused(folder).code is Code.BUNDLE_ALTERED


def test_a_missing_file_is_refused(folder: Path) -> None:
    (folder / FILES[0]).unlink()
    assert "no file" in refused(folder).detail


def test_a_link_is_refused_even_to_the_same_content(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / FILES[0], tmp_path / "elsewhere")
    (folder / FILES[0]).symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in refused(folder).detail


def test_a_folder_that_is_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / "segmenter", tmp_path / "elsewhere")
    (folder / "segmenter").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert refused(folder).code is Code.BUNDLE_ALTERED


def test_a_stranger_beside_the_engines_is_refused(folder: Path) -> None:
    (folder / "reasoner/weights.data").write_bytes(b"external")
    error = refused(folder)
    assert error.code is Code.BUNDLE_ALTERED
    assert "reasoner/weights.data" in error.detail


def test_hashes_are_checked_before_the_profile_and_the_profile_last(folder: Path) -> None:
    edit(folder, lambda m: m.update(profile="abstaining_v3"))
    error = refused_profile(folder)
    assert error.code is Code.BUNDLE_PROFILE
    assert "did you mean 'abstaining_v2'" in error.detail
    (folder / FILES[0]).write_bytes(b"")
    assert refused(folder).code is Code.BUNDLE_ALTERED


def refused_profile(folder: Path) -> RejectedInput:
    with pytest.raises(RejectedInput) as error:
        open_bundle(folder)
    return error.value


def test_a_prompt_without_the_question_is_refused(folder: Path) -> None:
    edit(folder, lambda m: m.update(prompt="Find something."))
    assert refused(folder).code is Code.BUNDLE_PROFILE


def test_writing_a_manifest_twice_gives_the_same_bytes_and_leaves_nothing_else(folder: Path) -> None:
    once = (folder / MANIFEST).read_bytes()
    write(folder)
    assert (folder / MANIFEST).read_bytes() == once
    assert sorted(entry.name for entry in folder.iterdir()) == [MANIFEST, "reasoner", "segmenter"]


# ---- finding ----


@pytest.fixture
def no_bundles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No bundle anywhere but below the returned folder, which is also the working directory."""
    monkeypatch.setattr(bundle_module, "_repository", lambda: tmp_path / "repository")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join([str(tmp_path / "one"), "", str(tmp_path / "two")]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_name_is_looked_for_in_repository_wheel_shares_and_cache(no_bundles: Path, folder: Path) -> None:
    for place in reversed(bundle_folders()):
        shutil.copytree(folder, place / "mine")
        assert resolve_bundle("mine") == place / "mine"
    assert len(bundle_folders()) == 5


def test_absolute_and_dotted_paths_are_taken_as_they_are(no_bundles: Path, folder: Path) -> None:
    assert resolve_bundle(str(folder)) == folder
    assert resolve_bundle(f"./{folder.name}") == folder


def test_a_package_path_is_looked_for_in_the_shares(no_bundles: Path, folder: Path) -> None:
    shutil.copytree(folder, no_bundles / "two/share/robot/models/mine")
    assert resolve_bundle("package://robot/models/mine") == no_bundles / "two/share/robot/models/mine"


@pytest.mark.parametrize(
    "text",
    [
        "small",
        "sub/small",
        "",
        "..x/..",
        "package://robot/../../etc",
        "package:///x",
        "/nowhere",
        "./nowhere",
        "\0",
        "a b",
    ],
)
def test_whatever_is_no_bundle_is_missing_and_the_working_directory_does_not_count(
    no_bundles: Path, folder: Path, text: str
) -> None:
    assert (no_bundles / "small" / MANIFEST).exists()
    with pytest.raises(RejectedInput) as error:
        resolve_bundle(text)
    assert error.value.code is Code.BUNDLE_MISSING
    assert "segzero export" in error.value.detail


def test_an_unknown_name_gets_the_nearest_one(no_bundles: Path, folder: Path) -> None:
    shutil.copytree(folder, bundle_folders()[0] / "tabletop")
    with pytest.raises(RejectedInput, match="did you mean 'tabletop'"):
        resolve_bundle("table_top")


# ---- engines ----


def fake_engines(monkeypatch: pytest.MonkeyPatch, opening: Callable[..., Any]) -> None:
    """Put engines into the places where the onnx backend is looked for."""
    for name, attribute in (("reasoner", "OnnxReasoner"), ("segmenter", "OnnxSegmenter")):
        module = types.ModuleType(f"segzero_ros.backends.onnx.{name}")
        setattr(module, attribute, lambda _files, _made_for, options, *_, n=name: opening(n, options.threads))
        monkeypatch.setitem(sys.modules, module.__name__, module)


def test_auto_opens_the_engines_of_the_bundle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    fake_engines(monkeypatch, lambda name, threads: opened.append((name, threads)))
    pipeline = open_pipeline(open_bundle(folder), options=EngineOptions(threads=3))
    assert opened == [("reasoner", 3), ("segmenter", 3)]
    assert pipeline.profile.image_size == (168, 168)


def test_an_engine_that_does_not_open_says_so_with_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_engines(monkeypatch, lambda *_: 1 / 0)
    with pytest.raises(RejectedInput, match=r"ZeroDivisionError.*export the bundle again") as error:
        open_pipeline(open_bundle(folder))
    assert error.value.code is Code.BUNDLE_BACKEND


def test_an_engine_that_is_not_installed_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segzero_ros.backends.onnx.reasoner", None)
    with pytest.raises(RejectedInput, match=r"onnx engines .* do not open .*onnx.reasoner") as error:
        open_pipeline(open_bundle(folder))
    assert error.value.code is Code.BUNDLE_BACKEND


@pytest.mark.parametrize(
    ("backend", "backends", "message"),
    [
        ("onx", ("onnx",), "did you mean 'onnx'"),
        ("onnx", ("tensorrt",), "has tensorrt, want onnx"),
        ("auto", (), "has no backends"),
    ],
)
def test_a_backend_that_cannot_be_has_a_reason(
    folder: Path, backend: str, backends: tuple[str, ...], message: str
) -> None:
    with pytest.raises(RejectedInput, match=message) as error:
        open_pipeline(replace(open_bundle(folder), backends=backends), backend)
    assert error.value.code is Code.BUNDLE_BACKEND


def test_only_the_fake_backend_needs_no_bundle() -> None:
    with pytest.raises(RejectedInput, match="got no bundle"):
        open_pipeline(None, "auto")
    pipeline = open_pipeline(None, "fake", label="thing")
    result = pipeline.ground(Frame(np.zeros((8, 8, 3), np.uint8), 0), Command("1", "mug"))
    assert (result.code, result.instances[0].label) == (Code.OK, "thing")


def test_the_fake_backend_speaks_the_bundles_profile(folder: Path) -> None:
    pipeline = open_pipeline(open_bundle(folder), "fake")
    assert isinstance(pipeline.reasoner, FakeReasoner)
    assert isinstance(pipeline.segmenter, FakeSegmenter)
    result = pipeline.ground(Frame(np.zeros((168, 168, 3), np.uint8), 0), Command("1", "mug"))
    assert result.instances[0].box == (42, 42, 126, 126)
