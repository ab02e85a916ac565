"""What a GPU machine has and lacks for the trainings; asked of a child, so that this process needs nothing itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from carried import ROOT, MissingError

#: What is imported by renderers and trainings, and the package that has it.
MODULES = {
    "torch": "torch",
    "transformers": "transformers",
    "tokenizers": "tokenizers",
    "safetensors": "safetensors",
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "tqdm": "tqdm",
    "mujoco": "mujoco",
    "OpenGL": "PyOpenGL",
}
LEAST_FREE_GIB = 20
SHARED = Path("/dev/shm")  # noqa: S108 - where torch puts what processes share
LEAST_SHARED_MIB = 512  # a step is 5 MiB, and each worker makes three ahead
MESA = Path("/usr/share/glvnd/egl_vendor.d/50_mesa.json")

DESCRIBE = """
import importlib.util, json, sys
found = {"missing": [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None], "gpu": ""}
if "torch" not in found["missing"]:
    import torch
    found["torch"] = torch.__version__
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        found |= {"gpu": torch.cuda.get_device_name(), "free_gib": free / 2**30, "total_gib": total / 2**30}
        found["bfloat16"] = torch.cuda.is_bf16_supported()
        ones = torch.ones(64, 64, device="cuda")
        (ones @ ones).sum().item()
if "transformers" not in found["missing"]:
    import transformers
    found["transformers"] = transformers.__version__
print(json.dumps(found))
"""

RENDERER = """
from segzero_ros.tabletop.render import Renderer
from segzero_ros.tabletop.sampling import sample_scene
with Renderer(320, 240) as renderer:
    if renderer.render(sample_scene(0, "train")).rgb.std() < 5:
        raise SystemExit("cannot render off-screen (pictures are of one colour)")
    from OpenGL import GL
    print((GL.glGetString(GL.GL_RENDERER) or b"").decode())
"""


def environment(site: Path) -> dict[str, str]:
    """The environment of every process that is started: carried packages before the machine's, no network."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
        "LP_NUM_THREADS": "1",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    }


def report(env: dict[str, str], *, need_cuda: bool) -> list[str]:
    """Lines about the machine; `MissingError` names what is lacking and what to do.

    `env` is told to render with Mesa where the card's driver does not.
    """
    try:
        found = json.loads(_asked(DESCRIBE, env, *MODULES))
    except subprocess.CalledProcessError as error:
        raise MissingError(f"torch does not work here ({_said(error)[-1]})") from None
    if found["missing"]:
        lacking = ", ".join(MODULES[name] for name in found["missing"])
        raise MissingError(
            f"this Python lacks {lacking}; collect the wheels where there is a network "
            "(train_demo_models.py collect) and bring carried/ along"
        )
    if need_cuda:
        _check_gpu(found)
    gpu = "no GPU"
    if found["gpu"]:
        gpu = "{gpu}, {free_gib:.0f} of {total_gib:.0f} GiB free".format(**found)
    cores = f"{os.cpu_count()} cores, Python {sys.version.split()[0]}"
    return [
        f"{gpu}, torch {found['torch']}, transformers {found['transformers']}, {cores}",
        f"renders with {_renderer(env)}",
    ]


def _check_gpu(found: dict[str, object]) -> None:
    if not found["gpu"]:
        raise MissingError(f"torch {found['torch']} sees no CUDA device; --rehearse tries all of it on the CPU")
    if float(str(found["free_gib"])) < LEAST_FREE_GIB:
        raise MissingError(
            f"the GPU has {float(str(found['free_gib'])):.0f} GiB free, want {LEAST_FREE_GIB}; end what uses it"
        )
    if (shared := _free_shared_mib()) < LEAST_SHARED_MIB:
        raise MissingError(
            f"{SHARED} has {shared} MiB free, want {LEAST_SHARED_MIB} for what worker processes hand over; "
            f"mount -o remount,size=4G {SHARED}"
        )
    if not found["bfloat16"]:
        raise MissingError(f"{found['gpu']} has no bfloat16; train with segzero train reasoner --no-bfloat16 instead")


def _free_shared_mib() -> int:
    return shutil.disk_usage(SHARED).free // 2**20 if SHARED.is_dir() else 0


def _renderer(env: dict[str, str]) -> str:
    try:
        return _asked(RENDERER, env).strip()
    except subprocess.CalledProcessError as error:
        if MESA.exists() and "__EGL_VENDOR_LIBRARY_FILENAMES" not in env:
            env["__EGL_VENDOR_LIBRARY_FILENAMES"] = str(MESA)
            return _renderer(env)
        said = _said(error)
        reason = next((line for line in reversed(said) if "cannot render" in line), said[-1])
        raise MissingError(
            f"{reason} (with a GPU's driver: libegl1 libglvnd0 libopengl0 libgl1 libglx0, brought along as packages)"
        ) from None


def _said(error: subprocess.CalledProcessError) -> list[str]:
    return (error.stderr or "").strip().splitlines() or [f"status {error.returncode}"]


def _asked(program: str, env: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *words], env=env, cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout
