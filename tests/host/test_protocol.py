"""Whatever bytes come, in whatever pieces, end in messages or ``ProtocolError``; what is sent is what arrives."""

import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segzero_ros.errors import Code
from segzero_ros.host.messages import (
    KINDS,
    Answered,
    Ask,
    Ground,
    Hello,
    Message,
    Ping,
    Prompt,
    ProtocolError,
    Refused,
    Result,
    Text,
)
from segzero_ros.host.protocol import LENGTH_BYTES, MAX_MESSAGE_BYTES, Reader, decode, encode

GROUND = Ground(1, 2, "id", "the mug", 256, "", 30_000.0)
INSTANCE = ["the mug", 0.9, 1.0, 2.0, 30.5, 40.0, 10.0, 20.0, 1]
ASK = Ask(1, 2, "robot", "10.0.0.2", "id", "Find the mug.", 256, None, ["</answer>"], 30_000.0)
PROMPT = Prompt(1, 2, "id", "the mug", [[1.0, 2.0, 30.5, 40.0, [10.0, 20.0], [3.0, 4.0, 5.0, 6.0]]], None)
ANSWERED = Answered(1, 66, 0.93, {"vision": 8.0, "decode": 7.5}, "stop", 30)
REFUSED = Refused(1, "queue", int(Code.BUSY), "16 questions wait already; ask later")
RESULT = Result(1, 0, "", "thinks", "<answer>[]</answer>", [INSTANCE], 1, 0.0, 1.0, 2.0, 3.0, 4.0, 66, "")


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


SAID = [GROUND, RESULT, ASK, PROMPT, ANSWERED, REFUSED, Hello(1, "0.2.0", "n"), Ping(0)]


@pytest.mark.parametrize("message", [*SAID, Text(3, "ü 🍵\n")])
def test_what_is_sent_is_what_arrives(message: Message) -> None:
    assert Reader().feed(encode(message)) == [message]


@given(st.lists(st.sampled_from([GROUND, RESULT, Ping(5)]), max_size=6), st.integers(1, 50))
def test_messages_arrive_in_whatever_pieces_they_come(messages: list[Message], size: int) -> None:
    stream, reader, found = b"".join(map(encode, messages)), Reader(), []
    for start in range(0, len(stream), size):
        found += reader.feed(stream[start : start + size])
    assert found == messages


@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_any_bytes_are_messages_or_a_protocol_error(data: bytes) -> None:
    for stream in (data, framed(data)):
        try:
            assert all(type(message) in KINDS.values() for message in Reader().feed(stream))
        except ProtocolError:
            pass


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("\ud83d"),
    lambda inner: st.lists(inner, max_size=10) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=1000)
@given(st.sampled_from(SAID), st.data())
def test_a_message_with_any_other_values_is_read_as_its_class_or_refused(message: Message, data: st.DataObject) -> None:
    values = json.loads(encode(message)[LENGTH_BYTES:])
    for name in data.draw(st.lists(st.sampled_from(sorted(values)), max_size=3)):
        values[name] = data.draw(JSON)
    for name in data.draw(st.lists(st.sampled_from(sorted(values)), max_size=1)):
        del values[name]
    try:
        read = decode(json.dumps(values).encode())
    except ProtocolError:
        return
    assert type(read).__name__ == values["kind"]
    assert decode(encode(read)[LENGTH_BYTES:]) == read  # what was taken can be said on


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "Ping"}, "other fields"),
        ({"kind": "Ping", "number": 1, "more": 2}, "other fields"),
        ({"kind": "Ping", "number": -1}, "whole number"),
        ({"kind": "Ping", "number": True}, "whole number"),
        ({"kind": "Ping", "number": 10**400}, "whole number"),
        ({"kind": "Pung", "number": 1}, "unknown kind"),
        ({"kind": ["Ping"], "number": 1}, "unknown kind"),
        ({"kind": "Text", "id": 1, "text": "\ud83d"}, "Text with"),
        (
            {"kind": "Prompt", "id": 1, "picture": 1, "command_id": "", "text": "", "timeout_ms": None, "targets": []},
            "1 to 64",
        ),
        ({"kind": "Looked", "id": 1, "detail": "x" * (1 << 21)}, "at most"),
    ],
)
def test_a_wrong_message_is_refused_in_words(values: dict[str, object], words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        decode(json.dumps(values).encode())


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"[" * 100_000, b"\xff", b'{"kind":"Ping","number":NaN}'])
def test_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        Reader().feed(framed(body))


def test_a_length_beyond_the_limit_is_refused_before_its_bytes_come() -> None:
    with pytest.raises(ProtocolError, match="want at most"):
        Reader().feed(struct.pack(">I", MAX_MESSAGE_BYTES + 1))


def test_numbers_that_are_none_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode(Ground(1, 2, "id", "x", 1, "", float("nan")))
