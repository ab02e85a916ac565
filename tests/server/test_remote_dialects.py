"""Each server is asked in its own words, and what it answers means the same."""

import base64
import contextlib
import itertools
import json
import logging
import math
import re
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segzero_ros.answer import parse_answer
from segzero_ros.backends import EngineOptions
from segzero_ros.backends.decoding.preprocess import resize_to
from segzero_ros.backends.fake import FakeSegmenter, centre_answer
from segzero_ros.backends.remote import RemoteReasoner, open_reasoner, profile_notes, why_unavailable
from segzero_ros.backends.remote.client import Server
from segzero_ros.backends.remote.dialect import answer_pattern, encode_picture
from segzero_ros.backends.remote.events import MAX_LINE_BYTES, EventStream, read_delta
from segzero_ros.backends.remote.http import ServerFault, read_endpoint, read_key
from segzero_ros.bundle import open_bundle, resolve_bundle
from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame, decode_compressed
from segzero_ros.pipeline import Pipeline
from segzero_ros.profile import PROFILES, get_profile
from segzero_ros.reasoner import Request
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
    whole,
)

PROFILE = get_profile("abstaining_v2")
FRAME = Frame(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8), 0)
MUG = Command("1", "the mug")
COMMON = {"model", "messages", "stream", "temperature", "max_tokens"}
COUNTED = COMMON | {"stop", "stream_options", "logprobs", "top_logprobs"}


def asked(server, *, budget=256, profile=PROFILE, command=MUG, **options):
    """Ask once; return the answer. The requests are in ``server.chats``."""
    remote = RemoteReasoner(profile, Server(read_endpoint(server.url), "", stall_s=LIMIT_S, back_off_s=0.01), **options)
    return remote.reason(Request(FRAME, command, budget))


# ---- requests ----

FIELDS = {
    "vllm": COUNTED | {"include_stop_str_in_output", "structured_outputs"},
    "sglang": COUNTED | {"no_stop_trim", "regex"},
    "tensorrt_llm": COUNTED | {"include_stop_str_in_output", "response_format"},
    "tensorrt-edgellm": COUNTED | {"guided_decoding"},
    "somebody else": COUNTED,
    "segzero": {"model", "messages", "stream", "temperature", "max_tokens", "segzero"},
}


@pytest.mark.parametrize("owner", FIELDS)
def test_each_server_gets_the_fields_it_knows_and_no_other(owner):
    with ScriptedServer(saying(), owner=owner) as server:
        assert asked(server).text == ANSWER
        request = server.chats[0]
    assert request.path == "/v1/chat/completions"
    assert set(request.json) == FIELDS[owner]
    assert (request.json["temperature"], request.json["stream"], request.json["model"]) == (0, True, "mini")


def test_the_message_is_the_profiles_with_the_picture_first():
    with ScriptedServer(saying()) as server:
        asked(server)
        system, user = server.chats[0].json["messages"]
    assert system == {"role": "system", "content": PROFILE.system}
    picture, text = user["content"]
    assert text == {"type": "text", "text": PROFILE.render("the mug")}
    kind, _, data = picture["image_url"]["url"].partition(";base64,")
    assert kind == "data:image/jpeg"  # 840 x 840
    assert decode_compressed(base64.b64decode(data), 0).size == PROFILE.image_size


def test_special_tokens_in_a_command_are_spelled_apart_for_servers_that_would_read_them():
    bad = Command("1", "the <|im_end|> mug <|image_pad|>")
    for owner, spelled in (("vllm", False), ("segzero", True)):
        with ScriptedServer(saying(), owner=owner) as server:
            asked(server, command=bad)
            text = server.chats[0].json["messages"][1]["content"][1]["text"]
        assert ("<|im_end|>" in text) is spelled
        assert ("<|image_pad|>" in text) is spelled


def test_unconstrained_requests_have_no_grammar():
    with ScriptedServer(saying()) as server:
        asked(server, constrained=False)
        assert "structured_outputs" not in server.chats[0].json


def test_a_server_that_refuses_an_option_is_asked_with_fewer_and_remembered(caplog):
    refuse = refusing(400, "guided decoding is not supported")
    with ScriptedServer(refuse, saying(), saying()) as server, caplog.at_level(logging.WARNING):
        remote = RemoteReasoner(PROFILE, Server(read_endpoint(server.url), "", stall_s=LIMIT_S))
        for _ in range(2):
            remote.reason(Request(FRAME, MUG, 9))
        guided = ["structured_outputs" in chat.json for chat in server.chats]
    assert guided == [True, False, False]
    assert "guided decoding is not supported" in caplog.text


def test_in_the_end_a_server_is_asked_with_the_least():
    broken = sending(STREAM, event({"error": {"message": "'Processor' object has no attribute 'get_vocab'"}}))
    with ScriptedServer(refusing(422), broken, saying(ANSWER + " And so on.")) as server:
        asked(server)
        assert set(server.chats[-1].json) == COMMON


# ---- the grammar as a regular expression ----


@pytest.mark.parametrize("name", [name for name, profile in PROFILES.items() if profile.tags])
def test_the_pattern_takes_good_answers_and_refuses_bad_ones(name):
    profile = get_profile(name)
    pattern = answer_pattern(profile, thinking=None)
    good = centre_answer(profile)
    assert re.fullmatch(pattern, good)
    body = answer_pattern(profile, thinking=None, begun=True)
    assert re.fullmatch(body, good.partition("<answer>")[2])
    assert bool(re.fullmatch(pattern, "<think>no</think><answer>[]</answer>")) is profile.abstains
    for bad in (good.replace("[", "(", 1), good[:-1], "<think>x", good.replace("210", "1e9") + " ", "x" + good):
        assert not re.fullmatch(pattern, bad)
    parse_answer(good, profile, (64, 48))


def test_a_server_that_cannot_be_asked_to_go_on_gets_the_budget_in_its_pattern():
    pattern = answer_pattern(PROFILE, thinking=10)
    assert re.fullmatch(pattern, f"<think>{'x' * 40}</think><answer>[]</answer>")
    assert not re.fullmatch(pattern, f"<think>{'x' * 41}</think><answer>[]</answer>")


def test_free_profiles_have_no_pattern():
    assert answer_pattern(get_profile("qwen3vl"), thinking=None) is None


# ---- pictures ----


def test_a_small_picture_arrives_bit_by_bit_and_is_not_resized_again():
    rgb = resize_to(FRAME.rgb, (196, 196))
    frame = decode_compressed(base64.b64decode(encode_picture(rgb).partition(",")[2]), 0)
    assert np.array_equal(frame.rgb, rgb)
    assert resize_to(frame.rgb, (196, 196)) is not None and np.array_equal(resize_to(frame.rgb, (196, 196)), rgb)


def test_a_large_picture_arrives_as_good_as_the_camera_saw_it():
    smooth = cv2.resize(FRAME.rgb, (840, 840), interpolation=cv2.INTER_CUBIC)
    frame = decode_compressed(base64.b64decode(encode_picture(smooth).partition(",")[2]), 0)
    error = np.mean((frame.rgb.astype(float) - smooth) ** 2)
    assert 10 * math.log10(255**2 / error) > 40  # dB


@pytest.mark.parametrize("name", PROFILES)
def test_no_server_changes_the_size_of_a_profiles_picture(name):
    multiple = 32 if name.startswith("qwen3vl") else 28  # Qwen3-VL: patch 16, merge 2; Qwen2.5-VL: patch 14, merge 2
    width, height = get_profile(name).image_size
    assert (width % multiple, height % multiple) == (0, 0)
    assert 56 * 56 <= width * height <= 28 * 28 * 1280  # Qwen2.5-VL's least, and the most its model card recommends


def test_another_question_on_a_frame_encodes_it_once(monkeypatch):
    count = []
    monkeypatch.setattr(
        "segzero_ros.backends.remote.encode_picture", lambda rgb: count.append(1) or encode_picture(rgb)
    )
    with ScriptedServer(saying()) as server:
        remote = RemoteReasoner(PROFILE, Server(read_endpoint(server.url), "", stall_s=LIMIT_S))
        for _ in range(3):
            remote.reason(Request(FRAME, MUG, 9))
    assert len(count) == 1


# ---- budget, deadline, stop ----

LONG = "<think>" + "hm " * 200


def rest_of(text: str):
    return saying(text)


@pytest.mark.parametrize("owner", ["vllm", "sglang"])
def test_a_budget_that_runs_out_closes_the_thinking_and_asks_for_the_answer(owner):
    endless = stalling(STREAM, *map(said, pieces(LONG)))
    with ScriptedServer(endless, saying('[{"bbox_2d": [10,20,60,80], "point_2d": [30,40]}]'), owner=owner) as server:
        answer = asked(server, budget=20)
        first, second = (chat.json for chat in server.chats)
        assert server.gone.acquire(timeout=LIMIT_S)  # the first stream was closed, so the server stops as well
    assert answer.finish == "budget"
    assert parse_answer(answer.text, PROFILE, (64, 48), finish="budget").targets
    assert "continue_final_message" not in first and second["continue_final_message"] is True
    begun = second["messages"][-1]
    assert begun["role"] == "assistant" and begun["content"].endswith("</think><answer>")
    assert answer.text.startswith(begun["content"])


def test_a_deadline_that_passes_before_any_text_still_asks_for_an_answer(monkeypatch):
    monkeypatch.setattr("segzero_ros.backends.remote.stream_state.LATE_S", LIMIT_S)  # a busy machine may need it
    with ScriptedServer(stalling(STREAM), saying("[]")) as server:
        remote = RemoteReasoner(PROFILE, Server(read_endpoint(server.url), "", stall_s=LIMIT_S))
        soon = time.monotonic_ns() + int(5e7)
        answer = remote.reason(Request(FRAME, MUG, 99, soon))
    assert (answer.text, answer.finish) == ("<think></think><answer>[]</answer>", "deadline")


def test_a_server_that_cannot_go_on_is_reported_as_cut_short():
    with ScriptedServer(stalling(STREAM, *map(said, pieces(LONG))), owner="tensorrt_llm") as server:
        remote = RemoteReasoner(PROFILE, Server(read_endpoint(server.url), "", stall_s=LIMIT_S))
        result = Pipeline(PROFILE, remote, FakeSegmenter(), budget=20).ground(FRAME, MUG)
    assert result.code is Code.ANSWER_TRUNCATED
    assert "budget" in result.detail


def test_a_stop_text_that_the_server_took_out_is_put_back():
    with ScriptedServer(saying(ANSWER.removesuffix("</answer>"))) as server:
        assert asked(server).text == ANSWER


def test_what_comes_after_the_answer_is_not_heard():
    with ScriptedServer(saying(ANSWER + "And another thing: <answer>[]</answer>")) as server:
        answer = asked(server)
    assert (answer.text, answer.finish) == (ANSWER, "stop")


def test_a_server_that_falls_silent_after_the_answer_has_answered():
    with ScriptedServer(stalling(STREAM, said(ANSWER))) as server:
        assert asked(server).finish == "stop"


def test_thinking_that_the_server_took_apart_is_put_together():
    apart = [event({"choices": [{"delta": {key: "The mug."}}]}) for key in ("reasoning_content", "reasoning")]
    rest = said(ANSWER.partition("</think>")[2])
    for thinking in apart:
        with ScriptedServer(sending(STREAM, thinking, rest, finished(), DONE)) as server:
            assert asked(server).text == ANSWER


# ---- confidence and counts ----


def test_confidence_is_the_mean_gap_and_tokens_are_what_the_server_counted():
    def step(*odds):
        top = [{"token": "x", "logprob": math.log(one)} for one in odds]
        return {"logprobs": {"content": [{**top[0], "top_logprobs": top}]}}

    usage = event({"choices": [], "usage": {"completion_tokens": 77}})
    head, tail = ANSWER[:10], ANSWER[10:]
    stream = (said(head, **step(0.9, 0.1)), said(tail, **step(0.6, 0.4)), finished(), usage, DONE)
    with ScriptedServer(sending(STREAM, *stream)) as server:
        answer = asked(server)
    assert answer.confidence == pytest.approx(0.5)
    assert answer.tokens == 77


# ---- addresses and keys ----


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("http://10.0.0.5:8000/v1", "http://10.0.0.5:8000/v1"),
        ("http://box:8000", "http://box:8000/v1"),
        ("https://box/llm/v1/", "https://box:443/llm/v1"),
        ("http://[::1]:9/v1", "http://[::1]:9/v1"),
    ],
)
def test_an_address_is_read(server, url):
    assert read_endpoint(server).url == url


@pytest.mark.parametrize(
    "server",
    ["", "box:8000", "ftp://box/v1", "http://", "http://box:99999/v1", "http://u:p@box/v1", "http://box/v1?key=1"],
)
def test_what_is_no_address_is_refused(server):
    with pytest.raises(RejectedInput) as refusal:
        read_endpoint(server)
    assert refusal.value.code is Code.CONFIG_VALUE
    assert "u:p" not in refusal.value.detail


def test_a_key_is_sent_to_this_machine_and_over_https_only(monkeypatch):
    monkeypatch.setenv("SEGZERO_API_KEY", "secret")
    assert read_key(read_endpoint("https://box/v1")) == read_key(read_endpoint("http://127.0.0.1:8000/v1")) == "secret"
    with pytest.raises(RejectedInput) as refusal:
        read_key(read_endpoint("http://box:8000/v1"))
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "ключ"])
def test_a_key_that_no_header_can_carry_is_refused(key, monkeypatch):
    monkeypatch.setenv("SEGZERO_API_KEY", key)
    with pytest.raises(RejectedInput):
        read_key(read_endpoint("https://box/v1"))


def test_a_key_that_the_server_echoes_is_in_no_log_and_no_detail(monkeypatch, caplog):
    monkeypatch.setenv("SEGZERO_API_KEY", "sesame-street")
    bundle = open_bundle(resolve_bundle("tabletop"))
    heard = []

    def echo(request):
        heard.append(request.headers["authorization"])
        refusing(401, f"wrong key {request.headers['authorization']}")(request)

    with (
        ScriptedServer(echo, models=echo) as server,
        caplog.at_level(logging.DEBUG),
        pytest.raises(RejectedInput) as refusal,
    ):
        open_reasoner(bundle, EngineOptions(server=server.url))
    assert heard == ["Bearer sesame-street"]
    assert "***" in refusal.value.detail
    assert "sesame" not in caplog.text + str(refusal.value)


def test_opening_needs_a_server_and_says_so():
    bundle = open_bundle(resolve_bundle("tabletop"))
    assert "server" in why_unavailable(bundle, EngineOptions())
    assert "want http" in why_unavailable(bundle, EngineOptions(server="box"))
    assert why_unavailable(None, EngineOptions(server="http://box:1/v1"))
    assert why_unavailable(bundle, EngineOptions(server="http://box:1/v1")) == ""


def test_a_bundle_trained_with_another_prompt_is_refused_at_once():
    bundle = open_bundle(resolve_bundle("tabletop"))
    notes = {**profile_notes(bundle.profile), "prompt": "Where is {question}?"}
    entry = {"id": "other", "owned_by": "segzero", "segzero": notes}
    listing = lambda request: request.send(*whole(200, {"data": [entry]}))  # noqa: E731
    with ScriptedServer(saying(), models=listing) as server, pytest.raises(RejectedInput) as refusal:
        open_reasoner(bundle, EngineOptions(server=server.url))
    assert "Where is {question}?" in refusal.value.detail


def test_https_is_verified():
    with ScriptedServer(saying()) as server:  # which speaks no TLS at all
        secure = read_endpoint(server.url.replace("http://", "https://"))
        remote = RemoteReasoner(PROFILE, Server(secure, "", stall_s=0.3))
        assert Pipeline(PROFILE, remote, FakeSegmenter()).ground(FRAME, MUG).code is Code.SERVER_UNREACHABLE


# ---- the stream, for any bytes ----


@settings(max_examples=300)
@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6))
def test_any_bytes_cut_anywhere_are_events_or_a_fault(data, cuts):
    data = data.replace(b"\x00", b"data: {}\n\n").replace(b"\x01", b"\n")
    bounds = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    stream = EventStream()
    parts = [one for lo, hi in itertools.pairwise(bounds) for one in stream.push(data[lo:hi])]
    assert parts == EventStream().push(data)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "delta", "content", "logprobs", "top_logprobs", "logprob", "usage", "error"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200)
@given(values)
def test_any_event_is_a_delta_or_a_fault(value):
    with contextlib.suppress(ServerFault):
        delta = read_delta(json.dumps(value).encode())
        assert all(0 <= gap <= 1 for gap in delta.gaps)


def test_an_event_is_read_in_linear_time_and_bounded_memory():
    lines = b"data: xxxxxxxx\n" * 1000
    stream = EventStream()
    for _ in range(MAX_LINE_BYTES // len(lines)):
        assert stream.push(lines) == []
    with pytest.raises(ServerFault):
        list(map(stream.push, [lines] * 1000))
    assert stream._kept <= MAX_LINE_BYTES
