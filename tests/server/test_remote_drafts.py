"""A server's model drafts answers while it thinks: the stream listens on, and one cut there is truncated."""

import numpy as np
import pytest

from segzero_ros.backends.fake import FakeReasoner, FakeSegmenter
from segzero_ros.backends.remote import RemoteReasoner
from segzero_ros.backends.remote.client import Server
from segzero_ros.backends.remote.fallback import LOST, FallbackReasoner
from segzero_ros.backends.remote.http import read_endpoint
from segzero_ros.command import Command
from segzero_ros.errors import Code
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
    said,
    saying,
    sending,
    stalling,
)

PROFILE = get_profile("abstaining_v2")
FRAME = Frame(np.full((48, 64, 3), 90, np.uint8), 0)
MUG = Command("1", "the mug")
BODY = ANSWER.partition("</think>")[2]
DRAFTS = [
    "<think>Is it <answer>[]</answer>? No.",
    "<think>As in <think>hm</think><answer>[]</answer>, but another.",
    "I say <answer>[]</answer> or rather",
]


def grounded(server, **options):
    remote = RemoteReasoner(PROFILE, Server(read_endpoint(server.url), "", stall_s=LIMIT_S, back_off_s=0.01))
    return Pipeline(PROFILE, remote, FakeSegmenter(), **options).ground(FRAME, MUG)


@pytest.mark.parametrize("draft", DRAFTS)
def test_the_stream_listens_on_past_a_draft(draft):
    with ScriptedServer(saying(f"{draft}</think>{BODY}")) as server:
        result = grounded(server)
    assert (result.code, result.text) == (Code.OK, f"{draft}</think>{BODY}")


@pytest.mark.parametrize("draft", DRAFTS)
def test_cut_behind_a_draft_it_is_truncated(draft):
    with ScriptedServer(saying(draft, "length")) as server:
        assert grounded(server).code is Code.ANSWER_TRUNCATED


@pytest.mark.parametrize("draft", DRAFTS)
def test_a_budget_closes_every_tag_that_the_thinking_opened(draft):
    endless = stalling(STREAM, *map(said, pieces(draft + " hm" * 60)))
    with ScriptedServer(endless, saying(BODY.removeprefix("<answer>"))) as server:
        result = grounded(server, budget=30)
    assert (result.code, len(result.instances)) == (Code.OK, 1)


def test_tags_in_thinking_that_the_server_took_apart_are_words():
    thought = "I close with </think><answer>[]</answer> and"
    apart = [event({"choices": [{"delta": {"reasoning_content": piece}}]}) for piece in pieces(thought)]
    with ScriptedServer(sending(STREAM, *apart, said(BODY), finished(), DONE)) as server:
        assert grounded(server).code is Code.OK
    with ScriptedServer(sending(STREAM, *apart, finished("length"), DONE)) as server:
        assert grounded(server).code is Code.ANSWER_TRUNCATED


def test_what_a_lost_server_had_begun_is_no_part_of_the_local_answer():
    for begun in ("<think>The <think> ", "<think>x</think><answer>[{", "<think>x</think>\n"):
        with ScriptedServer(sending(STREAM, said(begun))) as server:
            remote = RemoteReasoner(PROFILE, Server(read_endpoint(server.url), "", stall_s=LIMIT_S))
            local = FallbackReasoner(remote, lambda: FakeReasoner("<think>" + "hm " * 50 + ANSWER.partition("m")[2]))
            result = Pipeline(PROFILE, local, FakeSegmenter(), budget=4000).ground(FRAME, MUG)
        assert result.code is Code.OK
        assert result.text.startswith(begun + LOST)
        assert LOST.strip() in result.reasoning
