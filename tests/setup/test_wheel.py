"""The wheel has the package, the demo bundle and the picture to try it on, and nothing else of this repository."""

import email
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from segzero_ros import __version__

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 20_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, by way of the source distribution, of a copy of what git knows: setuptools writes into its source."""
    pytest.importorskip("setuptools", minversion="77", reason="this setuptools does not know licences by expression")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    build(source, "sdist", out)
    subprocess.run(["tar", "-xzf", next(out.glob("*.tar.gz")), "-C", out], check=True)
    build(out / f"segzero_ros-{__version__}", "wheel", out)
    return next(out.glob("*.whl"))


def build(source, kind, out):
    """As `python -m build` does it, without an environment of its own."""
    program = f"import setuptools.build_meta as backend; backend.build_{kind}({str(out)!r})"
    subprocess.run([sys.executable, "-c", program], cwd=source, check=True, capture_output=True)


@pytest.fixture(scope="module")
def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_it_is_one_for_every_machine_and_of_this_version(wheel):
    assert wheel.name == f"segzero_ros-{__version__}-py3-none-any.whl"
    assert wheel.stat().st_size < MOST_BYTES


def test_it_has_every_file_of_the_package(names):
    ours = {path.relative_to(ROOT).as_posix() for path in (ROOT / "segzero_ros").rglob("*.py")}
    assert ours - set(names) == set()
    others = [*ROOT.glob("segzero_ros/engines/*.txt"), *ROOT.glob("segzero_ros/console/page/*")]
    assert {path.relative_to(ROOT).as_posix() for path in others} <= set(names)


def test_it_has_the_demo_bundle_and_the_picture(names):
    bundle = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "bundles" / "tabletop").rglob("*") if path.is_file()
    }
    assert {f"segzero_ros/{name}" for name in bundle} <= set(names)
    assert "segzero_ros/cli/table.jpg" in names


def test_it_has_nothing_else(names):
    foreign = [name for name in names if not name.startswith(("segzero_ros/", f"segzero_ros-{__version__}.dist-info/"))]
    assert foreign == []
    assert not [name for name in names if re.search(r"(^|/)(tests?/|test_|__pycache__)", name)]


def test_its_metadata_names_licence_command_and_the_least_python(wheel):
    with zipfile.ZipFile(wheel) as archive:
        info = f"segzero_ros-{__version__}.dist-info"
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        assert "segzero = segzero_ros.cli.main:main" in archive.read(f"{info}/entry_points.txt").decode()
        assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert (metadata["License-Expression"], metadata["Requires-Python"]) == ("Apache-2.0", ">=3.10")
    assert not [need for need in metadata.get_all("Requires-Dist") if "torch" in need and "extra" not in need]


def test_what_is_installed_of_it_answers_about_the_picture(wheel, tmp_path):
    """Unpacked, away from the source tree, it finds its own bundle and picture."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from segzero_ros.cli.main import main; sys.exit(main())"
    words = ["ground", "table", "the mug left of the yellow ball", "--backend", "onnx", "--json"]
    command = [sys.executable, "-I", "-c", program, tmp_path / "site", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"code": "OK"' in done.stdout
