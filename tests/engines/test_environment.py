"""Which engine environment a node takes, and what it says where there is none."""

import json
import sys

import pytest

from segzero_ros.engines import environment as environments_module
from segzero_ros.engines.environment import (
    COMPLETE,
    NAMES,
    PACKAGE,
    environments,
    find_environment,
    missing_here,
    requirements_file,
)
from segzero_ros.errors import Code, RejectedInput


@pytest.fixture
def without_engines(monkeypatch):
    monkeypatch.setattr(environments_module, "NEEDED", ("onnxruntime_that_nobody_has",))


def make(folder, *, complete=True, package=PACKAGE):
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    if complete:
        (folder / COMPLETE).write_text(json.dumps({"package": str(package)}))
    return folder


def test_the_fastest_complete_one_is_taken(home):
    for name in ("cpu", "cuda"):
        make(home / name)
    make(home / "tensorrt", complete=False)
    found = find_environment()
    assert (found.name, found.complete, found.python) == ("cuda", True, home / "cuda" / "bin" / "python")
    assert found.folder == home / "cuda"


def test_a_named_one_is_taken_whatever_else_there_is(home):
    for name in ("cpu", "cuda"):
        make(home / name)
    assert find_environment("cpu").name == "cpu"


def test_a_users_own_comes_before_the_machines(home, tmp_path):
    machine = make(tmp_path / "machine" / "segzero_ros" / "engines" / "cpu")
    assert find_environment("cpu").folder == machine
    make(home / "cpu")
    assert find_environment("cpu").folder == home / "cpu"


def test_a_half_made_one_of_the_user_does_not_hide_the_machines(home, tmp_path):
    make(home / "cpu", complete=False)
    machine = make(tmp_path / "machine" / "segzero_ros" / "engines" / "cpu")
    assert find_environment().folder == machine
    assert find_environment("cpu").folder == machine


def test_a_path_names_one_anywhere(home, tmp_path):
    elsewhere = make(tmp_path / "elsewhere" / "mine")
    assert find_environment(str(elsewhere)).python == elsewhere / "bin" / "python"


def test_this_interpreter_is_its_own_environment_where_it_has_the_engines(home, monkeypatch):
    monkeypatch.setattr(environments_module, "NEEDED", ("numpy",))
    found = find_environment()
    assert (str(found.python), found.name, found.complete) == (sys.executable, "", True)


def test_what_this_interpreter_lacks_is_named(monkeypatch):
    monkeypatch.setattr(environments_module, "NEEDED", ("numpy", "nobody_has_this"))
    assert missing_here() == ["nobody_has_this"]


@pytest.mark.usefixtures("home", "without_engines")
@pytest.mark.parametrize(("name", "command"), [("", "install cpu"), ("cuda", "install cuda"), ("/no/where", "cpu")])
def test_where_there_is_none_the_command_that_makes_it_is_said(name, command):
    with pytest.raises(RejectedInput) as refused:
        find_environment(name)
    assert refused.value.code is Code.BUNDLE_BACKEND
    assert refused.value.detail.endswith(command) and "segzero engines install" in refused.value.detail


@pytest.mark.usefixtures("home")
def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(RejectedInput, match="did you mean 'cuda'") as refused:
        find_environment("cudda")
    assert refused.value.code is Code.CONFIG_VALUE


@pytest.mark.usefixtures("without_engines")
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / COMPLETE).unlink(), "half made"),
        (lambda folder: (folder / COMPLETE).write_text("{"), "half made"),
        (lambda folder: (folder / COMPLETE).write_text("[]"), "half made"),
        (lambda folder: (folder / "bin" / "python").unlink(), "no working bin/python"),
        (lambda folder: (folder / COMPLETE).write_text('{"package": "/other/segzero_ros"}'), "/other/segzero_ros"),
    ],
    ids=["no note", "broken note", "no object", "no python", "another copy"],
)
def test_one_that_cannot_be_used_is_not_taken_and_it_is_said_why(home, spoil, said):
    spoil(make(home / "cpu"))
    for name in ("", "cpu"):
        with pytest.raises(RejectedInput, match=said):
            find_environment(name)
    assert [(found.name, found.complete) for found in environments()] == [("cpu", False)]


def test_a_python_that_was_removed_from_the_machine_is_seen(home, without_engines):
    folder = make(home / "cpu")
    (folder / "bin" / "python").unlink()
    (folder / "bin" / "python").symlink_to("/usr/bin/python3.99")
    with pytest.raises(RejectedInput, match="no working bin/python"):
        find_environment()


def test_every_name_has_its_requirements():
    assert [name for name in NAMES if not requirements_file(name).is_file()] == []
