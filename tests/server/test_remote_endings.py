"""A finished answer survives whatever follows it, and every exchange has an end, whatever drips."""

import contextlib
import threading
import time

import numpy as np
import pytest

from segzero_ros.backends.fake import FakeReasoner, FakeSegmenter
from segzero_ros.backends.remote import RemoteReasoner
from segzero_ros.backends.remote.client import Server
from segzero_ros.backends.remote.events import EventStream
from segzero_ros.backends.remote.fallback import COOL_S, FallbackReasoner
from segzero_ros.backends.remote.http import HttpExchange, ServerFault, read_endpoint
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
    pieces,
    refusing,
    said,
    saying,
    sending,
    stalling,
)

PROFILE = get_profile("abstaining_v2")
FRAME = Frame(np.full((48, 64, 3), 90, np.uint8), 0)
MUG = Command("1", "the mug")
BOM = b"\xef\xbb\xbf"


def reasoner(server, *, stall_s=LIMIT_S, profile=PROFILE, **options):
    return RemoteReasoner(profile, Server(read_endpoint(server.url), "", stall_s=stall_s, back_off_s=0.01), **options)


def grounded(reasoner, profile=PROFILE):
    return Pipeline(profile, reasoner, FakeSegmenter()).ground(FRAME, MUG)


def chunked(*parts: bytes) -> list[bytes]:
    head = STREAM.replace(b"Connection: close", b"Transfer-Encoding: chunked")
    return [head, *(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)]


SAID, ENDED = said(ANSWER), finished()
BEHIND = {
    "choices that are null": event({"choices": None, "usage": {"completion_tokens": 7}}),
    "no choices": event({"object": "chat.completion.chunk"}),
    "choices of another kind": event({"choices": "none"}),
    "an empty event": b"data:\n\ndata: \n\n",
    "an empty object": event({}),
    "a number": event(7),
    "half an event": b'data: {"choices": [{"del',
    "no JSON": event(b"<bye>"),
    "an error": event({"error": {"message": "out of memory"}}),
    "more text": said(" And <answer>[]</answer>"),
    "a line without end": b"data: " + b"x" * (2 << 20),
}


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "not ended"])
@pytest.mark.parametrize("name", BEHIND)
def test_nothing_behind_an_answer_takes_it_back(name, ended):
    parts = [STREAM, SAID, *[ENDED] * ended, BEHIND[name]]
    with ScriptedServer(sending(*parts, DONE), sending(*parts), stalling(*parts)) as server:
        for _ in range(3):
            result = grounded(reasoner(server, stall_s=2.0))
            assert (result.code, result.text) == (Code.OK, ANSWER)


FREE = get_profile("qwen25vl_zero_shot")  # has no tag that says where its answer ends
ONE = '{"bbox_2d": [10, 20, 60, 80], "point_2d": [30, 40]}'


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("stop", Code.OK),
        ("eos_token", Code.OK),
        ("STOP", Code.OK),
        ("length", Code.ANSWER_TRUNCATED),
        ("abort", Code.ANSWER_TRUNCATED),
        ("content_filter", Code.ANSWER_TRUNCATED),
    ],
)
@pytest.mark.parametrize("notes", [{}, {"segzero": {"finish": "stop"}}], ids=["plain", "noted as whole"])
def test_a_server_that_stops_before_its_model_does_has_given_half_an_answer(reason, code, notes):
    ended = event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}], **notes})
    with ScriptedServer(sending(STREAM, said(ONE), ended, DONE)) as server:
        assert grounded(reasoner(server, profile=FREE), FREE).code is code


def test_of_several_choices_the_first_is_the_answer():
    def both(at, text):
        return {"index": at, "delta": {"content": text}, "finish_reason": None}

    apart = [event({"choices": [both(at, piece)]}) for piece in pieces(ANSWER) for at in (0, 1)]
    together = [event({"choices": [both(1, "no"), both(0, piece)]}) for piece in pieces(ANSWER)]
    for events in (apart, together):
        with ScriptedServer(sending(STREAM, *events, finished(), DONE)) as server:
            assert grounded(reasoner(server)).text == ANSWER


def test_an_error_is_one_without_its_wrapper_too():
    with ScriptedServer(sending(STREAM, event({"message": "out of memory", "code": 500}))) as server:
        result = grounded(reasoner(server))
    assert result.code is Code.SERVER_REFUSED and "out of memory" in result.detail


@pytest.mark.parametrize("name", ["choices that are null", "no choices", "an empty event", "an empty object"])
def test_signs_of_life_before_an_answer_are_no_fault(name):
    with ScriptedServer(sending(STREAM, BEHIND[name], SAID, BEHIND[name], ENDED, DONE)) as server:
        assert grounded(reasoner(server)).text == ANSWER


ENDINGS = {
    "no last blank line": sending(STREAM, SAID[:-1]),
    "no last line's end": sending(STREAM, SAID[:-2]),
    "no last blank line, and silence": stalling(STREAM, SAID[:-1]),
    "cut in a chunk": sending(*chunked(SAID), b"40\r\ndata:"),
    "a chunked stream without its end": sending(*chunked(SAID)),
    "a byte order mark": sending(STREAM, BOM + SAID, ENDED, DONE),
    "half a byte order mark at a time": sending(STREAM, BOM[:1], BOM[1:] + SAID, DONE),
    "lines that end in CR": sending(STREAM, *(part.replace(b"\n", b"\r") for part in (SAID, ENDED, DONE))),
    "a media type in capitals": sending(STREAM.replace(b"text/event-stream", b"TEXT/Event-Stream;charset=UTF-8"), SAID),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_an_answer_counts_however_its_stream_is_written_and_ends(name):
    with ScriptedServer(ENDINGS[name]) as server:
        result = grounded(reasoner(server, stall_s=1.0))
    assert (result.code, result.text) == (Code.OK, ANSWER)


def test_line_ends_of_any_kind_cut_anywhere_are_the_same_events():
    for end in (b"\n", b"\r\n", b"\r"):
        data = BOM + end.join([b"data: a", b"data: b", b"", b": c", b"data: d", b"", b""])
        for cut in range(len(data) + 1):
            stream = EventStream()
            events = stream.push(data[:cut]) + stream.push(b"") + stream.push(data[cut:]) + stream.rest()
            assert events == [b"a\nb", b"d"], (end, cut)


# ---- addresses, and what a thread raises ----


@pytest.mark.parametrize(
    "server",
    [
        "http://a b:1/v1",
        "http:// box/v1",
        "http://box\t:1",
        "http://bo\x00x/v1",
        "http://b\nox",
        "http://a..b/v1",
        "http://box:1/v 1",
        "http://b%20x/v1",
        "http://b<x/v1",
        f"http://{'a' * 64}/v1",
        "http://b\u2028x/v1",
        "http://box:0/v1",
        "http://[::1]x:8/v1",
        "http://[v1.box]:8/v1",
    ],
)
def test_a_host_that_nobody_can_look_up_is_refused_at_once(server):
    with pytest.raises(RejectedInput) as refusal:
        read_endpoint(server)
    assert refusal.value.code is Code.CONFIG_VALUE


def test_a_password_in_an_address_that_is_none_is_not_shown():
    with pytest.raises(RejectedInput) as refusal:
        read_endpoint("http://me:sesame@bo x/v1")
    assert "sesame" not in str(refusal.value)


@pytest.mark.parametrize("error", [RuntimeError("odd"), MemoryError(), SystemExit(3), KeyError("x")])
def test_whatever_the_thread_raises_is_heard_of(error, monkeypatch):
    def broken(*_args, **_options):
        raise error

    monkeypatch.setattr("http.client.HTTPConnection.connect", broken)
    with ScriptedServer(saying()) as server:
        result = grounded(FallbackReasoner(reasoner(server, model="mini"), FakeReasoner))
        assert result.code is Code.OK
        assert grounded(reasoner(server)).code is Code.SERVER_UNREACHABLE


# ---- an absolute end ----


def dripping(*pieces: bytes, first: bytes = b""):
    """These pieces again and again, one every 20 ms, until the client goes."""

    def script(request):
        request.send(first)
        gone = threading.Event()
        threading.Thread(target=lambda: (request.wait_for_the_client_to_go(), gone.set()), daemon=True).start()
        at = 0
        while not gone.wait(0.02):
            request.send(pieces[at % len(pieces)])
            at += 1

    return script


DRIPS = {
    "a list of models": dripping(b" ", first=b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"),
    "100 Continue": dripping(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a header": dripping(b"x", first=b"HTTP/1.1 200 OK\r\nX: "),
    "an error": dripping(b"no ", first=b"HTTP/1.1 500 No\r\n\r\n"),
    "chunks": dripping(b"1\r\n \r\n", first=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
}


@pytest.mark.parametrize("name", DRIPS)
def test_asking_for_the_models_has_an_end_whatever_drips(name):
    with ScriptedServer(saying(), models=DRIPS[name]) as server:
        begun = time.monotonic()
        with pytest.raises(ServerFault) as fault:
            reasoner(server, stall_s=0.3).probe()
        assert fault.value.code is Code.SERVER_STALLED
        assert time.monotonic() - begun < LIMIT_S / 2
        for thread in [one for one in threading.enumerate() if one.name == "segzero-http"]:
            thread.join(LIMIT_S)
            assert not thread.is_alive()


def test_a_probe_after_a_failure_has_an_end_whatever_drips():
    now = [0]
    with ScriptedServer(refusing(401)) as server:
        both = FallbackReasoner(reasoner(server), FakeReasoner, probe_s=0.2, now=lambda: now[0])
        assert grounded(both).code is Code.OK
        server.models = DRIPS["100 Continue"]
        now[0] += int(COOL_S * 1e9)
        assert grounded(both).code is Code.OK
        assert len(server.chats) == 1


@pytest.mark.parametrize("name", [name for name in DRIPS if name != "an error"])
def test_a_command_ends_at_its_deadline_whatever_drips(name, monkeypatch):
    monkeypatch.setattr("segzero_ros.backends.remote.stream_state.LATE_S", 0.1)
    with ScriptedServer(DRIPS[name]) as server:
        remote = reasoner(server)
        result = Pipeline(PROFILE, remote, FakeSegmenter()).ground(
            FRAME, MUG, deadline_ns=time.monotonic_ns() + int(3e8)
        )
    assert result.code in (Code.TIMEOUT, Code.SERVER_REFUSED)


def test_a_handshake_that_drips_ends_when_nobody_waits_for_it_any_more():
    record = b"\x16\x03\x03\x3f\xff"  # TLS: a long handshake message, of which a byte comes at a time

    def serve(connection):
        with contextlib.suppress(OSError):  # the client goes when it likes
            dripping(b"\x02", first=record)(Raw(connection))
        server.gone.release()

    with ScriptedServer(saying()) as server:
        server._serve = serve
        endpoint = read_endpoint(server.url.replace("http://", "https://"))
        exchange = HttpExchange(endpoint, "/models", None, "", connect_s=LIMIT_S, stall_s=LIMIT_S, total_s=0.3)
        with pytest.raises(ServerFault) as fault:
            list(iter(lambda: exchange.receive(0.02), b""))
        assert fault.value.code is Code.SERVER_UNREACHABLE
        exchange._thread.join(LIMIT_S)
        assert not exchange._thread.is_alive()


class Raw:
    """A connection of which nothing was read."""

    def __init__(self, connection) -> None:
        self.connection = connection

    def send(self, part: bytes) -> None:
        self.connection.sendall(part)

    def wait_for_the_client_to_go(self) -> None:
        while self.connection.recv(4096):
            pass
