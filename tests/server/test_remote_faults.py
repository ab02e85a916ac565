"""Whatever a server does, a command ends with a clear code, nothing hangs, and the next command works."""

import threading
import time

import numpy as np
import pytest

from segzero_ros.backends.fake import FakeReasoner, FakeSegmenter, centre_answer
from segzero_ros.backends.remote import RemoteReasoner
from segzero_ros.backends.remote.client import Server
from segzero_ros.backends.remote.fallback import COOL_S, LOST, Breaker, FallbackReasoner
from segzero_ros.backends.remote.http import MAX_RESPONSE_BYTES, read_endpoint
from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Pipeline
from segzero_ros.profile import get_profile
from segzero_ros.reasoner import Request
from segzero_ros.worker import Job, Worker
from tests.server.scripted_server import (
    ANSWER,
    DONE,
    LIMIT_S,
    STREAM,
    ScriptedServer,
    event,
    finished,
    model_list,
    refusing,
    said,
    saying,
    sending,
    stalling,
    whole,
)

PROFILE = get_profile("abstaining_v2")
STALL_S = 0.3
FRAME = Frame(np.full((48, 64, 3), 90, np.uint8), 0)
MUG = Command("1", "the mug")


def reasoner(server: ScriptedServer, **options) -> RemoteReasoner:
    return RemoteReasoner(PROFILE, Server(read_endpoint(server.url), "", stall_s=STALL_S, back_off_s=0.01), **options)


def grounded(reasoner, **options):
    return Pipeline(PROFILE, reasoner, FakeSegmenter()).ground(FRAME, MUG, **options)


def test_a_well_behaved_server_is_believed():
    with ScriptedServer(saying()) as server:
        result = grounded(reasoner(server))
    assert (result.code, result.text, result.reasoning) == (Code.OK, ANSWER, "The mug.")


FAULTS = {
    "cut off before the first byte": (sending(b""), Code.SERVER_UNREACHABLE),
    "cut off in the headers": (sending(b"HTTP/1.1 200 OK\r\nContent-Ty"), Code.SERVER_UNREACHABLE),
    "cut off before any text": (sending(STREAM), Code.SERVER_UNREACHABLE),
    "cut off while thinking": (sending(STREAM, said("<think>The ")), Code.SERVER_UNREACHABLE),
    "cut off in the answer": (sending(STREAM, said('<think>x</think><answer>[{"bb')), Code.SERVER_UNREACHABLE),
    "cut off in an event": (sending(STREAM, said("<think>The mug")[:-9]), Code.SERVER_UNREACHABLE),
    "cut off in a chunk": (
        sending(STREAM[:-2] + b"Transfer-Encoding: chunked\r\n\r\n", b"ff\r\n" + said("x")),
        Code.SERVER_UNREACHABLE,
    ),
    "silent from the start": (stalling(), Code.SERVER_STALLED),
    "silent after the headers": (stalling(STREAM), Code.SERVER_STALLED),
    "silent while thinking": (stalling(STREAM, said("<think>The ")), Code.SERVER_STALLED),
    "silent in an event": (stalling(STREAM, said("<think>The ")[:-5]), Code.SERVER_STALLED),
    "no HTTP": (sending(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), Code.SERVER_REFUSED),
    "a web page": (
        sending(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"),
        Code.SERVER_REFUSED,
    ),
    "no stream": (lambda request: request.send(*whole(200, {"choices": []})), Code.SERVER_REFUSED),
    "events that are no JSON": (sending(STREAM, event(b"{nonsense"), DONE), Code.SERVER_REFUSED),
    "events nested 100,000 deep": (sending(STREAM, event(b"[" * 100_000), DONE), Code.SERVER_REFUSED),
    "events of another kind": (sending(STREAM, event([1, 2]), DONE), Code.SERVER_REFUSED),
    "an error in the stream": (
        sending(STREAM, said("<think>"), event({"error": {"message": "out of memory"}}), DONE),
        Code.SERVER_REFUSED,
    ),
    "a line without end": (sending(STREAM, b"data: " + b"x" * (2 << 20)), Code.SERVER_REFUSED),
    "a header without end": (sending(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000), Code.SERVER_REFUSED),
    "comments without end": (sending(STREAM, *[b": comment" * 10_000 + b"\n"] * 200), Code.SERVER_REFUSED),
    "text without end": (sending(STREAM, *[said("m" * 60_000)] * 5, DONE), Code.SERVER_REFUSED),
    "an unknown key": (refusing(401, "invalid key"), Code.SERVER_REFUSED),
    "an unknown model": (refusing(404, "no such model"), Code.SERVER_REFUSED),
    "a redirect": (refusing(307, "there", "Location: http://127.0.0.1:1/v1"), Code.SERVER_REFUSED),
    "a request it does not take": (refusing(422, "context too long"), Code.SERVER_REFUSED),
    "too many requests, for ever": (refusing(429, "busy"), Code.SERVER_REFUSED),
    "a broken engine, for ever": (refusing(500, "engine dead"), Code.SERVER_REFUSED),
    "an error page without end": (
        sending(b"HTTP/1.1 400 Bad\r\n\r\n", *[b"x" * (1 << 16)] * 40),
        Code.SERVER_REFUSED,
    ),
    "no answer in what it says": (saying("I cannot see a mug."), Code.ANSWER_UNREADABLE),
    "an answer without end": (saying('<think>x</think><answer>[{"bbox_2d": [1', "length"), Code.ANSWER_TRUNCATED),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_has_its_code_and_the_next_command_works(name):
    script, code = FAULTS[name]
    with ScriptedServer(script) as server:
        remote = reasoner(server)
        result = grounded(remote)
        assert (result.code, bool(result.detail)) == (code, True)
        assert len(result.detail) < 800
        server.scripts = [saying()]
        assert grounded(remote).code is Code.OK


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_of_the_server_is_answered_by_the_local_bundle(name):
    script, code = FAULTS[name]
    with ScriptedServer(script) as server:
        heard: list[str] = []
        both = FallbackReasoner(reasoner(server), lambda: FakeReasoner(centre_answer(PROFILE)))
        result = grounded(both, on_text=heard.append)
    if code in (Code.ANSWER_UNREADABLE, Code.ANSWER_TRUNCATED):
        assert result.code is code  # the server did its part; its model did not
    else:
        assert (result.code, result.text) == (Code.OK, "".join(heard))


def test_cut_at_any_byte_an_answer_is_the_whole_one_or_a_clear_code():
    text = "<think>x</think><answer>[]</answer>"
    stream = b"".join([STREAM, said(text[:9]), said(text[9:]), finished(), DONE])
    cuts = range(len(stream))
    codes = []
    with ScriptedServer(*[sending(stream[:cut]) for cut in cuts]) as server:
        remote = RemoteReasoner(
            PROFILE, Server(read_endpoint(server.url), "", stall_s=LIMIT_S, retries=0), model="mini"
        )
        for _ in cuts:
            heard: list[str] = []
            result = grounded(remote, on_text=heard.append)
            assert text.startswith("".join(heard))
            codes.append(result.code)
    complete = codes.index(Code.NO_TARGET)
    status = len(b"HTTP/1.1 200")
    assert set(codes[1:status]) == {Code.SERVER_REFUSED}  # half a status is no HTTP
    assert {codes[0], *codes[status:complete]} == {Code.SERVER_UNREACHABLE}
    assert set(codes[complete:]) == {Code.NO_TARGET}


def test_a_server_that_is_not_there_is_unreachable():
    with ScriptedServer(saying()) as server:
        remote = reasoner(server)
    result = grounded(remote)
    assert result.code is Code.SERVER_UNREACHABLE
    assert server.url in result.detail


def test_what_fails_before_the_first_word_is_tried_again():
    scripts = refusing(503, "loading"), refusing(429, "busy", "Retry-After: 0"), sending(b""), saying()
    with ScriptedServer(*scripts) as server:
        assert grounded(reasoner(server)).code is Code.OK
        assert len(server.chats) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
def test_what_a_second_try_cannot_mend_is_not_tried_again(status):
    with ScriptedServer(refusing(status)) as server:
        grounded(reasoner(server, constrained=False))
        assert len(server.chats) <= 2 + (status == 400)


def test_nothing_is_tried_again_once_text_has_come():
    with ScriptedServer(sending(STREAM, said("<think>The "))) as server:
        assert grounded(reasoner(server)).code is Code.SERVER_UNREACHABLE
        assert len(server.chats) == 1


def test_words_said_before_the_cut_stay_and_the_local_answer_follows():
    with ScriptedServer(sending(STREAM, said("<think>The red "))) as server:
        both = FallbackReasoner(reasoner(server), lambda: FakeReasoner(ANSWER))
        answer = both.reason(Request(FRAME, MUG, 99))
    assert answer.text == "<think>The red " + LOST + ANSWER
    assert answer.timings_ms["server"] > 0


def test_a_cancel_closes_the_connection_while_the_server_is_silent():
    cancel = threading.Event()
    with ScriptedServer(stalling(STREAM, said("<think>hm"))) as server:
        remote = RemoteReasoner(PROFILE, Server(read_endpoint(server.url), "", stall_s=LIMIT_S))
        result = grounded(remote, on_text=lambda _: cancel.set(), cancelled=cancel.is_set)
        assert result.code is Code.CANCELLED
        assert server.gone.acquire(timeout=LIMIT_S)


def test_a_cancel_ends_the_wait_between_two_tries():
    cancel = threading.Event()

    def busy(request):
        cancel.set()
        refusing(503, "busy", "Retry-After: 9999")(request)

    with ScriptedServer(busy) as server:
        assert grounded(reasoner(server), cancelled=cancel.is_set).code is Code.CANCELLED
        assert len(server.chats) == 1


def test_the_worker_preempts_a_command_at_a_silent_server():
    ends, came = [], threading.Semaphore(0)

    def done(job):
        ends.append(job.result.code)
        came.release()

    with ScriptedServer(stalling(STREAM, said("<think>hm")), saying()) as server:
        remote = RemoteReasoner(PROFILE, Server(read_endpoint(server.url), "", stall_s=LIMIT_S))
        worker = Worker(Pipeline(PROFILE, remote, FakeSegmenter()))
        hummed = threading.Event()
        worker.submit(Job(MUG, FRAME, on_done=done, on_progress=lambda job: job.pieces and hummed.set()))
        assert hummed.wait(LIMIT_S)
        worker.submit(Job(Command("2", "the cup"), FRAME, on_done=done))
        assert came.acquire(timeout=LIMIT_S) and came.acquire(timeout=LIMIT_S)
        assert ends == [Code.PREEMPTED, Code.OK]
        assert worker.stop(LIMIT_S)


def test_a_deadline_that_passes_at_a_silent_server_is_a_timeout():
    with ScriptedServer(stalling(STREAM)) as server:
        remote = RemoteReasoner(PROFILE, Server(read_endpoint(server.url), "", stall_s=LIMIT_S))
        assert grounded(remote, deadline_ns=time.monotonic_ns() + int(1e8)).code is Code.TIMEOUT


def test_half_of_the_time_is_left_to_the_local_bundle():
    with ScriptedServer(stalling(STREAM)) as server:
        remote = RemoteReasoner(PROFILE, Server(read_endpoint(server.url), "", stall_s=LIMIT_S), spare=True)
        deadline_ns = time.monotonic_ns() + int(1e9)
        result = grounded(FallbackReasoner(remote, lambda: FakeReasoner(ANSWER)), deadline_ns=deadline_ns)
    assert (result.code, result.text) == (Code.OK, ANSWER)


# ---- models ----


@pytest.mark.parametrize(
    ("models", "wanted", "told"),
    [
        (("mini", "maxi"), "", "mini"),
        (("mini",), "minni", "did you mean 'mini'"),
        (("mini",), "gpt", "known: mini"),
    ],
)
def test_a_wrong_model_is_named_together_with_the_right_ones(models, wanted, told):
    listing = lambda request: request.send(*whole(200, model_list("vllm", *models)))  # noqa: E731
    with ScriptedServer(saying(), models=listing) as server:
        result = grounded(reasoner(server, model=wanted))
    assert result.code is Code.SERVER_REFUSED
    assert told in result.detail


@pytest.mark.parametrize("content", [b"", b"{}", b'{"data": [1]}', b'{"data": [{}]}', b"[" * 50_000, b"<html>"])
def test_a_list_of_models_that_is_none_is_refused(content):
    with ScriptedServer(saying(), models=lambda request: request.send(*whole(200, content))) as server:
        assert grounded(reasoner(server)).code is Code.SERVER_REFUSED


@pytest.mark.parametrize(
    "listing", [refusing(404), refusing(500), lambda request: request.send(*whole(200, {"data": []}))]
)
def test_a_server_without_a_list_is_asked_for_the_model_one_names(listing):
    with ScriptedServer(saying(), models=listing) as server:
        assert grounded(reasoner(server, model="mini")).code is Code.OK
        assert server.chats[0].json["model"] == "mini"
        assert grounded(reasoner(server)).code is Code.SERVER_REFUSED


def test_a_server_that_came_back_with_another_model_is_asked_again_what_it_has():
    with ScriptedServer(refusing(404, "no such model"), saying()) as server:
        remote = reasoner(server)
        assert grounded(remote).code is Code.SERVER_REFUSED
        server.models = lambda request: request.send(*whole(200, model_list("vllm", "other")))
        assert grounded(remote).code is Code.OK
        assert server.chats[-1].json["model"] == "other"


# ---- the breaker ----


def test_a_dead_server_is_left_alone_for_longer_and_longer_until_it_answers_a_probe():
    now = [0]
    with ScriptedServer(refusing(401)) as server:
        both = FallbackReasoner(reasoner(server), FakeReasoner, now=lambda: now[0])
        for _ in range(5):
            assert grounded(both).code is Code.OK
        assert len(server.chats) == 1
        assert "401" in Pipeline(PROFILE, both, FakeSegmenter()).degraded_reason
        now[0] += int(COOL_S * 1e9)
        server.scripts = [saying()]
        assert grounded(both).text == ANSWER
        assert len(server.chats) == 2
        assert both.degraded_reason == ""


def test_a_probe_that_fails_costs_no_command():
    now = [0]
    with ScriptedServer(refusing(401)) as server:
        both = FallbackReasoner(reasoner(server), FakeReasoner, now=lambda: now[0])
        grounded(both)
    now[0] += int(COOL_S * 1e9)
    assert grounded(both).code is Code.OK
    assert len(server.chats) == 1


def test_the_breaker_opens_for_twice_as_long_each_time_up_to_a_minute():
    now = [0]
    breaker, waits = Breaker(lambda: now[0]), []
    for _ in range(6):
        breaker.failed()
        waits.append(breaker.left_s)
        now[0] += int(breaker.left_s * 1e9)
        assert breaker.left_s == 0
    assert waits == [5, 10, 20, 40, 60, 60]
    breaker.succeeded()
    breaker.failed()
    assert breaker.left_s == 5


def test_when_neither_can_answer_both_are_named():
    def broken():
        raise RejectedInput(Code.BUNDLE_BACKEND, "no engine here")

    with ScriptedServer(refusing(401, "bad key")) as server:
        result = grounded(FallbackReasoner(reasoner(server), broken))
    assert result.code is Code.SERVER_REFUSED
    assert "bad key" in result.detail and "no engine here" in result.detail


def test_what_one_server_may_send_is_limited():
    assert MAX_RESPONSE_BYTES <= 1 << 24


def test_an_answer_in_one_event_in_single_bytes_and_with_comments_is_the_same():
    plain = b"".join([STREAM, b": hello\r\n\r\n", said(ANSWER), finished(), DONE])
    with ScriptedServer(
        sending(plain), lambda request: request.send(*[plain[i : i + 1] for i in range(len(plain))])
    ) as s:
        remote = reasoner(s)
        assert grounded(remote).text == grounded(remote).text == ANSWER
