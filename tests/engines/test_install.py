"""Making an engine environment: whole or not at all, again at will, and in one line what failed and what to do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from segzero_ros.cli.main import main
from segzero_ros.engines import install as install_module
from segzero_ros.engines.environment import COMPLETE, NAMES, PACKAGE, find_environment, read_note, requirements_file
from segzero_ros.engines.install import install, remove
from segzero_ros.engines.pythons import SUPPORTED
from segzero_ros.errors import Code, RejectedInput

LINK = Path("lib/python3.12/site-packages/segzero_ros")


@pytest.fixture
def said():
    return []


@pytest.fixture
def make(home, stand_in, said):
    """Install with the stand-in."""
    return lambda name="cpu", **options: install(name, str(stand_in.python), say=said.append, **options)


# ---- what is made ----


def test_what_is_made_is_taken_and_runs_this_very_package(make, home):
    made = make()
    assert (made.folder, made.complete) == (home / "cpu", True)
    assert find_environment().folder == home / "cpu"
    assert (home / "cpu" / LINK).resolve() == PACKAGE


def test_packages_are_installed_as_pinned_and_nothing_is_built(make, stand_in):
    make()
    words = stand_in.started("pip")[0]["words"]
    assert words[words.index("--requirement") + 1] == str(requirements_file("cpu"))
    assert {"--require-hashes", "--no-deps", "--only-binary"} <= set(words)


def test_it_answers_a_command_about_the_shipped_picture_before_it_is_shown(make, home, stand_in):
    stand_in.plan(**{"segzero_ros.cli": ('{"code": "NO_TARGET"}', 0)})
    with pytest.raises(RejectedInput, match="NO_TARGET"):
        make()
    assert not (home / "cpu").exists()


def test_progress_is_shown_line_by_line(make, stand_in, said):
    stand_in.plan(pip=("Collecting numpy\n  Downloading numpy.whl (16.6 MB)\nInstalling collected packages: numpy", 0))
    make()
    assert "  Downloading numpy.whl (16.6 MB)" in said
    assert any("onnxruntime==" in line for line in said)


def test_ros_packages_and_other_places_do_not_lead_pip_astray(make, stand_in, monkeypatch):
    for name in ("PYTHONPATH", "PIP_USER", "PIP_TARGET"):
        monkeypatch.setenv(name, "/opt/ros/jazzy")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    make()
    seen = stand_in.started("pip")[0]["variables"]
    assert not {"PYTHONPATH", "PIP_USER", "PIP_TARGET"} & seen.keys()
    assert seen["PIP_NO_INDEX"] == "1"


# ---- again ----


def test_again_downloads_nothing(make, stand_in, said):
    make()
    make()
    assert len(stand_in.started("pip")) == 1
    assert len(stand_in.started("segzero_ros.cli")) == 2
    assert any("already" in line for line in said)


def test_again_with_another_copy_of_the_package_only_links_that(make, home, stand_in):
    make()
    note = home / "cpu" / COMPLETE
    note.write_text(json.dumps(json.loads(note.read_text()) | {"package": "/other/segzero_ros"}))
    assert make().complete
    assert len(stand_in.started("pip")) == 1


def test_other_pins_or_another_python_make_it_anew(make, home, stand_in, tmp_path, monkeypatch):
    make()
    pins = tmp_path / "requirements-cpu.txt"
    pins.write_text("numpy==1.0\n")
    monkeypatch.setattr(install_module, "requirements_file", lambda _: pins)
    make()
    assert len(stand_in.started("pip")) == 2
    assert read_note(home / "cpu")["packages"] == ["numpy==1.0"]


def test_one_that_stopped_working_is_made_anew(make, home, stand_in, said):
    make()
    broken = home / "cpu" / "bin" / "python"
    broken.unlink()
    broken.symlink_to("/nowhere/python3.12")
    assert make().complete
    assert len(stand_in.started("pip")) == 2


def test_only_the_finished_one_is_left(make, home):
    make()
    (home / "cpu" / "bin" / "python").unlink()
    (home / ".cpu-half").mkdir()
    make()
    assert sorted(path.name for path in home.iterdir() if path.is_dir()) == ["cpu", (home / "cpu").resolve().name][::-1]


def test_one_that_fails_leaves_the_one_from_before_in_use(make, home, stand_in, tmp_path, monkeypatch):
    make()
    before = (home / "cpu").resolve()
    monkeypatch.setattr(install_module, "_digest", lambda _: "other pins")
    stand_in.plan(pip=("ERROR: No space left on device", 1))
    with pytest.raises(RejectedInput):
        make()
    assert (home / "cpu").resolve() == before
    assert [path for path in home.glob(".cpu-*") if path != before] == []


def test_two_at_once_are_refused(make, home):
    with install_module._only_one(home, "cpu"), pytest.raises(RejectedInput, match="at work"):
        make()


def test_what_no_installation_made_is_not_replaced(make, home):
    (home / "cpu").mkdir(parents=True)
    (home / "cpu" / "mine.txt").write_text("mine")
    with pytest.raises(RejectedInput, match="no virtual environment"):
        make()
    assert (home / "cpu" / "mine.txt").read_text() == "mine"


# ---- what fails ----

NONE_FOUND = """ERROR: Could not find a version that satisfies the requirement onnxruntime==1.32.0 (from versions: none)
ERROR: No matching distribution found for onnxruntime==1.32.0"""
FAILURES = {
    "no network": (
        "pip",
        f"WARNING: Retrying: NewConnectionError: Temporary failure in name resolution\n{NONE_FOUND}",
        "connect the network",
    ),
    "disk full": ("pip", "ERROR: Could not install packages: [Errno 28] No space left on device", "disk is full"),
    "no wheel": (
        "pip",
        NONE_FOUND,
        "no wheel of onnxruntime",
    ),
    "other file": ("pip", "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "not the one"),
    "certificate": ("pip", "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "PIP_CERT"),
    "no venv": (
        "venv",
        "The virtual environment was not created successfully because ensurepip is not available.",
        "apt install python3.12-venv",
    ),
    "unknown": ("pip", "some\nERROR: the moon is full\n", "it said: ERROR: the moon is full"),
    "import": ("import", "ImportError: libGL.so.1: cannot open shared object file", "libGL.so.1"),
    "silence": ("pip", "", "it said: nothing"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_what_failed_is_one_line_that_says_what_to_do(case, make, home, stand_in):
    step, output, advice = FAILURES[case]
    stand_in.plan(**{step: (output, 1)})
    with pytest.raises(RejectedInput) as refused:
        make()
    assert refused.value.code is Code.BUNDLE_BACKEND
    assert advice in refused.value.detail
    assert "was not made" in refused.value.detail
    assert not os.path.lexists(home / "cpu") and not list(home.glob(".cpu-*"))


@pytest.mark.parametrize(
    ("own", "wish"),
    [
        ({"version": [3, 10, 12]}, "want CPython 3.11 to 3.14"),
        ({"version": [3, 15, 0]}, "want CPython 3.11 to 3.14"),
        ({"free_threaded": True}, "want CPython"),
        ({"cpython": False}, "want CPython"),
        ({"machine": "armv7l"}, "want x86_64 or aarch64"),
    ],
)
def test_a_python_that_cannot_do_is_refused_by_what_it_is(own, wish, make, stand_in):
    stand_in.plan(is_=own)
    with pytest.raises(RejectedInput, match=wish) as refused:
        make()
    assert refused.value.code is Code.CONFIG_VALUE


@pytest.mark.usefixtures("home", "stand_in")
@pytest.mark.parametrize("asked", ["python9", "/nowhere/python3", "false"])
def test_a_python_that_is_none_is_refused(asked):
    with pytest.raises(RejectedInput, match="--python"):
        install("cpu", asked)


def test_where_no_python_fits_it_is_said_which_there_are_and_how_to_get_one(home, stand_in, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(stand_in.python))
    stand_in.plan(is_={"version": [3, 10, 12]})
    with pytest.raises(RejectedInput, match=r"found .*Python 3\.10\.12.*want CPython 3\.11.*apt install"):
        install("cpu", say=lambda _: None)


def test_a_python_with_venv_comes_before_one_without(home, stand_in, tmp_path, monkeypatch):
    from tests.engines.conftest import StandIn

    other = StandIn(tmp_path / "other")
    (stand_in.folder / "python3.11").symlink_to(other.python)
    stand_in.plan(is_={"venv": False})
    install("cpu", say=lambda _: None)
    assert other.started("venv") and not stand_in.started("venv")


def test_a_place_that_cannot_be_written_is_named(stand_in, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RejectedInput, match="--dir"):
        install("cpu", str(stand_in.python), str(tmp_path / "file"))


def test_an_interrupted_one_leaves_nothing(make, home, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(install_module, "_try_out", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make()
    assert not list(home.glob(".cpu-*"))


# ---- removing ----


def test_removing_takes_all_of_it_and_nothing_else(make, home):
    make()
    make("tensorrt")
    remove("cpu")
    assert not os.path.lexists(home / "cpu") and not list(home.glob(".cpu-*"))
    assert find_environment("tensorrt").complete


@pytest.mark.usefixtures("home")
def test_removing_what_is_not_there_is_refused():
    with pytest.raises(RejectedInput, match="not in"):
        remove("cuda")


# ---- the command ----


def test_the_command_installs_lists_and_removes(home, stand_in, capsys):
    assert main(["engines", "list"]) == 0
    assert "segzero engines install cpu" in capsys.readouterr().out
    assert main(["engines", "install", "--python", str(stand_in.python)]) == 0
    assert f"ready: {home / 'cpu'}" in capsys.readouterr().out
    assert main(["engines", "list"]) == 0
    assert "complete" in capsys.readouterr().out
    assert main(["engines", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "cpu"
    assert main(["engines", "remove", "cpu"]) == 0
    assert not (home / "cpu").exists()


def test_a_failed_step_is_status_1_and_misuse_status_2(home, stand_in, capsys):
    stand_in.plan(pip=("ERROR: No space left on device", 1))
    assert main(["engines", "install", "cpu", "--python", str(stand_in.python)]) == 1
    assert "disk is full" in capsys.readouterr().err
    assert main(["engines", "install", "cpu", "--python", "/nowhere/python3"]) == 2
    assert main(["engines", "remove", "cpu"]) == 2


def test_an_environment_elsewhere_is_found_by_its_path(stand_in, home, tmp_path, capsys):
    assert main(["engines", "install", "--python", str(stand_in.python), "--dir", str(tmp_path / "elsewhere")]) == 0
    assert "by its path" in capsys.readouterr().out
    assert find_environment(str(tmp_path / "elsewhere" / "cpu")).complete


# ---- pins ----

CONSTRAINTS = (Path(__file__).parents[2] / "requirements" / "constraints.txt").read_text("utf-8").split()


def test_the_environment_has_the_versions_that_are_tested():
    assert [pin for pin in install_module._names("cpu") if pin not in CONSTRAINTS] == []


@pytest.mark.parametrize("name", [name for name in NAMES if name != "tensorrt_llm"])
def test_every_package_is_pinned_by_the_hashes_of_its_wheels(name):
    blocks = requirements_file(name).read_text("utf-8").replace("\\\n", " ").splitlines()
    pins = [block for block in blocks if not block.startswith("#")]
    assert len(pins) >= 8
    assert [pin for pin in pins if "==" not in pin or "--hash=sha256:" not in pin] == []


def test_packages_with_a_wheel_per_python_have_one_per_python_and_machine():
    blocks = requirements_file("cpu").read_text("utf-8").replace("\\\n", " ").splitlines()
    hashes = {block.partition("==")[0]: block.count("--hash") for block in blocks if not block.startswith("#")}
    low, high = SUPPORTED["cpu"]
    pythons = high[1] - low[1] + 1
    assert {hashes[name] for name in ("numpy", "onnxruntime", "pillow")} == {2 * pythons}
    assert {hashes[name] for name in ("opencv-python-headless", "tokenizers")} == {2}


def test_a_real_python_is_asked_what_it_is():
    found = install_module.ask(sys.executable)
    assert found is not None
    assert found.version == sys.version_info[:3]
    said = subprocess.check_output([found.path, "-c", "import sys; print(sys.prefix == sys.base_prefix)"])
    assert said.strip() == b"True"
