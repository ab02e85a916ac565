"""The demo bundle and a machine with a fake GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from segzero_ros.backends import tensorrt
from segzero_ros.backends.tensorrt import library as tensorrt_library
from segzero_ros.backends.tensorrt.library import Library
from segzero_ros.bundle import Bundle, open_bundle
from tests.backends.tensorrt.fake_tensorrt import FakeCuda, fake_tensorrt

BUNDLE = Path(__file__).parents[3] / "bundles" / "tabletop"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(BUNDLE)


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def machine(request: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Library, FakeCuda]:
    """A machine with one fake GPU and one flavour of TensorRT."""
    cuda = FakeCuda()
    library = Library(request.param, "10.16.1", fake_tensorrt(request.param, cuda))
    monkeypatch.setattr(tensorrt, "find_library", lambda: library)
    monkeypatch.setattr(tensorrt, "find_cuda", lambda: cuda)
    monkeypatch.setattr(tensorrt, "installed", lambda module: True)
    monkeypatch.setattr(tensorrt_library, "DRIVER_FILE", Path("/nowhere"))
    return library, cuda
