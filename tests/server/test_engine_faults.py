"""Engines that load, crash, hang or are killed behind `segzero serve`: one end for every request, the next is answered.

The engines are those of bench/host/trouble.py, which do what a question's first word says.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from segzero_ros.backends import EngineOptions
from segzero_ros.backends.fake import FakeSegmenter
from segzero_ros.backends.remote import open_reasoner as open_remote
from segzero_ros.backends.remote.dialect import chat_messages, encode_picture
from segzero_ros.command import Command
from segzero_ros.errors import Code
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Pipeline
from tests.server.conftest import LIMIT_S, ServeProcess, until
from tests.server.robots import TROUBLE, children

PROGRAM = "import sys; from tests.server.robots import serve_trouble; serve_trouble(int(sys.argv[1]), sys.argv[2])"
PICTURE = encode_picture(np.zeros((32, 48, 3), np.uint8))
POOL = (os.cpu_count() or 1) + 4  # threads that asyncio keeps for what must not hold up its loop


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Troubled:
    """A process that serves troublesome engines; ``port`` answers, whether they are open or not."""

    def __init__(self, bundle: str = "tabletop", *, ready: bool = True) -> None:
        self.port = free_port()
        words = [sys.executable, "-c", PROGRAM, str(self.port), bundle]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{self.port}/v1"
        until(self.answers, "the server to answer")
        if ready:
            until(lambda: self.health()[0] == 200, "the engines")

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            self.health()
            return True
        return False

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        try:
            connection.request(method, path, None if body is None else json.dumps(body).encode())
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def health(self):
        status, _, content = self.request("GET", "/health")
        return status, json.loads(content)

    def ask(self, words, *, stream=False, **extra):
        body = {"messages": chat_messages(TROUBLE.system, PICTURE, words), "stream": stream, "segzero": extra}
        return self.request("POST", "/v1/chat/completions", body)

    def children(self) -> list[int]:
        """The engines' process, as a list."""
        return children(self.process.pid)

    def end(self, number=signal.SIGINT) -> str:
        self.process.send_signal(number)
        return self.process.communicate(timeout=LIMIT_S)[1]


@pytest.fixture
def troubled():
    made = Troubled()
    yield made
    if made.process.poll() is None:
        made.end()


def error_of(content: bytes) -> dict:
    return json.loads(content)["error"]


def ending(content: bytes) -> str:
    """How a stream ended: "done", or the code of its error event; fails where it just stops."""
    last = content.rstrip(b"\n").rpartition(b"\n\n")[2]
    if last == b"data: [DONE]":
        return "done"
    assert last.startswith(b"data: {"), content
    return json.loads(last[6:])["error"]["code"]


def test_while_engines_open_health_and_requests_say_so_and_then_all_is_well():
    server = Troubled("slow:2", ready=False)
    status, said = server.health()
    assert (status, said["status"], said["seconds"] >= 0) == (503, "loading", True)
    until(lambda: "so far" in server.health()[1]["detail"], "progress")
    status, headers, content = server.ask("mug")
    assert (status, headers["retry-after"], error_of(content)["code"]) == (503, "2", "LOADING")
    assert server.request("GET", "/v1/models")[0] == 200
    until(lambda: server.health()[0] == 200, "the engines")
    assert server.health()[1]["status"] == "ok"
    assert server.ask("mug")[0] == 200
    server.end()


@pytest.mark.parametrize(("bundle", "words"), [("refuse", "copy the bundle again"), ("crash", "SIGABRT")])
def test_engines_that_do_not_open_end_the_server_with_why(bundle, words):
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, "0", bundle], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert run.returncode != 0
    assert words in run.stderr
    assert " at http" not in run.stdout


@pytest.mark.parametrize("stream", [False, True])
def test_a_crash_is_an_error_of_its_request_and_the_next_is_answered(troubled, stream):
    for _ in range(2):
        status, _, content = troubled.ask("crash", stream=stream)
        assert (status, error_of(content)["code"]) == (500, "REASONER_DIED")
        assert "SIGSEGV" in error_of(content)["message"]
        assert troubled.ask("mug", stream=stream)[0] == 200
    assert troubled.health()[1]["restarts"] == 2


def test_a_crash_in_the_middle_of_a_stream_is_its_last_event(troubled):
    (child,) = troubled.children()
    threading.Timer(0.15, os.kill, (child, signal.SIGKILL)).start()
    status, _, content = troubled.ask("drip", stream=True)
    assert (status, ending(content)) == (200, "REASONER_DIED")
    assert b"<thi" in content


def test_what_an_engine_raises_is_500_and_the_process_lives_on(troubled):
    before = troubled.children()
    status, _, content = troubled.ask("raise")
    assert (status, error_of(content)["code"]) == (500, "REASONER_FAILED")
    assert b"out of memory" not in content
    assert troubled.children() == before


@pytest.mark.parametrize("words", ["hang", "hold"])
def test_a_hung_engine_is_ended_and_the_others_are_served(troubled, words):
    found, statuses, began = {}, set(), time.monotonic()
    (child,) = troubled.children()

    def ask(name, text, **extra):
        found[name] = (troubled.ask(text, client=name, **extra), time.monotonic() - began)

    threads = [threading.Thread(target=ask, args=("hung", words), kwargs={"deadline_s": 0.5})]
    threads[0].start()
    until(lambda: troubled.health()[1]["running_s"] > 0, "the engine to hang")
    threads += [threading.Thread(target=ask, args=(f"robot {n}", "mug")) for n in range(3)]
    threads.append(threading.Thread(target=ask, args=("hasty", "mug"), kwargs={"deadline_s": 0.2}))
    for thread in threads[1:]:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        statuses.add(troubled.health()[1]["status"])
    (status, _, content), seconds = found["hung"]
    assert (status, error_of(content)["code"], seconds < 0.5 + 2.9 + 2) == (504, "TIMEOUT", True)
    (status, _, content), seconds = found["hasty"]
    assert (status, error_of(content)["code"], seconds < 2.5) == (504, "TIMEOUT", True)
    assert [found[f"robot {n}"][0][0] for n in range(3)] == [200] * 3
    assert "hung" in statuses
    assert child not in troubled.children()
    assert troubled.health()[1]["restarts"] == 1


def test_a_client_that_leaves_a_hung_engine_leaves_the_others_no_hang(troubled):
    with contextlib.suppress(TimeoutError):
        connection = http.client.HTTPConnection("127.0.0.1", troubled.port, timeout=0.5)
        body = {"messages": chat_messages(TROUBLE.system, PICTURE, "hang"), "stream": False}
        connection.request("POST", "/v1/chat/completions", json.dumps(body).encode())
        connection.getresponse()
    connection.close()
    assert troubled.ask("mug")[0] == 200


def test_twenty_kills_at_random_instants_leave_every_request_one_end_and_the_next_is_answered(troubled):
    rng, ends, over = np.random.default_rng(11), [], threading.Event()
    print("seed 11")
    open_files = lambda: len(list(Path(f"/proc/{troubled.process.pid}/fd").iterdir()))  # noqa: E731
    threads = lambda: len(list(Path(f"/proc/{troubled.process.pid}/task").iterdir()))  # noqa: E731
    assert troubled.ask("mug")[0] == 200
    before = open_files(), threads()

    def robot(number):
        stream = bool(number % 2)
        while not over.is_set():
            status, _, content = troubled.ask("drip", stream=stream, client=f"robot {number}")
            if status != 200:
                ends.append(error_of(content)["code"])
            else:
                ends.append(ending(content) if stream else json.loads(content)["choices"][0]["finish_reason"])

    robots = [threading.Thread(target=robot, args=(number,)) for number in range(4)]
    for one in robots:
        one.start()
    for _ in range(20):
        time.sleep(rng.uniform(0, 0.4))
        (child,) = until(troubled.children, "the engines' process")
        os.kill(child, signal.SIGKILL)
        until(lambda child=child: child not in troubled.children(), "it to be gone")
        assert troubled.ask("mug")[0] == 200
    over.set()
    for one in robots:
        one.join(LIMIT_S)
    assert not any(one.is_alive() for one in robots)
    assert set(ends) <= {"done", "stop", "REASONER_DIED"}
    assert "REASONER_DIED" in ends
    said = troubled.health()[1]
    assert (said["status"], said["waiting"], said["running_s"]) == ("ok", 0, 0)
    until(lambda: open_files() <= before[0] + 1, "files and memory to be given back")
    until(lambda: threads() <= before[1] + POOL, "threads to end")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("words", ["drip", "hang"])
def test_the_end_of_the_server_is_the_end_of_its_engines_within_three_seconds(number, words):
    server = Troubled()
    (child,) = server.children()
    ends = []

    def ask(stream):
        try:
            ends.append(server.ask(words, stream=stream)[0])
        except (OSError, http.client.HTTPException):
            ends.append("cut off")

    threads = [threading.Thread(target=ask, args=(stream,)) for stream in (False, True)]
    for thread in threads:
        thread.start()
    until(lambda: server.health()[1]["running_s"] > 0, "a request to be at work")
    began = time.monotonic()
    said = server.end(number)
    until(lambda: not Path(f"/proc/{child}").exists(), "the engines' process to be gone")
    assert time.monotonic() - began < 3
    for thread in threads:
        thread.join(LIMIT_S)
    assert len(ends) == 2
    if number != signal.SIGKILL:
        assert (server.process.returncode, "Traceback" in said) == (0, False), said
        assert set(ends) <= {200, 503}


def test_a_robot_that_got_no_turn_has_a_timeout_and_one_whose_question_crashes_is_refused(troubled):
    served = SimpleNamespace(profile=TROUBLE)
    remote = open_remote(served, EngineOptions(server=troubled.url, server_timeout_s=LIMIT_S, fallback=False))
    pipeline, frame = Pipeline(TROUBLE, remote, FakeSegmenter()), Frame(np.zeros((48, 64, 3), np.uint8), 0)
    result = pipeline.ground(frame, Command("1", "crash"))
    assert (result.code, "SIGSEGV" in result.detail) == (Code.SERVER_REFUSED, True)
    assert troubled.health()[1]["restarts"] == 1  # what crashes an engine is not asked again
    assert pipeline.ground(frame, Command("2", "mug")).code is Code.OK
    other = threading.Thread(target=troubled.ask, args=("hang",), kwargs={"deadline_s": 3})
    other.start()
    until(lambda: troubled.health()[1]["running_s"] > 0, "another one to be at work")
    began = time.monotonic()
    result = pipeline.ground(frame, Command("3", "mug"), deadline_ns=time.monotonic_ns() + 500_000_000)
    assert (result.code, "got no turn" in result.detail) == (Code.TIMEOUT, True)
    assert time.monotonic() - began < 2
    other.join(LIMIT_S)


def test_the_demo_bundle_killed_behind_the_server_is_opened_again(bundle, questions):
    started = ServeProcess()
    remote = open_remote(bundle, EngineOptions(server=started.url, server_timeout_s=LIMIT_S, fallback=False))
    pipeline = Pipeline(bundle.profile, remote, FakeSegmenter())
    frame, command = questions[0]
    before = pipeline.ground(frame, command)
    (child,) = children(started.process.pid)
    os.kill(child, signal.SIGKILL)
    after = pipeline.ground(frame, command)
    assert (after.code, after.text) == (before.code, before.text)
    assert started.end()[0] == 0
