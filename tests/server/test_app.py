"""The server as any client of the OpenAI protocol sees it, over real HTTP."""

import http.client
import json
import socket

import cv2
import numpy as np
import pytest

from segzero_ros.backends.decoding.preprocess import resize_to
from segzero_ros.backends.remote.dialect import chat_messages, encode_picture
from segzero_ros.cli.main import main
from segzero_ros.server.app import MAX_BODY_BYTES
from tests.server.conftest import LIMIT_S


def request(server, method, path, body=None, headers=None):
    """Return status, headers and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT_S)
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    connection.request(method, path, data, headers or {})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, dict(response.getheaders()), content


@pytest.fixture(scope="session")
def chat(bundle, questions):
    frame, command = questions[0]
    picture = encode_picture(resize_to(frame.rgb, bundle.profile.image_size))
    messages = chat_messages(bundle.profile.system, picture, bundle.profile.render(command.text))
    return {"model": "tabletop", "messages": messages, "temperature": 0}


def events(content: bytes) -> list[dict]:
    assert content.endswith(b"data: [DONE]\n\n")
    return [json.loads(line[6:]) for line in content.split(b"\n\n") if line.startswith(b"data: {")]


def test_a_completion_is_whole_or_a_stream_of_the_same_text(server, chat):
    status, _, content = request(server, "POST", "/v1/chat/completions", chat)
    whole = json.loads(content)
    assert status == 200
    text = whole["choices"][0]["message"]["content"]
    assert whole["choices"][0]["finish_reason"] == "stop"
    options = {"stream": True, "stream_options": {"include_usage": True}}
    status, headers, content = request(server, "POST", "/v1/chat/completions", {**chat, **options})
    chunks = events(content)
    assert headers["content-type"].startswith("text/event-stream")
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"]) == text
    assert chunks[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


def test_stop_and_max_tokens_end_the_answer(server, chat):
    cut = json.loads(request(server, "POST", "/v1/chat/completions", {**chat, "stop": ["</think>"]})[2])
    assert cut["choices"][0]["finish_reason"] == "stop"
    assert "</think>" not in cut["choices"][0]["message"]["content"]
    short = json.loads(request(server, "POST", "/v1/chat/completions", {**chat, "max_tokens": 2})[2])
    assert short["choices"][0]["finish_reason"] == "length"
    assert len(short["choices"][0]["message"]["content"]) < len(cut["choices"][0]["message"]["content"])


def test_health_and_models_say_who_it_is(server, bundle):
    status, _, content = request(server, "GET", "/health")
    assert (status, json.loads(content)["status"], json.loads(content)["model"]) == (200, "ok", "tabletop")
    model = json.loads(request(server, "GET", "/v1/models")[2])["data"][0]
    assert (model["id"], model["segzero"]["image_size"]) == ("tabletop", list(bundle.profile.image_size))


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nowhere", None, 404),
        ("GET", "/v1/chat/completions", None, 405),
        ("POST", "/v1/models", {}, 405),
        ("GET", "/../../etc/passwd", None, 404),
        ("POST", "/v1/chat/completions", b"", 400),
        ("POST", "/v1/chat/completions", b"\xff\xfe", 400),
        ("POST", "/v1/chat/completions", b"[" * 100_000, 400),
        ("POST", "/v1/chat/completions", {"model": "gpt-9"}, 404),
        ("POST", "/v1/chat/completions", {"messages": []}, 400),
    ],
)
def test_what_is_wrong_is_an_error_without_a_traceback(server, method, path, body, status):
    found, _, content = request(server, method, path, body)
    assert found == status
    assert b"Traceback" not in content and b'File "' not in content
    error = json.loads(content)["error"]
    assert error["message"] and error["type"] == ("not_found_error" if status == 404 else "invalid_request_error")


def test_a_body_too_large_is_refused_before_it_is_read(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_a_body_without_length_is_limited_too(server):
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(MAX_BODY_BYTES // 0x10000 + 2):
                connection.sendall(chunk)
            answer = connection.recv(100)
        except ConnectionError:
            return
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_picture_of_another_size_and_kind_is_answered_too(server, chat, bundle, questions):
    frame, _ = questions[0]
    stored = cv2.imencode(".jpg", cv2.cvtColor(np.ascontiguousarray(frame.rgb), cv2.COLOR_RGB2BGR))[1]
    picture = "data:image/jpeg;base64," + __import__("base64").b64encode(stored.tobytes()).decode()
    messages = chat_messages(bundle.profile.system, picture, "Find the mug.")
    status, _, content = request(server, "POST", "/v1/chat/completions", {"messages": messages})
    assert status == 200
    assert json.loads(content)["choices"][0]["message"]["content"].endswith("</answer>")


def test_clients_that_hang_up_in_any_state_leave_nothing_behind(server, chat):
    data = json.dumps({**chat, "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    for sent in (b"", head[:20], head, head + data[:500], head + data):
        with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S) as connection:
            connection.sendall(sent)
    assert request(server, "POST", "/v1/chat/completions", chat)[0] == 200  # its turn comes after all of them
    assert json.loads(request(server, "GET", "/health")[2])["waiting"] == 0


# ---- the command line ----


def test_an_address_that_is_taken_is_one_line(server, capsys):
    assert main(["serve", "--port", str(server.port)]) == 2
    said = capsys.readouterr().err
    assert f"cannot listen on 127.0.0.1 port {server.port}" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--bundle", "nowhere"], "BUNDLE_MISSING"),
        (["--backend", "remote"], "got 'remote'"),
        (["--tls-cert", "x.pem"], "want both or none"),
        (["--tls-cert", "/nowhere.pem", "--tls-key", "/nowhere.key"], "No such file or directory"),
        (["--tls-cert", __file__, "--tls-key", __file__], "give a certificate and its own private key as PEM files"),
        (["--tls-cert", "/", "--tls-key", "/"], "cannot serve https with"),
        (["--host", ""], "got an empty --host"),
        (["--threads", "1025"], "want a whole number of 0 to 1024"),
        (["--port", "65536"], "want a whole number of 0 to 65535"),
        (["--port", "9" * 30], "want a whole number of 0 to 65535"),
        (["--prot", "1"], "did you mean '--port'"),
    ],
)
def test_wrong_usage_is_one_line(words, told, capsys):
    try:
        status = main(["serve", *words])
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert told in capsys.readouterr().err


def test_missing_packages_are_named_with_the_command_that_installs_them(monkeypatch, capsys):
    monkeypatch.setattr("segzero_ros.cli.serve.missing", lambda names: ["uvicorn"])
    assert main(["serve"]) == 2
    assert "uvicorn not installed; pip install starlette uvicorn" in capsys.readouterr().err


def test_noise_on_the_port_harms_nobody(server, chat):
    noise = np.random.default_rng(0)
    starts = [b"", b"GET ", b"POST /v1/chat/completions HTTP/1.1\r\n", b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\n"]
    for index in range(60):
        with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S) as connection:
            connection.sendall(starts[index % len(starts)] + noise.bytes(int(noise.integers(1, 2000))))
    assert request(server, "POST", "/v1/chat/completions", chat)[0] == 200
