"""The exit status is what --help says: 0 done, 1 bad data or a failed check, 2 wrong usage or unusable input."""

import json
import pwd
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from segzero_ros.bundle import MANIFEST, resolve_bundle
from segzero_ros.cli.main import main
from tests.cli.test_help_without_torch import EVERY
from tests.cli.test_option_names import NESTED

DONE, NOT_OK, REFUSED = 0, 1, 2


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What the command lines below name."""
    folder = tmp_path_factory.mktemp("files")
    cv2.imwrite(str(folder / "a.png"), np.full((48, 64, 3), 90, np.uint8))
    (folder / "text.png").write_text("no picture")
    good = {"image": "a.png", "question": "the mug", "boxes": [[8, 8, 40, 40]]}
    for name, rows in {"good": [good], "bad": [good, good | {"boxes": [[40, 8, 8, 40]]}]}.items():
        (folder / name).mkdir()
        shutil.copy(folder / "a.png", folder / name)
        (folder / name / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.copytree(resolve_bundle("tabletop"), folder / "altered")
    file = next((folder / "altered" / "reasoner").iterdir())
    file.write_bytes(file.read_bytes()[::-1])
    shutil.copytree(resolve_bundle("tabletop"), folder / "unread")
    (folder / "unread" / MANIFEST).write_text("{")
    (folder / "empty").mkdir()
    return folder


def status_of(words):
    """The status a shell would see."""
    try:
        return main(words)
    except SystemExit as leaving:
        return leaving.code


SHARDS = "--data {f}/empty --val {f}/empty --out {f}/run"
TABLE = [
    (DONE, "ground {f}/a.png mug --backend fake"),
    (NOT_OK, "ground {f}/a.png mug --bundle tabletop --backend onnx --threads 1"),
    (REFUSED, "ground {f}/text.png mug --backend fake"),
    (REFUSED, "ground {f}/nowhere.png mug --backend fake"),
    (REFUSED, "ground {f}/a.png mug --bundle {f}/altered"),
    (REFUSED, "say mug --wait 0"),
    (DONE, "bundle verify tabletop --backend fake"),
    (NOT_OK, "bundle verify {f}/altered"),
    (NOT_OK, "bundle verify {f}/unread"),
    (REFUSED, "bundle verify {f}/nowhere"),
    (DONE, "bundle list"),
    (NOT_OK, "bundle use {f}/altered"),
    (REFUSED, "bundle use {f}/nowhere"),
    (DONE, "engines list"),
    (DONE, "engines list tabletop --engine-dir {f}/empty"),
    (NOT_OK, "engines verify tabletop --engine-dir {f}/empty"),
    (REFUSED, "engines verify {f}/nowhere"),
    (REFUSED, "engines list {f}/altered"),
    (REFUSED, "engines build {f}/nowhere"),
    (REFUSED, "engines install cpu --python {f}/nowhere --dir {f}/engines"),
    (REFUSED, "engines remove cpu --dir {f}/empty"),
    (NOT_OK, "doctor --bundle {f}/nowhere"),
    (REFUSED, "host --bundle {f}/nowhere"),
    (REFUSED, "serve --bundle {f}/nowhere"),
    (REFUSED, f"train reasoner {SHARDS}"),
    (REFUSED, f"train segmenter {SHARDS} --steps 1"),
    (REFUSED, f"train segmenter {SHARDS} --resume"),
    (REFUSED, "train data --out {f}/a.png"),
    (REFUSED, "train grpo --data {f}/nowhere --out {f}/grpo"),
    (DONE, "data check {f}/good --count 1"),
    (NOT_OK, "data check {f}/bad"),
    (REFUSED, "data check {f}/nowhere"),
    (DONE, "eval --data {f}/good --backend fake"),
    (REFUSED, "eval --data {f}/nowhere --backend fake"),
    (REFUSED, "eval --data {f}/good --bundle {f}/altered"),
    (REFUSED, "eval --data {f}/good --backend fake --out {f}/nowhere/figures.json"),
    (REFUSED, "bench --bundle {f}/nowhere"),
    (REFUSED, "listen --wav {f}/nowhere.wav --model {f}/nowhere"),
    (REFUSED, "replay {f}/nowhere.mcap"),
    (REFUSED, "mcp --timeout none"),
    (REFUSED, "console --token short"),
    (REFUSED, "export --reasoner {f}/empty --segmenter {f}/empty --profile abstaining_v2 --out {f}/made"),
    (REFUSED, "export --reasoner {f}/empty --segmenter {f}/empty --profile none --out {f}/made"),
]


@pytest.mark.parametrize(("status", "line"), TABLE, ids=[line for _, line in TABLE])
def test_the_status_is_what_the_help_says(status, line, files, capfd, monkeypatch):
    monkeypatch.setenv("HOME", str(files / "home"))
    assert status_of(line.format(f=files).split()) == status
    said = capfd.readouterr().err
    assert "Traceback" not in said
    if status == REFUSED:
        assert said.startswith("segzero "), said


@pytest.mark.parametrize("words", [*EVERY, *NESTED, ["nonsense"]], ids=" ".join)
def test_wrong_usage_is_status_2_on_standard_error(words, capsys):
    assert status_of([*words, "--nonsense"]) == REFUSED
    shown = capsys.readouterr()
    assert shown.out == "" and "Try: segzero" in shown.err


def test_every_command_is_in_the_table():
    assert {line.split()[0] for _, line in TABLE} >= {words[0] for words in EVERY}


def test_graphs_that_differ_from_their_checkpoints_are_a_failed_check(monkeypatch, tmp_path, capsys):
    pytest.importorskip("torch", reason="offline stack not installed")
    import export.bundle

    def differs(*_, **__):
        raise export.bundle.NotEqual("vision: 0.5")

    monkeypatch.setattr(export.bundle, "export_bundle", differs)
    words = f"export --reasoner {tmp_path} --segmenter {tmp_path} --profile abstaining_v2 --out {Path('made')}"
    assert status_of(words.split()) == NOT_OK
    assert "differ from their checkpoints" in capsys.readouterr().err


NO_HOME = [
    (DONE, "ground {f}/a.png mug --backend fake", ""),
    (DONE, "eval --data {f}/good --backend fake", ""),
    (DONE, "bundle list", ""),
    (REFUSED, "bundle use tabletop", "cannot write /proc/nowhere"),
    (REFUSED, "engines install cpu", "another place with --dir"),
    (REFUSED, "engines build tabletop --target card:8.9:1", "/proc/nowhere"),
    (REFUSED, "train data --out /proc/nowhere/shards", "name another --out"),
    (REFUSED, "export --reasoner {f} --segmenter {f} --profile abstaining_v2 --out /proc/nowhere/b", "/proc/nowhere"),
]


@pytest.mark.parametrize(("status", "line", "said"), NO_HOME, ids=[line for _, line, _ in NO_HOME])
def test_a_home_that_nobody_can_write_is_one_line_where_it_is_needed(status, line, said, files, capsys, monkeypatch):
    monkeypatch.setenv("HOME", "/proc/nowhere")
    for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert status_of(line.format(f=files).split()) == status
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == (status == REFUSED)


NOBODYS = [
    "host --backend fake --socket ~nobody-here/host.sock",
    "engines install cpu --dir ~nobody-here/engines",
    "engines remove cpu --dir ~nobody-here/engines",
    "ground {f}/a.png mug --bundle ~nobody-here/b",
    "export --reasoner {f} --segmenter {f} --profile abstaining_v2 --out ~nobody-here/b",
    "console --certificate ~nobody-here/c.pem",
    "data check ~nobody-here/photos",
]


@pytest.mark.parametrize("line", NOBODYS)
def test_a_home_of_nobody_is_one_line(line, files, capsys):
    assert status_of(line.format(f=files).split()) == REFUSED
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and shown.startswith("segzero "), shown


@pytest.mark.parametrize("line", ["ground {f}/a.png mug --backend fake", "bundle list", "engines list"])
def test_a_user_whom_the_system_does_not_know_is_served(line, files, monkeypatch, capsys):
    """As in a container that runs under any number: no HOME, no entry for it."""

    def unknown(_):
        raise KeyError("uid not found")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert status_of(line.format(f=files).split()) == DONE
    assert "Traceback" not in capsys.readouterr().err
