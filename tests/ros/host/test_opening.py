"""While engines open and where they do not: answers at once, diagnostics every second, one line says what to do."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from bench.host.trouble import open_engines
from segzero_ros.errors import Code
from segzero_ros.host.messages import Open
from segzero_ros.host.room import Room
from segzero_ros.host.server import Server
from segzero_ros.host.sockets import listen
from tests.host.conftest import LIMIT_S, TROUBLE

OTHER_VERSION = (
    "import socket,sys;from segzero_ros.host.messages import Hello;from segzero_ros.host.protocol import encode;"
    "s=socket.socket(fileno=int(sys.argv[2]));s.sendall(encode(Hello(999,'9.9','host')));s.recv(9999);s.recv(9999)"
)


def values(status: Any) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


def test_while_engines_open_commands_get_loading_at_once_and_diagnostics_say_for_how_long(make_hosted):
    robot = make_hosted(bundle="slow:7").is_("active")
    robot.publish_image()
    heard = robot.listen("/diagnostics", DiagnosticArray)
    robot.until(lambda: robot.diagnostics()["node"].message.endswith("so far"), "the progress")
    assert robot.diagnostics()["node"].level == DiagnosticStatus.WARN
    times = []
    for number in range(10):
        began = time.monotonic()
        robot.send_command("the mug")
        assert robot.answer(number + 1).code == Code.LOADING
        times.append(time.monotonic() - began)
    assert np.median(times) < 0.2
    assert robot.goal_result("the mug")[1].code == Code.LOADING
    robot.until(lambda: robot.diagnostics()["node"].level == DiagnosticStatus.OK, "the engines to open")
    spoken = [values(status).get("engines_process", "") for array in heard for status in array.status]
    seconds = {said for said in spoken if said.startswith("loading")}
    assert len(seconds) >= 3  # of seven seconds
    assert robot.goal_result("the mug")[1].code == Code.OK


def assert_refused(robot: Any, code: Code, *words: str) -> None:
    """The node is unconfigured, and diagnostics and the answer to a command say why in one line."""
    robot.until(lambda: robot.diagnostics()["node"].level == DiagnosticStatus.ERROR, "the fault")
    robot.is_("unconfigured")
    said = robot.diagnostics()["node"].message
    robot.send_command("the mug")
    answer = robot.answer(len(robot.answers) or 1)
    assert answer.code == Code.NOT_ACTIVE
    for text in (said, answer.detail):
        assert text.isprintable()
        assert code.name in text
        assert [word for word in words if word not in text] == []


def test_engines_that_refuse_leave_the_node_unconfigured_and_enable_tries_again(make_hosted):
    robot = make_hosted(bundle="refuse")
    assert_refused(robot, Code.BUNDLE_ALTERED, "copy the bundle again")
    assert robot.set_parameter("bundle", "mended").successful
    assert robot.enable(True).success
    robot.is_ready().publish_image()
    assert robot.goal_result("the mug")[1].code == Code.OK


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("/nonexistent/python",), ("does not start", "segzero engines install")),
        ((sys.executable, "-c", OTHER_VERSION), ("protocol 999", "9.9", "install the same version")),
        ((sys.executable, "-c", "raise SystemExit(4)"), ("status 4",)),
    ],
    ids=["missing", "version", "ends"],
)
def test_a_host_that_is_none_is_one_clear_line(make_hosted, command, words):
    assert_refused(make_hosted(command), Code.HOST_UNUSABLE, *words)


def test_an_environment_that_is_not_there_is_one_clear_line(make_hosted):
    assert_refused(make_hosted(engines="cdua"), Code.CONFIG_VALUE, "did you mean 'cuda'", "segzero engines list")


@pytest.fixture
def web_server(tmp_path: Path) -> Iterator[Path]:
    """A socket at which somebody else listens, who speaks HTTP."""
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(LIMIT_S)

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                client.settimeout(LIMIT_S)
                while client.recv(1 << 16):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        thread.join(LIMIT_S)


def test_a_socket_of_something_else_is_one_clear_line(make_hosted, web_server):
    assert_refused(make_hosted(host=str(web_server)), Code.HOST_UNUSABLE, "does not speak as it should")


def test_a_socket_where_nobody_listens_yet_is_one_clear_line_and_its_host_is_found(make_hosted, tmp_path):
    path = tmp_path / "host.sock"
    robot = make_hosted(host=str(path)).is_("active")
    robot.publish_image()
    robot.until(lambda: str(path) in robot.diagnostics()["node"].message, "the reason")
    assert robot.diagnostics()["node"].level == DiagnosticStatus.WARN
    result = robot.goal_result("the mug")[1]
    assert result.code == Code.LOADING
    for text in (robot.diagnostics()["node"].message, result.detail):
        assert text.isprintable()
        assert f"nobody answers at {path}" in text
        assert "start `segzero host` there" in text
    room = Room(open_engines)
    room.open(Open("tabletop", "auto", {}, True))
    server = Server(room, listener=listen(path))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        robot.is_ready()
        assert robot.goal_result("the mug")[1].code == Code.OK
    finally:
        server.stop()
        thread.join(LIMIT_S)


def test_a_log_on_a_full_disk_ends_nothing(make_hosted):
    full = ("/bin/sh", "-c", 'exec "$@" 2>/dev/full >/dev/full', "sh", *TROUBLE)
    robot = make_hosted(full).is_ready()
    robot.publish_image()
    pid = robot.node._host.state().pid
    assert robot.goal_result("raise")[1].code == Code.REASONER_FAILED  # which the host logs, in vain
    assert robot.goal_result("the mug")[1].code == Code.OK
    assert robot.node._host.state().pid == pid
