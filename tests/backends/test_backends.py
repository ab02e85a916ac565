"""Which backend a robot gets, and why: the fastest that works, by name where one is asked for."""

import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from segzero_ros import backends as engines
from segzero_ros.backends import EngineOptions, candidates, open_pipeline, why_unavailable
from segzero_ros.backends.fake import FakeReasoner, FakeSegmenter, centre_answer
from segzero_ros.bundle import open_bundle, resolve_bundle
from segzero_ros.config import BACKENDS, parameters
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.ros import processes

BUNDLE = open_bundle(resolve_bundle("tabletop"))
AUTO = ("tensorrt", "onnx")


class Shelf:
    """Backends made up for a test: name -> why it cannot run here, or an error that opening raises."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.opened: list[str] = []

    def put(self, name: str, reason: str = "", error: Exception | None = None) -> None:
        module = types.ModuleType(f"segzero_ros.backends.{name}")

        def opening(part: str, made: Callable[[], object]) -> Callable[..., object]:
            def open_it(*_: Any, **__: Any) -> object:
                if error is not None:
                    raise error
                self.opened.append(f"{name} {part}")
                return made()

            return open_it

        made = {
            "why_unavailable": lambda *_: reason,
            "open_reasoner": opening("reasoner", lambda: FakeReasoner(centre_answer(BUNDLE.profile))),
            "open_segmenter": opening("segmenter", FakeSegmenter),
        }
        for attribute, value in made.items():
            setattr(module, attribute, value)
        self._patch.setitem(sys.modules, module.__name__, module)


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    return Shelf(monkeypatch)


def test_auto_takes_the_fastest_that_works_and_says_why(shelf: Shelf) -> None:
    shelf.put("tensorrt", reason="no NVIDIA GPU here")
    shelf.put("onnx")
    pipeline = open_pipeline(BUNDLE)
    assert shelf.opened == ["onnx reasoner", "onnx segmenter"]
    assert (
        pipeline.engines
        == "reasoner onnx; not tensorrt: no NVIDIA GPU here; segmenter onnx; not tensorrt: no NVIDIA GPU here"
        "; following prompted"
    )


def test_auto_goes_on_when_the_fastest_breaks_while_opening(shelf: Shelf) -> None:
    shelf.put("tensorrt", error=RejectedInput(Code.BUNDLE_BACKEND, "the engine was built for another GPU"))
    shelf.put("onnx")
    assert "not tensorrt: the engine was built for another GPU" in open_pipeline(BUNDLE).engines
    shelf.put("tensorrt", error=MemoryError("no room"))
    assert "MemoryError: no room" in open_pipeline(BUNDLE).engines


def test_a_backend_asked_for_by_name_is_not_replaced_by_another(shelf: Shelf) -> None:
    shelf.put("tensorrt", reason="no NVIDIA GPU here")
    shelf.put("onnx")
    with pytest.raises(RejectedInput, match="no NVIDIA GPU here") as error:
        open_pipeline(BUNDLE, "tensorrt")
    assert error.value.code is Code.BUNDLE_BACKEND
    assert shelf.opened == []


def test_a_reasoner_from_elsewhere_gets_the_best_segmenter_that_is_here(shelf: Shelf) -> None:
    shelf.put("tensorrt", reason="no NVIDIA GPU here")
    shelf.put("onnx")
    shelf.put("torch_cuda")
    open_pipeline(BUNDLE, "torch_cuda", options=EngineOptions(model="/checkpoint"))
    assert shelf.opened == ["torch_cuda reasoner", "onnx segmenter"]


def test_servers_and_checkpoints_are_only_tried_where_one_is_named() -> None:
    assert candidates(EngineOptions()) == AUTO
    assert candidates(EngineOptions(server="http://box:8000/v1", model="qwen")) == ("remote", *AUTO)
    assert candidates(EngineOptions(model="/checkpoint")) == ("tensorrt_llm", "tensorrt", "torch_cuda", "onnx")


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_says_in_one_line_what_it_needs_and_imports_no_engine_to_say_it(name: str) -> None:
    code = (
        "import sys\nfrom segzero_ros.backends import why_unavailable\n"
        f"print(repr(why_unavailable({name!r}, None)))\n"
        "engines = {'torch', 'tensorrt', 'tensorrt_rtx_bindings', 'tensorrt_llm', 'onnxruntime'} & set(sys.modules)\n"
        f"engines -= {{'torch'}} if {name!r} == 'torch_cuda' else set()  # only torch knows whether it has CUDA\n"
        "assert not engines, engines"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "\\n" not in done.stdout


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_llm", "torch_cuda", "remote"])
def test_what_is_missing_is_named_with_what_to_do(name: str) -> None:
    reason = why_unavailable(name, BUNDLE, EngineOptions())
    assert any(word in reason for word in ("pip install", "segzero engine build", "server", "model")), reason
    with pytest.raises(RejectedInput) as error:
        open_pipeline(BUNDLE, name)
    assert error.value.code is Code.BUNDLE_BACKEND
    assert "\n" not in error.value.detail


def test_the_node_the_launch_files_and_the_command_line_know_the_same_backends() -> None:
    from segzero_ros.cli.options import BACKENDS as SHELL

    (parameter,) = (one for one in parameters() if one.name == "backend")
    assert set(parameter.choices) == {"auto", *BACKENDS} == set(processes.BACKENDS) == set(SHELL)


def test_a_module_that_cannot_be_imported_is_a_reason_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segzero_ros.backends.tensorrt", None)
    assert "cannot be imported" in engines.why_unavailable("tensorrt", BUNDLE)
    assert "onnx" in open_pipeline(BUNDLE, options=EngineOptions(threads=1)).engines


def test_the_remote_reasoner_is_handed_the_local_one_for_its_fall_back(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put("tensorrt", reason="no NVIDIA GPU here")
    shelf.put("onnx")
    given: dict[str, Any] = {}

    def open_reasoner(*_: Any, local: Callable[[], object] | None = None) -> object:
        given["local"] = local
        return FakeReasoner(centre_answer(BUNDLE.profile))

    module = types.ModuleType("segzero_ros.backends.remote")
    monkeypatch.setattr(module, "why_unavailable", lambda *_: "", raising=False)
    monkeypatch.setattr(module, "open_reasoner", open_reasoner, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    options = EngineOptions(server="http://127.0.0.1:9/v1")
    assert open_pipeline(BUNDLE, options=options).engines.startswith("reasoner remote")
    assert isinstance(given["local"](), FakeReasoner)
    given.clear()
    open_pipeline(BUNDLE, "remote", options=replace(options, fallback=False))
    assert given["local"] is None


def test_real_engines_answer_through_auto() -> None:
    from segzero_ros.command import Command
    from segzero_ros.frame import Frame

    pipeline = open_pipeline(BUNDLE, options=EngineOptions(threads=1))
    result = pipeline.ground(Frame(np.zeros((48, 64, 3), np.uint8), 0), Command("1", "the red mug"))
    assert result.code in (Code.OK, Code.NO_TARGET)
