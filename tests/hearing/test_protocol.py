"""Between owner and process: whatever bytes come end in frames or ProtocolError; events travel whole."""

import numpy as np
import pytest

from segzero_ros.hearing.events import Event, from_json, to_json
from segzero_ros.hearing.process.protocol import AUDIO, EVENT, HEAD_BYTES, MOST_BYTES, ProtocolError, Reader, encode


@pytest.mark.parametrize("seed", range(50))
def test_frames_come_whole_in_whatever_pieces(seed):
    rng = np.random.default_rng(seed)
    print("seed", seed)
    sent = [(AUDIO, rng.bytes(int(rng.integers(0, 5000)))) for _ in range(10)]
    stream = b"".join(encode(*frame) for frame in sent)
    reader, got, at = Reader(), [], 0
    while at < len(stream):
        size = int(rng.integers(1, 3000))
        got += reader.feed(stream[at : at + size])
        at += size
    assert got == sent


@pytest.mark.parametrize("seed", range(200))
def test_nonsense_is_a_protocol_error_or_waits_for_more(seed):
    rng = np.random.default_rng(seed)
    print("seed", seed)
    reader = Reader()
    try:
        for _ in range(20):
            for kind, body in reader.feed(rng.bytes(100)):
                assert len(body) <= MOST_BYTES
                assert len(kind) == 1
    except ProtocolError:
        return
    assert len(reader._bytes) <= MOST_BYTES + HEAD_BYTES


def test_a_frame_that_is_too_long_is_refused_at_both_ends():
    with pytest.raises(ProtocolError):
        encode(EVENT, bytes(MOST_BYTES + 1))
    with pytest.raises(ProtocolError):
        Reader().feed((MOST_BYTES + 1).to_bytes(4, "big") + EVENT)


def test_an_event_comes_as_it_was_sent():
    event = Event("final", 7, "the röd mug", "why", -0.25, 0.125, 1.5, 2.5, 0.5)
    assert from_json(to_json(event)) == event


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "3", '{"kind": "final"}', to_json(Event("final", 1)).replace("final", "x")]
)
def test_what_is_no_event_is_refused(text):
    with pytest.raises(ValueError, match=r"no event|Expecting value"):
        from_json(text)
