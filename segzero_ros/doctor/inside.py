"""`python -m segzero_ros.doctor.inside BUNDLE`: which backends can run, asked in the engines' own Python, as JSON."""

import importlib.metadata
import json
import platform
import sys
from typing import Any

from segzero_ros.backends import DEFAULTS, why_unavailable
from segzero_ros.bundle import open_bundle, resolve_bundle
from segzero_ros.errors import RejectedInput, one_line

BACKENDS = ("tensorrt_llm", "tensorrt", "torch_cuda", "onnx")  # as `auto` tries them; remote needs a server
PACKAGES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt-rtx",
    "tensorrt-llm",
    "torch",
    "tokenizers",
    "numpy",
)


def look(bundle_name: str) -> dict[str, Any]:
    """Return versions, and for each backend why it cannot run the bundle here, "" = it can."""
    bundle = open_bundle(resolve_bundle(bundle_name))
    reasons = {}
    for name in BACKENDS:
        try:
            reasons[name] = one_line(why_unavailable(name, bundle, DEFAULTS))
        except RejectedInput as error:
            reasons[name] = error.detail
        except Exception as error:  # noqa: BLE001 - a package that is there and broken
            reasons[name] = one_line(f"{type(error).__name__}: {error}")[:300]
    return {"python": platform.python_version(), "packages": dict(_versions()), "backends": reasons}


def _versions() -> list[tuple[str, str]]:
    found = []
    for name in PACKAGES:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    print(json.dumps(look(sys.argv[1])))
