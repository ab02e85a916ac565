"""Which TensorRT is found, and one line that says what to install when there is none."""

from __future__ import annotations

import logging
import subprocess
import sys
import types
from pathlib import Path

import pytest

from segzero_ros.backends import EngineOptions, tensorrt
from segzero_ros.backends.tensorrt import library as tensorrt_library
from segzero_ros.backends.tensorrt.library import FLAVOURS, Gpu, find_cuda, find_gpu, find_library
from segzero_ros.errors import Code, RejectedInput
from tests.backends.tensorrt.fake_tensorrt import FakeCuda

ROOT = Path(__file__).parents[3]


def module(name: str, folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a module for this test."""
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))  # what is imported now is forgotten afterwards
    del sys.modules[name]


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with neither TensorRT nor CUDA, whatever is installed here."""
    for name in (*FLAVOURS.values(), "cuda", "cuda.bindings", "cuda.bindings.runtime"):
        monkeypatch.setitem(sys.modules, name, None)


def test_the_full_one_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, version in (("tensorrt", "10.16.1"), ("tensorrt_rtx_bindings", "1.7.1")):
        module(name, tmp_path, f"__version__ = {version!r}", monkeypatch)
    found = find_library()
    assert (found.flavour, found.version) == ("tensorrt", "10.16.1")


@pytest.mark.parametrize("fault", ["raise ImportError('stub')", "raise OSError('libnvinfer.so.10')", "x = 1"])
def test_one_that_does_not_import_gives_way_to_the_next(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module("tensorrt", tmp_path, fault, monkeypatch)
    module("tensorrt_rtx_bindings", tmp_path, "__version__ = '1.7.1'", monkeypatch)
    assert find_library().flavour == "tensorrt_rtx"
    module("tensorrt_rtx_bindings", tmp_path, fault, monkeypatch)
    with pytest.raises(RejectedInput, match=r"tensorrt does not import.*tensorrt_rtx_bindings does not import"):
        find_library()


@pytest.mark.usefixtures("nothing")
def test_without_any_there_is_one_line_with_the_command() -> None:
    for find in (find_library, find_cuda):
        with pytest.raises(RejectedInput, match="pip install tensorrt-rtx-cu13-libs") as refusal:
            find()
        assert refusal.value.code is Code.BUNDLE_BACKEND and "\n" not in str(refusal.value)
    why = tensorrt.why_unavailable(None, EngineOptions())
    assert "pip install" in why and "\n" not in why


def test_a_gpu_is_named_with_capability_and_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_library, "DRIVER_FILE", tmp_path / "version")
    assert find_gpu(FakeCuda()) == Gpu("Fake GPU", "8.9", "CUDA 13.0")
    (tmp_path / "version").write_text("580.95.05\n")
    assert find_gpu(FakeCuda()).driver == "580.95.05 (CUDA 13.0)"


def test_no_gpu_and_no_driver_are_told() -> None:
    with pytest.raises(RejectedInput, match=r"no NVIDIA GPU with a driver.*cudaErrorInsufficientDriver"):
        find_gpu(FakeCuda(gpus=0))


def test_the_real_packages_are_asked_the_same_way() -> None:
    """`cuda.bindings` answers without a driver; what it answers is taken for "no GPU"."""
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is on machines with a GPU only")
    try:
        said = find_gpu(find_cuda()).capability
    except RejectedInput as refusal:
        said = refusal.detail
    assert said.partition(".")[0].isdecimal() or "no NVIDIA GPU with a driver" in said


def test_nothing_of_nvidia_is_imported_before_it_is_wanted() -> None:
    ours = "store", "library", "engine", "device", "reasoner"
    imports = ", ".join(f"segzero_ros.backends.tensorrt.{name}" for name in ours)
    program = f"import sys, {imports}, segzero_ros.cli.built; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"tensorrt", "tensorrt_rtx_bindings", "cuda", "onnx", "onnxruntime", "torch"}


def test_the_builder_needs_neither_torch_nor_onnx() -> None:
    program = "import sys, segzero_ros.backends.tensorrt.builder; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {name.partition(".")[0] for name in done.stdout.split()} & {
        "torch",
        "onnx",
        "onnxruntime",
        "transformers",
    }


def test_warnings_are_passed_on_and_errors_kept(caplog: pytest.LogCaptureFixture) -> None:
    class Base:
        ERROR, WARNING = 1, 2

    library = tensorrt_library.Library("tensorrt", "1", types.SimpleNamespace(ILogger=Base))
    logger = tensorrt_library.new_logger(library)
    with caplog.at_level(logging.DEBUG):
        for severity, text in ((0, "worst"), (1, "error"), (2, "warning"), (3, "chatter")):
            logger.log(severity, text)
    assert logger.messages == ["worst", "error"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.ERROR, logging.WARNING]
