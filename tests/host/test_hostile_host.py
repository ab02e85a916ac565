"""A host that says whatever it likes: every command gets one answer in time, and nothing is raised out of a thread.

The host is a script at the other end of a socket pair. The seed of a run is in its test's name.
"""

import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.host import messages
from segzero_ros.host import pipeline as pipeline_module
from segzero_ros.host import supervisor as supervisor_module
from segzero_ros.host.messages import Fault, Ground, Hello, Looked, Open, Opened, Result, Stage, Text
from segzero_ros.host.pipeline import HostPipeline
from segzero_ros.host.process import Started
from segzero_ros.host.protocol import PROTOCOL, Reader, encode
from tests.host.conftest import ask, open_files, picture, until

SECONDS = 0.2  # that a command has
GIVE_UP_S = 0.2
LATE_S = 5.0  # for a busy machine
INSTANCE = ["the mug", 0.9, 1.0, 2.0, 30.0, 40.0, 10.0, 20.0, 1]
OPENED = Opened("tabletop", "0" * 64, "abstaining_v2", "a script", 0.1)
Reply = Callable[[random.Random, int], bytes]


def result(id: int, text: str = "", labels: int = 0, code: int = 0) -> bytes:
    return encode(Result(id, code, "", "", text, [INSTANCE], labels, 0, 0, 0, 0, 0, 1, ""))


def changed(draw: random.Random, id: int) -> bytes:
    """A result with another value somewhere."""
    values = json.loads(result(id)[4:])
    values[draw.choice(sorted(values))] = draw.choice([None, -1, 1e400, [], {}, "x" * 100, [[1] * 9], 2**70, True])
    body = json.dumps(values).encode()
    return len(body).to_bytes(4, "big") + body


def cut(draw: random.Random, id: int) -> bytes:
    """The beginning of a message: what follows it is read as its rest."""
    whole = result(id, "x" * 200)
    return whole[: draw.randrange(1, len(whole))]


REPLIES: dict[str, Reply] = {
    "noise": lambda draw, id: draw.randbytes(draw.randrange(1, 400)),
    "cut": cut,
    "changed": changed,
    "too long": lambda draw, id: (2**32 - 1).to_bytes(4, "big") + b"{",
    "no JSON": lambda draw, id: (5).to_bytes(4, "big") + b"[[[[[",
    "unknown id": lambda draw, id: result(id + draw.randrange(1, 1000), "another's"),
    "an earlier id": lambda draw, id: result(max(0, id - draw.randrange(1, 9)), "another's"),
    "twice": lambda draw, id: result(id, f"of {id}") * 2,
    "result before text": lambda draw, id: (
        result(id, f"of {id}") + encode(Text(id, "late")) + encode(Stage(id, "reasoning"))
    ),
    "stages backwards": lambda draw, id: encode(Stage(id, "segmenting")) + encode(Stage(id, "reasoning")),
    "labels that nobody wrote": lambda draw, id: result(id, f"of {id}", labels=draw.choice((1, 2))),
    "no such code": changed,
    "looked": lambda draw, id: encode(Looked(id, "")),
    "the node's words": lambda draw, id: encode(Ground(id, 1, "1", "the mug", 1, "", None)),
    "the node's memory": lambda draw, id: encode(messages.Map(1, 64, 1 << 20)),
    "opened again": lambda draw, id: encode(OPENED) * 3,
    "hello again": lambda draw, id: encode(Hello(PROTOCOL, "0", "again")),
    "fault": lambda draw, id: encode(Fault(int(draw.choice(list(Code))), "as drawn")),
    "silence": lambda draw, id: b"",
    "the end": lambda draw, id: b"END",
    "an answer": lambda draw, id: result(id, f"of {id}", code=int(draw.choice(list(Code)))),
}


class Script:
    """The other end. ``says``: what it answers to a question; b"END" closes the connection."""

    def __init__(self, says: Callable[[int], bytes], greeting: bytes | None = None) -> None:
        self.says = says
        self.greeting = encode(Hello(PROTOCOL, "0", "script")) + encode(OPENED) if greeting is None else greeting
        self.lives = 0
        self.sock: socket.socket
        self.threads: list[threading.Thread] = []

    def start(self) -> Started:
        ours, theirs = socket.socketpair()
        self.lives += 1
        thread = threading.Thread(target=self._live, args=(theirs,), daemon=True)
        self.threads.append(thread)
        thread.start()
        return Started(ours)

    def _live(self, sock: socket.socket) -> None:
        reader, self.sock = Reader(), sock
        with sock:
            try:
                sock.sendall(self.greeting)
                while data := sock.recv(1 << 16):
                    for message in reader.feed(data):
                        if isinstance(message, (Ground, messages.Look)):
                            said = self.says(message.id)
                            sock.sendall(said.removesuffix(b"END"))
                            if said.endswith(b"END"):
                                return
            except OSError:  # the node has closed it
                pass


@pytest.fixture(autouse=True)
def raised(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """What any thread raised; there must be nothing at the end. Pauses are short."""
    found: list[object] = []
    monkeypatch.setattr(threading, "excepthook", found.append)
    monkeypatch.setattr(pipeline_module, "GIVE_UP_S", GIVE_UP_S)
    monkeypatch.setattr(supervisor_module, "PAUSES_S", (0.0,))
    monkeypatch.setattr(pipeline_module, "LOOK_S", 0.3)
    monkeypatch.setattr(pipeline_module, "RESTART_WAIT_S", 2.0)
    yield found
    assert found == []


@pytest.fixture
def make() -> Iterator[Callable[[Script], HostPipeline]]:
    made: list[tuple[HostPipeline, Script]] = []

    def begin(script: Script) -> HostPipeline:
        made.append((HostPipeline(script.start, Open("tabletop", "auto", {}, True)), script))
        return made[-1][0]

    yield begin
    for pipeline, script in made:
        pipeline.close()
        for thread in [*script.threads, pipeline._host._thread]:
            thread.join(5)
            assert not thread.is_alive()


def asked(pipeline: HostPipeline) -> tuple[object, float]:
    """The answer to a command and how long it took."""
    began = time.monotonic()
    answer = ask(pipeline, "the mug", seconds=SECONDS)
    return answer, time.monotonic() - began


def check(answer: object, seconds: float) -> None:
    assert isinstance(answer.code, Code) and answer.command.id == "1"
    assert answer.labels.shape == (48, 64)
    assert seconds < SECONDS + GIVE_UP_S + LATE_S
    assert answer.text in ("", "x" * 100) or answer.text.startswith("of "), "that was another command's answer"


def is_back(pipeline: HostPipeline) -> bool:
    """Whether it answers once its host does."""
    return pipeline.state().phase == "failed" or asked(pipeline)[0].text.startswith("of ")


@pytest.mark.parametrize("name", REPLIES)
def test_whatever_one_reply_is_the_command_is_answered_and_so_is_the_next(name, make):
    draw = random.Random(name)
    script = Script(lambda id: REPLIES[name](draw, id))
    pipeline = make(script)
    until(lambda: pipeline.state().phase == "ready", "the engines to open")
    for _ in range(3):
        check(*asked(pipeline))
    script.says = lambda id: result(id, f"of {id}")
    until(lambda: is_back(pipeline), "an answer")


@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_replies_ends_in_one_answer_per_command(seed, make):
    draw = random.Random(seed)

    def says(id: int) -> bytes:
        names = draw.choices(sorted(REPLIES), k=draw.randrange(4))
        return b"".join(REPLIES[name](draw, id) for name in names)

    script = Script(says)
    pipeline = make(script)
    for _ in range(12):
        check(*asked(pipeline))
        if draw.random() < 0.3:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(pipeline_module, "LOOK_S", 0.1)
                try:
                    pipeline.prefill_image(picture(seed=draw.randrange(9)))
                except RejectedInput:
                    pass
    script.says = lambda id: result(id, f"of {id}")
    until(lambda: is_back(pipeline), "an answer")


@pytest.mark.parametrize("seed", range(6))
def test_any_greeting_ends_in_an_answer(seed, make):
    draw = random.Random(seed)
    greetings = [draw.randbytes(50), encode(OPENED), encode(Hello(99, "0", "x")), result(1), b"", encode(Fault(3, "x"))]
    pipeline = make(Script(lambda id: b"", greetings[seed]))
    for _ in range(2):
        check(*asked(pipeline))


@pytest.mark.parametrize("stop", ["deadline", "cancel"])
def test_a_host_that_never_stops_talking_is_ended_in_time(stop, make):
    """One word every few milliseconds, for as long as somebody listens."""
    script = Script(lambda id: b"")
    talking = threading.Event()

    def talk(id: int) -> bytes:
        talking.set()
        while script.sock.fileno() >= 0:
            script.sock.sendall(encode(Text(id, "x")))
            time.sleep(0.002)
        return b""

    script.says = talk
    pipeline = make(script)
    until(lambda: pipeline.state().phase == "ready", "the engines to open")
    began = time.monotonic()
    seconds = SECONDS if stop == "deadline" else 60.0
    answer = ask(pipeline, "the mug", seconds=seconds, cancelled=lambda: stop == "cancel" and talking.is_set())
    check(answer, time.monotonic() - began)
    assert answer.code is (Code.TIMEOUT if stop == "deadline" else Code.CANCELLED)


def test_a_flood_is_ended_at_the_deadline(make):
    pipeline = make(Script(lambda id: encode(Text(id, "x" * 10)) * 1_000_000))
    until(lambda: pipeline.state().phase == "ready", "the engines to open")
    answer, seconds = asked(pipeline)
    check(answer, seconds)
    assert answer.code is Code.TIMEOUT


def test_a_fault_of_the_code_ok_is_no_answer(make):
    pipeline = make(Script(lambda id: b"", encode(Hello(PROTOCOL, "0", "x")) + encode(Fault(int(Code.OK), "fine"))))
    until(lambda: pipeline.state().phase == "failed", "the refusal")
    answer, _ = asked(pipeline)
    assert answer.code is Code.HOST_UNUSABLE and "does not speak as it should" in answer.detail


def test_a_late_result_is_not_the_next_commands(make):
    late: list[int] = []

    def says(id: int) -> bytes:
        said = b"".join(result(earlier, "another's") for earlier in late if earlier != id)
        late.append(id)
        return said + (result(id, f"of {id}") if len(late) > 1 else b"")

    pipeline = make(Script(says))  # the first question is never answered
    until(lambda: pipeline.state().phase == "ready", "the engines to open")
    cancelled = threading.Event()
    cancelled.set()
    ask(pipeline, "the mug", seconds=SECONDS, cancelled=cancelled.is_set)
    for _ in range(3):
        check(*asked(pipeline))


def test_nothing_is_left_open_by_hosts_that_end_at_once(make):
    pipeline = make(Script(lambda id: b"END"))
    until(lambda: pipeline.state().phase == "ready", "the engines to open")
    asked(pipeline)
    before = open_files()
    for _ in range(20):
        check(*asked(pipeline))
    assert open_files() <= before + 8  # of lives that end just now
