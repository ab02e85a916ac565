"""Write segzero_ros/engines/requirements-*.txt: an engine environment's packages, pinned, with hashes of their wheels.

    .venv/bin/python tools/write_engine_requirements.py [cpu cuda tensorrt]

Asks pip what it would install for each Python and machine, without downloading it; needs the network and a pip of 23.2
or newer. Versions are those of requirements/constraints.txt where that has them. The files are complete, and pip
installs them without looking at dependencies: what the list ALONE leaves out (tokenizers' client of a hub) stays out.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "requirements" / "constraints.txt"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
GLIBC = 35  # the least of the distributions that are promised: Ubuntu 22.04 has 2.35
ALONE = ("tokenizers", "opencv-python-headless", "pillow")  # asked for without what they would bring along


class Group(NamedTuple):
    """``packages``: asked for with what they need. ``machines``: those that have wheels of all. ``about``: the head."""

    packages: tuple[str, ...]
    machines: tuple[str, ...]
    about: str


GROUPS: Mapping[str, Group] = {
    "cpu": Group(("onnxruntime",), ("x86_64", "aarch64"), "ONNX Runtime on the CPU."),
    "cuda": Group(
        ("onnxruntime-gpu[cuda,cudnn]==1.31.1",),
        ("x86_64", "aarch64"),
        "ONNX Runtime on an NVIDIA GPU, CUDA 13 and cuDNN included; of the machine it needs the driver only.",
    ),
    "tensorrt": Group(
        ("onnxruntime", "tensorrt-rtx-cu13-libs", "tensorrt-rtx-cu13-bindings", "cuda-bindings==13.5.0"),
        ("x86_64", "aarch64"),
        "TensorRT-RTX for GeForce and RTX cards, and ONNX Runtime on the CPU for what has no engine yet.",
    ),
    "speech": Group(
        ("faster-whisper", "onnxruntime"),
        ("x86_64", "aarch64"),
        "Speech to text: Whisper by CTranslate2, and Silero VAD by ONNX Runtime on the CPU. Models are no part of it.",
    ),
}


class Wheel(NamedTuple):
    """One file that pip would install."""

    name: str
    version: str
    sha256: str


def main(names: Sequence[str]) -> None:
    """Write the files of the groups ``names``, all of them where none is named."""
    for name in names or GROUPS:
        path = ROOT / "segzero_ros" / "engines" / f"requirements-{name}.txt"
        path.write_text(requirements(GROUPS[name]), encoding="utf-8")
        print(path.relative_to(ROOT))


def requirements(group: Group) -> str:
    """Return the text of a requirements file: one pin per package, with the hash of each wheel that may be taken."""
    wheels = {
        wheel
        for machine in group.machines
        for python in PYTHONS
        for packages, options in ((group.packages, ()), (ALONE, ("--no-deps",)))
        for wheel in resolve(packages, python, machine, options)
    }
    lines = [
        f"# {group.about}",
        "# Written by tools/write_engine_requirements.py; complete, so installed with --no-deps.",
    ]
    for name in sorted({wheel.name for wheel in wheels}):
        versions = {wheel.version for wheel in wheels if wheel.name == name}
        if len(versions) != 1:
            raise SystemExit(f"{name}: got the versions {sorted(versions)}, want one for every Python; pin it")
        hashes = sorted({wheel.sha256 for wheel in wheels if wheel.name == name})
        lines += [" \\\n    ".join([f"{name}=={versions.pop()}", *(f"--hash=sha256:{digest}" for digest in hashes)])]
    return "\n".join(lines) + "\n"


def resolve(packages: Sequence[str], python: str, machine: str, options: Sequence[str]) -> list[Wheel]:
    """Return what pip would install of ``packages``, and of what they need, for that Python on that machine."""
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in range(5, GLIBC + 1)]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report=-"]
    with tempfile.TemporaryDirectory() as folder:
        command += [f"--target={folder}", "--only-binary=:all:", f"--python-version={python}", *platforms]
        command += [f"--platform=manylinux{year}_{machine}" for year in ("2010", "2014")]
        command += [f"--constraint={CONSTRAINTS}", *options, *packages]
        report = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return [
        Wheel(
            re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower(),
            item["metadata"]["version"],
            item["download_info"]["archive_info"]["hashes"]["sha256"],
        )
        for item in report["install"]
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
