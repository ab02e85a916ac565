"""A node's pipeline with its engines elsewhere: the same answers; crashes, hangs and bad starts end in codes."""

import functools
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from segzero_ros.backends import open_pipeline
from segzero_ros.command import Command, Stage
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.host import link
from segzero_ros.host.messages import Open
from segzero_ros.host.pipeline import HostPipeline
from segzero_ros.host.process import command_line, start_own
from tests.host.conftest import LIMIT_S, ask, named_memory, open_files, picture, until

KILLS = 30  # bench.host has 200


def gone(pid: int) -> bool:
    """Whether a child of ours is gone, not even a zombie."""
    return not Path(f"/proc/{pid}").exists()


def test_an_answer_is_the_one_of_the_same_engines_in_this_process(make_pipeline):
    there = make_pipeline("", command_line(sys.executable))
    there = HostPipeline(functools.partial(start_own, command_line(sys.executable)), Open("", "fake", {}, True))
    until(lambda: there.state().phase == "ready", "the engines to open")
    here, frame, heard, stages = open_pipeline(None, "fake"), picture(), [], []
    mine = here.ground(frame, Command("1", "the mug"))
    its = ask(there, "the mug", frame=frame, on_text=heard.append, on_stage=stages.append)
    assert np.array_equal(its.labels, mine.labels)
    assert its.frame is frame
    for name in ("command", "code", "detail", "reasoning", "instances", "text"):
        assert getattr(its, name) == getattr(mine, name), name
    assert its.timing.tokens == mine.timing.tokens
    assert "".join(heard) == its.text
    assert stages == [Stage.REASONING, Stage.SEGMENTING]
    there.close()


@pytest.mark.parametrize("size", [(64, 48), (640, 480), (48, 64), (1280, 720)])
def test_pictures_of_any_size_in_turn(pipeline, size):
    result = ask(pipeline, "the mug", frame=picture(*size))
    assert (result.code, result.labels.shape) == (Code.OK, size[::-1])
    assert result.labels.any()


@pytest.mark.parametrize(("words", "why"), [("crash", "SIGSEGV"), ("exit", "status 3")])
def test_a_crash_ends_its_command_and_the_next_one_is_answered(pipeline, words, why):
    pid = pipeline.state().pid
    result = ask(pipeline, words)
    assert (result.code, why in result.detail) == (Code.REASONER_DIED, True)
    assert ask(pipeline, "the mug").code == Code.OK
    assert pipeline.state().restarts == 1
    assert gone(pid)


@pytest.mark.parametrize("words", ["hang", "hold"])
def test_a_hang_is_ended_soon_after_the_deadline_and_the_next_command_is_answered(pipeline, words):
    pid, began = pipeline.state().pid, time.monotonic()
    result = ask(pipeline, words, seconds=0.3)
    assert result.code == Code.TIMEOUT
    assert time.monotonic() - began < 0.3 + 2.9 + 2  # on a busy machine
    assert ask(pipeline, "the mug").code == Code.OK
    assert gone(pid)


def test_a_cancel_that_an_engine_ignores_ends_the_engine(pipeline):
    cancelled = threading.Event()
    threading.Timer(0.2, cancelled.set).start()
    result = ask(pipeline, "hang", cancelled=cancelled.is_set)
    assert result.code == Code.CANCELLED
    assert ask(pipeline, "the mug").code == Code.OK


def test_what_an_engine_raises_is_its_code_and_the_process_lives_on(pipeline):
    pid = pipeline.state().pid
    result = ask(pipeline, "raise")
    assert (result.code, "out of memory" in result.detail) == (Code.REASONER_FAILED, True)
    assert pipeline.state().pid == pid


def test_commands_are_refused_at_once_while_engines_open_for_the_first_time(make_pipeline):
    pipeline = make_pipeline("slow:4")
    until(lambda: "so far" in pipeline.state().detail, "progress")
    until(lambda: pipeline.not_ready, "the first moments to be over")
    began = time.monotonic()
    result = ask(pipeline, "the mug")
    assert result.code == Code.LOADING
    assert time.monotonic() - began < 0.5
    assert pipeline.not_ready[0] == Code.LOADING
    until(lambda: pipeline.state().phase == "ready", "the engines to open")
    assert pipeline.not_ready is None
    assert ask(pipeline, "the mug").code == Code.OK


def test_engines_that_open_quickly_are_waited_for(make_pipeline):
    pipeline = make_pipeline("slow:0.5")
    assert pipeline.not_ready is None
    assert ask(pipeline, "the mug").code == Code.OK


@pytest.mark.parametrize(
    ("bundle", "code", "words"),
    [("refuse", Code.BUNDLE_ALTERED, "copy the bundle again"), ("crash", Code.HOST_UNUSABLE, "SIGABRT")],
)
def test_engines_that_do_not_open_are_said_and_not_tried_for_ever(make_pipeline, bundle, code, words):
    phases = []
    pipeline = make_pipeline(bundle, on_change=lambda _, state: phases.append(state.phase))
    until(lambda: pipeline.state().phase == "failed", "the failure")
    assert pipeline.state().fault.code == code
    assert words in pipeline.state().fault.detail
    result = ask(pipeline, "the mug")
    assert (result.code, words in result.detail) == (code, True)
    assert phases == ["failed"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("/nonexistent/python",), "segzero engines install"),
        ((sys.executable, "-c", "raise SystemExit(4)"), "status 4"),
        (
            (sys.executable, "-c", "import os,sys; os.write(int(sys.argv[2]), b'HTTP/1.1 200 OK\\r\\n\\r\\n')"),
            "does not",
        ),
    ],
)
def test_a_host_that_is_none_is_named_with_what_to_do(make_pipeline, command, words):
    pipeline = make_pipeline("tabletop", command)
    until(lambda: pipeline.state().phase == "failed", "the failure")
    assert pipeline.state().fault.code == Code.HOST_UNUSABLE
    assert words in pipeline.state().fault.detail


def test_a_host_of_another_version_is_refused_with_what_to_do(make_pipeline, monkeypatch):
    monkeypatch.setattr(link, "PROTOCOL", 999)
    pipeline = make_pipeline()
    until(lambda: pipeline.state().phase == "failed", "the failure")
    assert pipeline.state().fault.code == Code.HOST_UNUSABLE
    assert "this node 999" in pipeline.state().fault.detail
    assert "install the same version" in pipeline.state().fault.detail


def test_closing_ends_the_process_and_whoever_waits(make_pipeline):
    pipeline = make_pipeline()
    until(lambda: pipeline.state().phase == "ready", "the engines to open")
    pid, results = pipeline.state().pid, []
    waiting = threading.Thread(target=lambda: results.append(ask(pipeline, "hang")))
    waiting.start()
    time.sleep(0.1)
    pipeline.close()
    waiting.join(LIMIT_S)
    assert results[0].code == Code.REASONER_DIED
    assert gone(pid)


def test_a_prefilled_frame_is_the_one_that_is_grounded(pipeline):
    frame = picture()
    pipeline.prefill_image(frame)
    assert ask(pipeline, "the mug", frame=frame).code == Code.OK


def test_a_prefill_on_engines_that_are_not_open_says_so(make_pipeline):
    with pytest.raises(RejectedInput) as refused:
        make_pipeline("slow:3").prefill_image(picture())
    assert refused.value.code == Code.LOADING


def test_kills_at_any_moment_leave_one_answer_each_and_nothing_behind(pipeline):
    rng, codes, pids = np.random.default_rng(5), [], []
    ask(pipeline, "the mug")
    files, memory = open_files(), named_memory()
    for _ in range(KILLS):
        pid = until(lambda: pipeline.state().phase == "ready" and pipeline.state().pid, "the engines to open")
        killer = threading.Timer(rng.uniform(0, 0.35), os.kill, (pid, signal.SIGKILL))
        killer.start()
        codes.append(ask(pipeline, "slow mug").code)
        killer.join()
        until(lambda pid=pid: gone(pid), "the process to be gone")
        assert ask(pipeline, "the mug").code == Code.OK
        pids.append(pid)
    assert set(codes) <= {Code.OK, Code.REASONER_DIED}
    assert len(set(pids)) == KILLS
    assert Code.REASONER_DIED in codes
    assert named_memory() == memory
    until(lambda: open_files() <= files, "files to be closed")
