"""Every JSON value is a question or a refusal that says why; every text goes out but the stop."""

import base64
import contextlib
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segzero_ros.compressed import decoder
from segzero_ros.server.chat_request import MAX_QUESTION_CHARS, Refusal, read_chat_request
from segzero_ros.server.pictures import KEPT, Pictures
from segzero_ros.server.replies import StopText

SYSTEM = "Think."


def png(side: int = 8, value: int = 0) -> bytes:
    return cv2.imencode(".png", np.full((side, side, 3), value, np.uint8))[1].tobytes()


def picture_part(data: bytes | None = None) -> dict:
    url = "data:image/png;base64," + base64.b64encode(png() if data is None else data).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def body(**changes) -> dict:
    user = {"role": "user", "content": [picture_part(), {"type": "text", "text": "Find the mug."}]}
    return {"model": "mini", "messages": [{"role": "system", "content": SYSTEM}, user], **changes}


def read(value):
    return read_chat_request(value, model="mini", system=SYSTEM)


def test_a_question_is_the_rendered_message_and_the_picture():
    question = read(body(stream=True, max_tokens=9, stop="x", segzero={"budget": 3, "deadline_s": 1, "client": "r2"}))
    assert (question.text, question.picture) == ("Find the mug.", png())
    assert (question.stream, question.max_tokens, question.stops) == (True, 9, ("x",))
    assert (question.budget, question.deadline_s, question.client) == (3, 1.0, "r2")


def with_parts(*parts):
    return body(messages=[{"role": "user", "content": list(parts)}])


TEXT = {"type": "text", "text": "Find the mug."}
BAD = {
    "no object": [1],
    "no messages": {},
    "another model": body(model="gpt"),
    "another system message": body(messages=[{"role": "system", "content": "Be brief."}, body()["messages"][1]]),
    "several turns": body(messages=[*body()["messages"], {"role": "assistant", "content": "x"}]),
    "no picture": with_parts(TEXT),
    "two pictures": with_parts(picture_part(), picture_part(), TEXT),
    "no text": with_parts(picture_part()),
    "too much text": with_parts(picture_part(), {"type": "text", "text": "x" * (MAX_QUESTION_CHARS + 1)}),
    "an address on the network": with_parts({"type": "image_url", "image_url": {"url": "http://box/x.png"}}, TEXT),
    "a file": with_parts({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, TEXT),
    "no base64": with_parts({"type": "image_url", "image_url": {"url": "data:image/png;base64,***"}}, TEXT),
    "a url that is a number": with_parts({"type": "image_url", "image_url": {"url": 5}}, TEXT),
    "sampling": body(temperature=0.7),
    "several answers": body(n=2),
    "logprobs": body(logprobs=True),
    "a grammar of its own": body(response_format={"type": "json_object"}),
    "an unknown field": body(strem=True),
    "a stream that is a word": body(stream="yes"),
    "no tokens": body(max_tokens=0),
    "tokens that are no number": body(max_tokens="9"),
    "a stop that is empty": body(stop=[""]),
    "a stop of a control character": body(stop="\0"),
    "a stop of half a character": body(stop=["end", "\ud83d"]),
    "too many stops": body(stop=list("abcde")),
    "a deadline that is no number": body(segzero={"deadline_s": math.nan}),
    "a negative budget": body(segzero={"budget": -1}),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_question_is_refused_in_a_sentence(name):
    with pytest.raises(Refusal) as refusal:
        read(BAD[name])
    assert refusal.value.status == (404 if name == "another model" else 400)
    assert 10 < len(refusal.value.detail) < 400


def test_an_unknown_field_is_told_its_nearest_name():
    with pytest.raises(Refusal, match="did you mean 'stream'"):
        read(body(strem=True))


def test_what_means_nothing_here_is_passed_over():
    read(body(seed=1, user="me", temperature=0.0, top_p=1.0, n=1, logprobs=False, response_format={"type": "text"}))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("user"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "image_url", "url"]), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=300)
@given(st.sampled_from([*body(), "stream", "stream_options", "max_tokens", "stop", "segzero", "temperature"]), anything)
def test_any_value_anywhere_is_a_question_or_a_refusal(field, value):
    with contextlib.suppress(Refusal):
        read(body(**{field: value}))
    with contextlib.suppress(Refusal):
        read(body(messages=[{"role": "user", "content": value}]))
    with contextlib.suppress(Refusal):
        read(value)


# ---- pictures ----


def test_the_same_bytes_are_the_same_frame_and_few_are_kept():
    pictures = Pictures()
    first = pictures.frame(png(value=0))
    assert pictures.frame(png(value=0)) is first
    for value in range(1, KEPT + 1):
        pictures.frame(png(value=value))
    assert pictures.frame(png(value=0)) is not first


def test_a_picture_above_the_limit_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(decoder, "_decode_as", lambda *_: pytest.fail("decoded"))
    with pytest.raises(Refusal) as refused:
        Pictures().frame(png(side=2049))
    assert refused.value.status == 413
    assert "2049 x 2049" in refused.value.detail


@pytest.mark.parametrize(("data", "status"), [(b"", 400), (b"GIF89a", 400), (png()[:40], 400), (png(side=2100), 413)])
def test_what_is_no_picture_or_too_large_is_refused(data, status):
    with pytest.raises(Refusal) as refusal:
        Pictures().frame(data)
    assert refusal.value.status == status


# ---- stop ----


@given(st.text("ab<>", max_size=40), st.lists(st.text("ab<>", min_size=1, max_size=3), max_size=3), st.integers(1, 5))
def test_text_goes_out_up_to_the_first_stop_however_it_is_cut(text, stops, length):
    stop = StopText(tuple(stops))
    out = "".join(stop.push(text[at : at + length]) for at in range(0, len(text), length)) + stop.rest()
    ends = [text.find(one) for one in stops if one in text]
    assert stop.stopped is bool(ends)
    if not ends:
        assert out == text
    else:  # cut in pieces, a longer stop that begins earlier may still be incomplete when a shorter one is found
        assert text.startswith(out)
        assert not any(one in out for one in stops)
