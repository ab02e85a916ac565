"""A `segzero serve` process that is killed, stopped, started again, locked with a key, and spoken to by https."""

import shutil
import signal
import socket
import subprocess
import threading

import pytest

from segzero_ros.backends import EngineOptions, open_pipeline
from segzero_ros.backends.fake import FakeSegmenter
from segzero_ros.backends.remote import open_reasoner as open_remote
from segzero_ros.backends.self_test import check_coordinates
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.pipeline import Pipeline
from tests.server.conftest import LIMIT_S, ServeProcess
from tests.server.robots import ask, essence, options


def test_a_server_killed_and_started_again_is_used_again(bundle, questions):
    first = ServeProcess()
    remote = open_remote(bundle, options(first))
    frame, command = questions[0]
    before = essence(ask(remote, frame, command))
    assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL
    pipeline = Pipeline(bundle.profile, remote, FakeSegmenter())
    assert pipeline.ground(frame, command).code is Code.SERVER_UNREACHABLE
    second = ServeProcess(port=first.port)
    try:
        assert essence(ask(remote, frame, command)) == before
    finally:
        second.end()


def test_a_server_killed_in_the_middle_of_an_answer_is_replaced_by_the_local_bundle(local, bundle, questions):
    started = ServeProcess()
    both = open_remote(bundle, EngineOptions(server=started.url, server_timeout_s=LIMIT_S), local=lambda: local)
    frame, command = questions[3]
    heard: list[str] = []

    def hear(piece):
        if not heard:
            started.process.kill()
        heard.append(piece)

    answer = ask(both, frame, command, on_text=hear)
    started.end(signal.SIGKILL)
    assert "".join(heard) == answer.text
    expected = ask(local, frame, command).text
    assert answer.text.endswith(expected)
    again = ask(both, frame, command)  # without waiting for the dead server
    assert again.text == expected


def test_a_good_server_passes_the_self_test_at_its_start_and_for_its_robots(bundle, server):
    robot = open_pipeline(bundle, "remote", options=options(server))
    assert "self-test passed, 3 questions" in check_coordinates(robot, bundle)
    another = ServeProcess()
    assert "self-test passed, 3 questions" in another.end()[1]


def test_a_robot_that_starts_before_its_server_answers_by_itself(local, bundle, questions):
    frame, command = questions[0]
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    alone = open_remote(bundle, EngineOptions(server=nobody), local=lambda: local)
    assert essence(ask(alone, frame, command)) == essence(ask(local, frame, command))
    with pytest.raises(RejectedInput) as refusal:
        open_remote(bundle, EngineOptions(server=nobody, fallback=False))
    assert refusal.value.code is Code.BUNDLE_BACKEND


def test_a_server_that_stops_tells_the_robots_that_wait(bundle, questions):
    started = ServeProcess()
    remote = open_remote(bundle, options(started))
    frame, command = questions[4]
    told = threading.Event()

    def end(_piece):
        if not told.is_set():
            told.set()
            started.process.terminate()

    pipeline = Pipeline(bundle.profile, remote, FakeSegmenter())
    result = pipeline.ground(frame, command, on_text=end)
    assert result.code in (Code.OK, Code.NO_TARGET, Code.SERVER_REFUSED, Code.SERVER_UNREACHABLE)
    status, said = started.end()
    assert (status, "Traceback" in said) == (0, False), said


def test_https_with_a_certificate_of_ones_own(bundle, questions, local, tmp_path, monkeypatch):
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl to make a certificate")
    certificate, key = str(tmp_path / "box.pem"), str(tmp_path / "box.key")
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    made = ["openssl", "req", *kind, "-keyout", key, "-out", certificate, *name]
    subprocess.run(made, check=True, capture_output=True)
    started = ServeProcess("--tls-cert", certificate, "--tls-key", key)
    try:
        assert started.url.startswith("https://")
        with pytest.raises(RejectedInput, match="SSL_CERT_FILE"):
            open_remote(bundle, options(started))
        monkeypatch.setenv("SSL_CERT_FILE", certificate)
        remote = open_remote(bundle, options(started))
        assert essence(ask(remote, *questions[0])) == essence(ask(local, *questions[0]))
        hung_up = threading.Event()
        answer = ask(remote, *questions[1], on_text=lambda _: hung_up.set(), cancelled=hung_up.is_set)
        assert answer.finish == "cancelled"
    finally:
        started.end()


def test_a_key_is_wanted_where_one_is_set(bundle, questions, monkeypatch):
    started = ServeProcess(SEGZERO_API_KEY="open-sesame")
    try:
        with pytest.raises(RejectedInput) as refusal:
            open_remote(bundle, options(started))
        assert "401" in refusal.value.detail
        assert "SEGZERO_API_KEY" in refusal.value.detail
        monkeypatch.setenv("SEGZERO_API_KEY", "open-sesame")
        assert ask(open_remote(bundle, options(started)), *questions[0]).finish == "stop"
    finally:
        _, said = started.end()
    assert "sesame" not in said
