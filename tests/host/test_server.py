"""The host's process seen from its sockets: clients that send nonsense or read nothing, several nodes, its own end."""

import contextlib
import os
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.host.trouble import open_engines
from segzero_ros.answer import Target
from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.host import server as server_module
from segzero_ros.host.messages import Ask, Fault, Hello, Loading, Map, Message, Open, Opened, Ping, Pong
from segzero_ros.host.pipeline import HostPipeline
from segzero_ros.host.process import Started, connect, start_own
from segzero_ros.host.protocol import PROTOCOL, Reader, encode
from segzero_ros.host.room import Room
from segzero_ros.host.server import MAX_CLIENTS, Server
from segzero_ros.host.sockets import default_path, listen
from tests.host.conftest import LIMIT_S, TROUBLE, ask, picture, until

HELLO = Hello(PROTOCOL, "0", "test")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a host in this process whose engines are open."""
    where = tmp_path_factory.mktemp("host") / "host.sock"
    room = Room(open_engines)
    room.open(Open("tabletop", "auto", {}, True))
    server = Server(room, listener=listen(where))
    thread = threading.Thread(target=server.run)
    thread.start()
    yield where
    server.stop()
    thread.join(LIMIT_S)
    assert not thread.is_alive()


def call(path: Path) -> socket.socket:
    return connect(path).sock


def hear(sock: socket.socket, kind: type[Message] | None = None) -> list[Message]:
    """Everything the host says until one of ``kind``, or the end of the connection."""
    reader, found = Reader(), []
    sock.settimeout(LIMIT_S)
    with contextlib.suppress(ConnectionResetError):  # the host left without reading all of it
        while data := sock.recv(1 << 16):
            found += reader.feed(data)
            if kind is not None and any(isinstance(message, kind) for message in found):
                break
    return found


def shared(path: Path, **options: object) -> HostPipeline:
    pipeline = HostPipeline(lambda: connect(path), None, **options)
    until(lambda: pipeline.state().phase == "ready", "the engines")
    return pipeline


def test_a_client_is_greeted_and_told_which_engines_are_open(path):
    with call(path) as sock:
        sock.sendall(encode(HELLO) + encode(Ping(7)))
        said = hear(sock, Opened)
        assert isinstance(said[0], Hello)
        assert next(one for one in said if isinstance(one, Opened)).bundle == "tabletop"


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=4), st.booleans())
def test_no_client_can_end_the_host_by_what_it_says(path, pieces, greets):
    with call(path) as sock:
        framed = b"".join(struct.pack(">I", len(piece)) + piece for piece in pieces)
        sock.sendall((encode(HELLO) if greets else b"") + framed)
        with contextlib.suppress(OSError):  # it may have left already
            sock.shutdown(socket.SHUT_WR)
        assert all(isinstance(one, (Hello, Opened, Fault)) for one in hear(sock))
    with call(path) as sock:
        sock.sendall(encode(HELLO) + encode(Ping(1)))
        hear(sock, Pong)


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([Ping(1)], "no Hello first"),
        ([Hello(PROTOCOL + 1, "9", "new")], "install the same version"),
        ([HELLO, Map(1, 1, 1)], "file descriptor"),
        ([HELLO, Open("x", "auto", {}, True)], "who started this host"),
        ([HELLO, Loading("x")], "the host's to say"),
        ([HELLO, Ask(1, 1, "", "10.0.0.2", "1", "x", 256, None, [], None)], "asks its reasoner for others"),
    ],
)
def test_a_client_that_does_not_keep_to_the_protocol_is_told_why_and_left(path, messages, words):
    with call(path) as sock:
        for message in messages:
            sock.sendall(encode(message))
        faults = [one for one in hear(sock) if isinstance(one, Fault)]
        assert [words in fault.detail for fault in faults] == [True]
        assert faults[0].code == Code.HOST_UNUSABLE


def test_file_descriptors_without_messages_are_closed(path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    with call(path) as sock:
        for _ in range(2):
            socket.send_fds(sock, [b"\0"], [sock.fileno()] * 4)
        hear(sock)
    until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before, "the descriptors to be closed")


def test_more_clients_than_there_is_room_for_are_turned_away(path):
    socks = [call(path) for _ in range(MAX_CLIENTS + 3)]
    for sock in socks:
        with contextlib.suppress(BrokenPipeError):  # turned away already
            sock.sendall(encode(HELLO))
    heard = sum(bool(hear_or_nothing(sock)) for sock in socks)
    assert MAX_CLIENTS - 2 <= heard <= MAX_CLIENTS  # those of the test before may still be leaving
    for sock in socks:
        sock.close()
    until(lambda: is_served(path), "room again")


def is_served(path: Path) -> bool:
    with call(path) as sock, contextlib.suppress(OSError):
        sock.sendall(encode(HELLO))
        return bool(hear_or_nothing(sock))
    return False


def hear_or_nothing(sock: socket.socket) -> bytes:
    select.select([sock], [], [], LIMIT_S)
    try:
        return sock.recv(100)
    except ConnectionResetError:
        return b""


def test_a_client_that_reads_nothing_is_given_up_and_the_others_are_served(path, monkeypatch):
    monkeypatch.setattr(server_module, "MAX_BACKLOG_BYTES", 1 << 16)
    with call(path) as deaf:
        deaf.sendall(encode(HELLO))
        many = b"".join(encode(Ping(number)) for number in range(100_000))
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            deaf.sendall(many)
    with call(path) as sock:
        sock.sendall(encode(HELLO) + encode(Ping(1)))
        hear(sock, Pong)


def test_two_nodes_have_turns_and_their_own_answers(path):
    one, other = shared(path, label="one"), shared(path, label="other")
    results: dict[str, list[object]] = {"one": [], "other": []}

    def work(pipeline: HostPipeline, name: str) -> None:
        frame = picture(seed=len(name))
        for _ in range(20):
            results[name].append(ask(pipeline, "the mug", frame=frame))

    threads = [threading.Thread(target=work, args=(pipe, name)) for pipe, name in ((one, "one"), (other, "other"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    for name, found in results.items():
        assert [result.code for result in found] == [Code.OK] * 20
        assert {instance.label for result in found for instance in result.instances} == {name}
    one.close()
    assert ask(other, "the mug").code == Code.OK
    other.close()


def test_the_command_of_a_node_that_leaves_is_ended_for_the_others(path):
    leaving, staying = shared(path), shared(path)
    thread = threading.Thread(target=lambda: ask(leaving, "slow mug"))
    thread.start()
    time.sleep(0.05)
    leaving.close()
    thread.join(LIMIT_S)
    assert ask(staying, "the mug").code == Code.OK
    staying.close()


def test_a_command_that_waits_too_long_for_others_ends_with_timeout(path):
    one, other = shared(path), shared(path)
    thread = threading.Thread(target=lambda: [ask(one, "slow mug") for _ in range(3)])
    thread.start()
    time.sleep(0.05)
    assert ask(other, "the mug", seconds=0.01).code == Code.TIMEOUT
    thread.join(LIMIT_S)
    for pipeline in (one, other):
        pipeline.close()


def test_the_socket_is_this_users_alone_and_a_stale_one_is_taken_over(tmp_path):
    where = tmp_path / "deep" / "host.sock"
    first = listen(where)
    assert stat.S_IMODE(where.stat().st_mode) == 0o600
    with pytest.raises(RejectedInput, match="already"):
        listen(where)
    first.close()
    listen(where).close()


def test_a_path_where_no_socket_can_be_is_refused_in_words(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RejectedInput, match="no socket"):
        listen(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(RejectedInput, match="cannot listen"):
        listen(tmp_path / ("x" * 200) / "host.sock")
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(RejectedInput, match="anybody may write"):
        listen(open_to_all / "host.sock")


def test_a_node_that_starts_before_its_host_finds_it_once_it_is_there(tmp_path):
    where = tmp_path / "host.sock"
    node = HostPipeline(lambda: connect(where), None)
    until(lambda: "nobody answers" in node.state().detail, "the first try")
    assert ask(node, "the mug").code == Code.LOADING
    room = Room(open_engines)
    room.open(Open("tabletop", "auto", {}, True))
    server = Server(room, listener=listen(where))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: node.state().phase == "ready", "the node to find it")
    assert ask(node, "the mug").code == Code.OK
    node.close()
    server.stop()
    thread.join(LIMIT_S)


def test_nobody_at_a_path_is_named_with_what_to_do(tmp_path):
    with pytest.raises(RejectedInput, match="segzero host"):
        connect(tmp_path / "nothing.sock")


def test_another_users_host_is_not_talked_to(path, monkeypatch):
    monkeypatch.setattr("segzero_ros.host.process.peer_uid", lambda _: os.getuid() + 4711)
    with pytest.raises(RejectedInput, match="another user"):
        connect(path)


def test_another_users_client_is_turned_away(path, monkeypatch):
    monkeypatch.setattr(server_module, "peer_uid", lambda _: os.getuid() + 4711)
    with call(path) as sock:
        assert hear(sock) == []


def test_the_usual_path_is_below_the_users_runtime_directory(monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert default_path() == Path("/run/user/7/segzero/host.sock")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert default_path().parent.name == f"segzero-{os.getuid()}"


def test_a_host_with_a_reasoner_only_makes_no_masks():
    ours, theirs = socket.socketpair()
    server = Server(Room(open_engines), owner=theirs)
    thread = threading.Thread(target=server.run)
    thread.start()
    pipeline = HostPipeline(lambda: Started(ours), Open("tabletop", "auto", {}, True, reasoner_only=True))
    until(lambda: pipeline.state().phase == "ready", "the engines")
    result = ask(pipeline, "the mug")
    assert (result.code, "has a reasoner only" in result.detail) == (Code.HOST_UNUSABLE, True)
    pipeline.close()
    thread.join(LIMIT_S)


def test_a_host_with_a_segmenter_only_masks_and_answers_no_command():
    ours, theirs = socket.socketpair()
    server = Server(Room(), owner=theirs)
    thread = threading.Thread(target=server.run)
    thread.start()
    pipeline = HostPipeline(lambda: Started(ours), Open("tabletop", "auto", {}, False, segmenter_only=True))
    until(lambda: pipeline.state().phase == "ready", "the engines")
    frame = Frame(np.zeros((60, 80, 3), np.uint8), 0)
    masked = pipeline.mask(frame, Command("1", "the mug"), (Target((10.0, 5.0, 60.0, 50.0), ((30.0, 30.0),)),))
    assert (masked.code, len(masked.instances), masked.labels.shape) == (Code.OK, 1, (60, 80))
    result = ask(pipeline, "the mug")
    assert (result.code, "has a segmenter only" in result.detail) == (Code.HOST_UNUSABLE, True)
    pipeline.close()
    thread.join(LIMIT_S)


def host_process() -> Started:
    return start_own(TROUBLE)


def test_a_host_ends_with_its_node_however_that_ends():
    started = host_process()
    started.sock.sendall(encode(HELLO))
    hear(started.sock, Hello)
    started.sock.close()  # all that the kernel does for a node that is killed
    assert started.process.wait(LIMIT_S) == 0


def test_ctrl_c_in_the_terminal_is_not_the_hosts():
    started = start_own((sys.executable, "-m", "segzero_ros.cli", "host"))
    started.sock.sendall(encode(HELLO))
    hear(started.sock, Hello)
    started.process.send_signal(signal.SIGINT)
    started.sock.sendall(encode(Ping(1)))
    hear(started.sock, Pong)
    started.process.send_signal(signal.SIGTERM)
    assert started.process.wait(LIMIT_S) == 0
    started.end()


def test_segzero_host_serves_nodes_until_it_is_told_to_stop(tmp_path):
    where = tmp_path / "host.sock"
    words = [sys.executable, "-m", "segzero_ros.cli", "host", "--backend", "fake", "--socket", str(where)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert f"host:={where}" in process.stdout.readline()
    pipeline = shared(where)
    result = ask(pipeline, "the mug", frame=picture(640, 480))
    assert (result.code, np.count_nonzero(result.labels) > 0) == (Code.OK, True)
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT_S) == 0
    assert not where.exists()
    until(lambda: pipeline.state().phase == "restarting", "the node to notice")
    assert "nobody answers" in until(lambda: "nobody" in pipeline.state().detail and pipeline.state().detail, "why")
    pipeline.close()
    process.stdout.close()
