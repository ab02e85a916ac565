"""`segzero` itself: help, unknown names, bundles that must not be used, and what it leaves unimported."""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from segzero_ros import __version__
from segzero_ros.bundle import write_manifest
from segzero_ros.cli import main as main_module
from segzero_ros.cli.main import COMMANDS, main
from segzero_ros.profile import get_profile

ROOT = Path(__file__).parents[2]


NESTED = [
    ["engines", "install"],
    ["engines", "list"],
    ["engines", "remove"],
    ["bundle", "verify"],
    ["engines", "build"],
    ["engines", "verify"],
]


def status_of(arguments):
    """The status a shell would see; argparse leaves through SystemExit."""
    try:
        return main(arguments)
    except SystemExit as leaving:
        return leaving.code


def test_help_names_every_command_and_what_the_statuses_mean(capsys):
    assert status_of(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)
    assert "exit status" in shown


@pytest.mark.parametrize("command", [*([name] for name in sorted(set(COMMANDS) - {"export"})), *NESTED], ids=" ".join)
def test_every_command_has_help_with_the_statuses(command, capsys):
    assert status_of([*command, "--help"]) == 0
    assert "exit status" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["grond", "a.png", "the mug"], "did you mean 'ground'?"),
        (["engines", "install", "cdua"], "did you mean 'cuda'?"),
        (["train", "reasonor"], "did you mean 'reasoner'?"),
        (["bundle", "verfy", "tabletop"], "did you mean 'verify'?"),
        (["engines", "list", "tabletop", "--jsn"], "did you mean '--json'?"),
        (["engines", "build", "tabletop", "--only", "reasonor"], "did you mean 'reasoner'?"),
        (["ground", "a.png", "the mug", "--bundel", "x"], "did you mean '--bundle'?"),
        (["ground", "a.png", "the mug", "--backend", "onyx"], "did you mean 'onnx'?"),
        (["eval", "--data", "tabeltop"], "did you mean 'tabletop'?"),
        (["eval", "--split", "tset"], "did you mean 'test'?"),
        (["ground", "a.png", "the", "mug"], "needs quotes"),
        (["eval", "--count", "none"], "want a whole number"),
    ],
)
def test_misuse_is_status_2_with_a_hint(arguments, hint, capsys):
    assert status_of(arguments) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["ground"], ["engines", "build"], ["train"], ["train", "grpo"], ["export"]])
def test_every_parser_tells_the_version(command, capsys):
    assert status_of([*command, "--version"]) == 0
    assert capsys.readouterr().out == f"segzero_ros {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_have_what_argparse_of_python_3_14_asks_of_a_parser(name):
    """It checks each line of help as a command is added, by a private method that Python 3.13 does not call."""
    action = argparse.Action([], name, help=COMMANDS[name])
    assert main_module._command_parser(f"segzero {name}")._check_help(action) is None
    assert "%" not in COMMANDS[name]


def test_no_command_at_all_shows_the_help_and_is_status_2():
    assert status_of([]) == 2


@pytest.mark.parametrize("action", ["list", "verify"])
def test_the_old_name_of_engines_works_and_is_shown_nowhere(action, capsys, tmp_path):
    where = ["tabletop", "--engine-dir", str(tmp_path)]
    status, shown = status_of(["engines", action, *where]), capsys.readouterr()
    assert status_of(["engine", action, *where]) == status
    old = capsys.readouterr()
    assert old.out == shown.out
    assert f"segzero engine {action} is called segzero engines {action} now" in old.err
    assert status_of(["--help"]) == 0
    assert "  engine " not in capsys.readouterr().out


# ---- bundles ----


@pytest.fixture
def bundle(tmp_path):
    """A bundle whose manifest and hashes are right; its engines are no engines."""
    folder = tmp_path / "desk"
    (folder / "models").mkdir(parents=True)
    for name in ("reasoner.onnx", "segmenter.onnx"):
        (folder / "models" / name).write_bytes(name.encode())
    write_manifest(
        folder,
        name="desk",
        profile=get_profile("abstaining_v2"),
        backends=("onnx",),
        reasoner={"architecture": "Qwen2.5-VL", "files": {"vision": "models/reasoner.onnx"}, "max_length": 512},
        segmenter={"architecture": "SAM 2", "image_size": [256, 256], "files": {"encoder": "models/segmenter.onnx"}},
        versions={},
        provenance={},
        evaluation={},
    )
    return folder


def test_a_whole_bundle_verifies(bundle, capsys):
    assert status_of(["bundle", "verify", str(bundle), "--backend", "fake", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["name"], report["files"]) == ("desk", 2)


def test_a_path_with_a_slash_is_taken_from_the_working_directory(bundle, monkeypatch, capsys):
    monkeypatch.chdir(bundle.parent.parent)
    assert status_of(["bundle", "verify", f"{bundle.parent.name}/desk", "--backend", "fake"]) == 0
    assert "whole and unaltered" in capsys.readouterr().out


def test_an_altered_file_is_named_and_is_status_1(bundle, capsys):
    file = bundle / "models" / "reasoner.onnx"
    file.write_bytes(b"x" * file.stat().st_size)
    assert status_of(["bundle", "verify", str(bundle)]) == 1
    said = capsys.readouterr().err
    assert "BUNDLE_ALTERED" in said
    assert "reasoner.onnx" in said


def test_a_wrong_profile_is_named_with_the_nearest(bundle, capsys):
    manifest = bundle / "bundle.json"
    manifest.write_text(manifest.read_text().replace("abstaining_v2", "abstaining_v3"))
    assert status_of(["bundle", "verify", str(bundle)]) == 1
    said = capsys.readouterr().err
    assert "BUNDLE_PROFILE" in said
    assert "did you mean 'abstaining_v2'?" in said


def test_engines_that_do_not_open_are_no_traceback(bundle, capsys):
    assert status_of(["bundle", "verify", str(bundle)]) == 1
    assert "BUNDLE_BACKEND" in capsys.readouterr().err


def test_a_missing_bundle_is_status_2_and_an_almost_known_name_gets_a_hint(bundle, tmp_path, monkeypatch, capsys):
    cache = tmp_path / "cache"
    shutil.copytree(bundle, cache / "segzero_ros" / "bundles" / "kitchen")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert status_of(["bundle", "verify", str(tmp_path)]) == 2
    assert status_of(["bundle", "verify", "kitchn"]) == 2
    said = capsys.readouterr().err
    assert said.count("BUNDLE_MISSING") == 2
    assert "did you mean 'kitchen'?" in said


# ---- what is not imported ----


WATCH = """
import sys
from segzero_ros.cli.main import main
try:
    status = main(sys.argv[1:])
except SystemExit as leaving:
    status = leaving.code
heavy = ("torch", "transformers", "rclpy", "mujoco")
if "--help" in sys.argv:
    heavy += ("onnxruntime", "numpy" if sys.argv[1] == "--help" else "tensorrt")
print(status, [name for name in heavy if name in sys.modules], file=sys.stderr)
"""


def imported(*arguments):
    command = [sys.executable, "-c", WATCH, *arguments]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=120
    ).stderr.splitlines()[-1]


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "table.png"
    cv2.imwrite(str(path), np.full((48, 64, 3), 90, np.uint8))
    return str(path)


def test_grounding_imports_neither_torch_nor_transformers_nor_ros(picture):
    assert imported("ground", picture, "the mug", "--backend", "fake") == "0 []"


@pytest.mark.skipif(not (ROOT / "bundles/tabletop/bundle.json").exists(), reason="bundles/tabletop is not there")
def test_neither_does_grounding_with_the_demo_bundle(picture):
    assert imported("ground", picture, "the mug").endswith("[]")


IN_THE_PACKAGE = [[], ["ground"], ["say"], ["serve"], ["train"], *NESTED]
IN_THE_CLONE = [["data"], ["eval"], ["bench"], ["train", "grpo"]]


@pytest.mark.parametrize("command", [*IN_THE_PACKAGE, *IN_THE_CLONE], ids=" ".join)
def test_no_help_imports_an_engine_torch_or_ros(command):
    assert imported(*command, "--help") == "0 []"


# ---- where there is no clone ----


def test_an_installed_package_builds_engines_and_says_what_needs_a_clone(tmp_path):
    """`segzero_ros` alone on the path, as colcon and the images install it."""
    shutil.copytree(ROOT / "segzero_ros", tmp_path / "segzero_ros", ignore=shutil.ignore_patterns("__pycache__"))

    def segzero(*arguments):
        command = [sys.executable, "-c", WITHOUT_CLONE, *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path, timeout=120)
        return done.returncode, done.stdout + done.stderr

    bundle = str(ROOT / "bundles" / "tabletop")
    status, said = segzero("engines", "build", bundle, "--target", "a card without capability")
    assert status == 2
    assert "want NAME:CAPABILITY:DRIVER" in said or "no TensorRT" in said
    assert "clone" not in said
    status, said = segzero("data", "--help")
    assert status == 2
    assert "there is no training.data.check here; run it from a clone" in said


WITHOUT_CLONE = """
import os, sys
sys.path[:] = ["", *(path for path in sys.path if path and not os.path.isdir(os.path.join(path, "training")))]
from segzero_ros.cli.main import main
sys.exit(main())
"""


def test_missing_offline_packages_are_one_line_that_says_how_to_get_them(monkeypatch, capsys):
    monkeypatch.setattr("segzero_ros.cli.offline.missing", lambda modules: ["torch"])
    assert status_of(["train", "reasoner"]) == 2
    said = capsys.readouterr().err
    assert "torch" in said
    assert "pip install -r requirements/offline.txt" in said
    assert len(said.splitlines()) == 1


def test_ctrl_c_while_a_command_is_still_imported_leaves_no_traceback(monkeypatch):
    def imported(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.import_module", imported)
    assert main(["say", "the mug"]) == 130
