"""Which execution provider a session gets, and what is said when the one asked for is not here."""

from pathlib import Path

import onnxruntime
import pytest

from segzero_ros.backends.onnx import session as onnx_session
from segzero_ros.backends.onnx.session import device, open_session, providers
from segzero_ros.bundle import open_bundle, resolve_bundle
from segzero_ros.errors import Code, RejectedInput

ALL = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("provider", "there", "taken"),
    [
        ("auto", ALL, ["CUDAExecutionProvider", "CPUExecutionProvider"]),
        ("auto", ALL[2:], ["CPUExecutionProvider"]),
        ("cpu", ALL, ["CPUExecutionProvider"]),
        ("cuda", ALL, ["CUDAExecutionProvider", "CPUExecutionProvider"]),
        ("tensorrt", ALL, ALL),
    ],
)
def test_providers_are_taken_by_what_is_there(
    monkeypatch: pytest.MonkeyPatch, provider: str, there: list[str], taken: list[str]
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    assert providers(provider) == taken


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_asked_for_that_is_not_here_is_refused_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(RejectedInput, match="pip install onnxruntime-gpu") as error:
        providers(provider)
    assert error.value.code is Code.BUNDLE_BACKEND


def test_an_unknown_provider_gets_the_nearest() -> None:
    with pytest.raises(RejectedInput, match="did you mean 'cuda'"):
        providers("cudda")


def test_tensorrt_keeps_its_engines_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ALL)
    opened = {}

    def session(path: str, options: object, providers: list[tuple[str, dict[str, object]]]) -> None:
        opened.update(providers)

    monkeypatch.setattr(onnx_session.onnxruntime, "InferenceSession", session)
    open_session(Path("decoder.onnx"), provider="tensorrt")
    assert list(opened) == ALL
    assert opened["TensorrtExecutionProvider"]["trt_engine_cache_path"] == str(
        tmp_path / "segzero_ros" / "onnxruntime_tensorrt"
    )


def test_on_this_machine_a_session_lives_where_it_says() -> None:
    session = open_session(open_bundle(resolve_bundle("tabletop")).reasoner.files["embeddings"], provider="cpu")
    assert (session.get_providers(), device(session)) == (["CPUExecutionProvider"], "cpu")


@pytest.mark.parametrize(("size", "beside", "threads"), [(1 << 20, 0, 1), (40 << 20, 0, 0), (1 << 20, 40 << 20, 0)])
def test_a_small_graph_gets_one_thread_and_a_large_one_the_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int, beside: int, threads: int
) -> None:
    for name, length in (("graph.onnx", size), ("weights.bin", beside)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(length)
    given: list[int] = []

    def session(_path: str, options: onnxruntime.SessionOptions, **_: object) -> None:
        given.append(options.intra_op_num_threads)

    monkeypatch.setattr(onnx_session.onnxruntime, "InferenceSession", session)
    open_session(tmp_path / "graph.onnx", provider="cpu")
    open_session(tmp_path / "graph.onnx", provider="cpu", threads=3)
    assert given == [threads, 3]
