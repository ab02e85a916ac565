"""The API key goes to its own server and into nothing that is shown; what a server says is one harmless line."""

import dataclasses
import itertools
import json
import logging

import numpy as np
import pytest

from segzero_ros.backends import EngineOptions
from segzero_ros.backends.fake import FakeSegmenter
from segzero_ros.backends.remote import RemoteReasoner, open_reasoner
from segzero_ros.backends.remote.client import Server
from segzero_ros.backends.remote.http import read_endpoint, read_key
from segzero_ros.backends.remote.secret import KeyFilter, without
from segzero_ros.bundle import open_bundle, resolve_bundle
from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Pipeline
from segzero_ros.profile import get_profile
from tests.server.scripted_server import (
    ANSWER,
    DONE,
    LIMIT_S,
    STREAM,
    ScriptedServer,
    event,
    finished,
    model_list,
    pieces,
    refusing,
    said,
    saying,
    sending,
    whole,
)

PROFILE = dataclasses.replace(get_profile("abstaining_v2"), image_size=(196, 196))
FRAME = Frame(np.full((48, 64, 3), 90, np.uint8), 0)
MUG = Command("1", "the mug")
KEY = "sk-Qx7Vt2Lm9Zr4Wb8Ny1Kd6Hc3Jf5Gp0Sa-uTeIo"  # 40 characters
HTML = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"


def grounded(server, key=KEY):
    remote = RemoteReasoner(PROFILE, Server(read_endpoint(server.url), key, stall_s=LIMIT_S, back_off_s=0.001))
    return Pipeline(PROFILE, remote, FakeSegmenter()).ground(FRAME, MUG)


def assert_hidden(text: str, key: str = KEY) -> None:
    """No six characters of the key in a row, however it is written."""
    for form in (key, key.lower(), key.upper()):
        for at in range(len(form) - 5):
            assert form[at : at + 6] not in text, text


@pytest.mark.parametrize("before", [0, 20, 38, 60, 79, 280, 298])
def test_a_key_that_is_echoed_is_in_no_detail_wherever_the_detail_is_cut(before):
    echo = "x" * before + KEY + " is wrong"
    answers = [
        refusing(401, echo),
        lambda request: request.send(*whole(401, echo.encode())),
        sending(STREAM, event(echo.encode()), DONE),
        sending(STREAM, event({"error": {"message": echo}}), DONE),
        sending(STREAM, event({"choices": echo}), DONE),
        sending(HTML, echo.encode()),
        sending(f"HTTP/1.1 200 OK\r\nContent-Type: {echo}\r\n\r\n".encode(), b"x"),
        refusing(307, "there", f"Location: http://box/{echo}"),
        sending(f"{echo}\r\n\r\n".encode()),
        saying(echo),
    ]
    for answer in answers:
        with ScriptedServer(answer) as server:
            result = grounded(server)
            assert result.code is not Code.OK
            assert_hidden(result.detail + result.text + result.reasoning)
    for listing in (echo.encode(), json.dumps(model_list("vllm", echo, "b")).encode()):
        with ScriptedServer(saying(), models=lambda request, body=listing: request.send(*whole(200, body))) as server:
            assert_hidden(grounded(server).detail)


@pytest.mark.parametrize("cut", range(0, len(KEY) + 1, 3))
def test_a_key_cut_in_two_by_packets_is_in_no_detail(cut):
    def web_page(request):
        request.send(HTML + b"<p>" + KEY[:cut].encode())
        request.connection.settimeout(0.05)
        try:
            request.wait_for_the_client_to_go()
        finally:
            request.send(KEY[cut:].encode())

    with ScriptedServer(web_page) as server:
        assert_hidden(grounded(server).detail)


@pytest.mark.parametrize("length", [1, 3, 39, 40, 41])
def test_a_key_in_what_the_model_says_is_not_passed_on(length):
    text = ANSWER.replace("The mug.", f"My key is {KEY}, sk-Qx, {KEY}{KEY}.")
    heard = []
    with ScriptedServer(sending(STREAM, *map(said, pieces(text, length)), finished(), DONE)) as server:
        remote = RemoteReasoner(PROFILE, Server(read_endpoint(server.url), KEY, stall_s=LIMIT_S))
        result = Pipeline(PROFILE, remote, FakeSegmenter()).ground(FRAME, MUG, on_text=heard.append)
    assert (result.code, result.text) == (Code.OK, "".join(heard))
    assert result.text == text.replace(KEY, "***")


def test_a_filter_changes_nothing_but_the_key_however_the_text_is_cut():
    text = f"s sk sk-Q {KEY} {KEY[:30]} and {KEY[5:]}"
    for cuts in itertools.combinations(range(0, len(text) + 1, 7), 3):
        one = KeyFilter(KEY)
        parts = [text[lo:hi] for lo, hi in itertools.pairwise([0, *cuts, len(text)])]
        assert "".join(map(one.push, parts)) + one.rest() == text.replace(KEY, "***")


@pytest.mark.parametrize("key", ['a"b\\c/d+e%f&g=h', "short", "k", "ABCDEFGH"])
def test_a_key_is_found_escaped_in_other_cases_and_behind_controls(key):
    for form in (key, json.dumps(key), key.lower(), "\x1b".join(key), f"b'{key}'"):
        assert key.lower() not in without(key, f"wrong key {form}!", 500).lower()


# ---- whose key it is ----


def opened(server):
    return open_reasoner(open_bundle(resolve_bundle("tabletop")), EngineOptions(server=server.url, fallback=False))


def keys_heard(server):
    return [request.headers.get("authorization") for request in server.requests]


def test_a_key_that_a_server_took_goes_to_no_other(monkeypatch):
    monkeypatch.setenv("SEGZERO_API_KEY", "took-by-the-first")
    with ScriptedServer(saying()) as ours, ScriptedServer(saying()) as theirs:
        opened(ours)
        with pytest.raises(RejectedInput) as refusal:
            opened(theirs)
        assert "SEGZERO_API_KEY_HOST" in refusal.value.detail
        opened(ours)
        assert keys_heard(ours) == ["Bearer took-by-the-first"] * 2
        assert keys_heard(theirs) == []


def test_a_key_with_a_host_goes_there_only(monkeypatch):
    monkeypatch.setenv("SEGZERO_API_KEY", "of-the-box")
    monkeypatch.setenv("SEGZERO_API_KEY_HOST", "box")
    assert read_key(read_endpoint("https://box/v1")) == read_key(read_endpoint("https://BOX:8443/v1")) == "of-the-box"
    for other in ("https://evil/v1", "https://box.evil/v1", "http://127.0.0.1:8000/v1"):
        with pytest.raises(RejectedInput) as refusal:
            read_key(read_endpoint(other))
        assert refusal.value.code is Code.CONFIG_VALUE
        assert "of-the-box" not in str(refusal.value)
    monkeypatch.setenv("SEGZERO_API_KEY_HOST", "127.0.0.1:8000")
    assert read_key(read_endpoint("http://127.0.0.1:8000/v1")) == "of-the-box"
    with pytest.raises(RejectedInput):
        read_key(read_endpoint("http://127.0.0.1:8001/v1"))


@pytest.mark.parametrize("host", ["https://box/v1", "box:99999", "box/v1", ":80"])
def test_a_host_that_is_none_is_refused(host, monkeypatch):
    monkeypatch.setenv("SEGZERO_API_KEY", "anything")
    monkeypatch.setenv("SEGZERO_API_KEY_HOST", host)
    with pytest.raises(RejectedInput, match="want HOST"):
        read_key(read_endpoint("https://box/v1"))


# ---- lines and numbers ----

ODD = "\x1b[31mred\x1b[0m\r\n[INFO] all is well\u2028\u202egnp.exe\x9b2J\x00"


def test_what_a_server_says_is_one_line_without_controls_in_every_detail_and_log(caplog):
    listing = lambda request: request.send(*whole(200, model_list("vllm", ODD)))  # noqa: E731
    answers = [
        refusing(400, ODD),
        sending(STREAM, event({"error": ODD}), DONE),
        saying(f'<think>x</think><answer>[{{"bbox_2d{ODD}": [1, 2], "point": [1, 2]}}]</answer>'),
        saying(f'<think>x</think><answer>[{{"{ODD}": 1}}]</answer>'),
        saying(ODD),
    ]
    with caplog.at_level(logging.DEBUG):
        for answer in answers:
            for models in (None, listing):
                with ScriptedServer(answer, models=models) as server:
                    result = grounded(server, "")
                assert result.code is not Code.OK
                assert result.detail.isprintable()
    assert all(record.getMessage().isprintable() for record in caplog.records)
    assert any("red" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("count", [10**12, 2**32, 300_000, -5, 1e300, True, "7"])
def test_a_count_that_cannot_be_is_not_believed(count):
    usage = event({"choices": [], "usage": {"completion_tokens": count}, "segzero": {"tokens": count, "steps": count}})
    with ScriptedServer(sending(STREAM, said(ANSWER), finished(), usage, DONE)) as server:
        result = grounded(server)
    assert (result.code, result.timing.tokens) == (Code.OK, 1)
