"""What one address does to the server keeps nobody from being answered, itself included."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from pathlib import Path

import pytest

from segzero_ros.server import peers
from segzero_ros.server.chat_request import Refusal
from segzero_ros.server.peers import MAX_BODIES_BYTES, MAX_BODIES_BYTES_OF_ONE, MOST_OF_ONE, BodyRoom
from tests.server.conftest import LIMIT_S, ServeProcess
from tests.server.test_app import chat, request  # noqa: F401 - a fixture

HALF_A_HEADER = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Slow: "
HALF_A_BODY = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 11000000\r\n\r\n" + b"{" * 100


def connect(server: ServeProcess, sent: bytes, peer: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S, source_address=(peer, 0))
    connection.sendall(sent)
    return connection


@pytest.mark.parametrize("sent", [b"", HALF_A_HEADER, HALF_A_BODY], ids=["nothing", "half a header", "half a body"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "127.0.0.66"], ids=["same address", "another"])
def test_connections_that_ask_nothing_do_not_deafen_the_server(server, chat, sent, peer):  # noqa: F811
    with contextlib.ExitStack() as stack:
        for _ in range(MOST_OF_ONE + 10):
            stack.enter_context(connect(server, sent, peer))
        assert request(server, "GET", "/health")[0] == 200
        assert request(server, "GET", "/v1/models")[0] == 200
        if not (sent == HALF_A_BODY and peer == "127.0.0.1"):
            assert request(server, "POST", "/v1/chat/completions", chat)[0] == 200


def test_many_addresses_are_bounded_in_all(server):
    with contextlib.ExitStack() as stack:
        for number in range(peers.MOST_CONNECTIONS + 30):
            stack.enter_context(connect(server, b"", f"127.0.1.{number % 8 + 1}"))
        assert request(server, "GET", "/health")[0] == 200


def test_a_header_that_does_not_come_ends_the_connection(server):
    with connect(server, HALF_A_HEADER, "127.0.0.7") as late:
        late.settimeout(peers.HEADER_S + 5)
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            assert late.recv(100) == b""
        assert time.monotonic() - began < peers.HEADER_S + 4


def resident_mb(server: ServeProcess, name: str) -> float:
    lines = Path(f"/proc/{server.process.pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def test_many_large_bodies_at_once_take_bounded_memory():
    server = ServeProcess()
    before = resident_mb(server, "VmRSS")
    body = b'{"messages": "' + b"x" * 11_000_000 + b'"}'
    statuses = []
    threads = [
        threading.Thread(target=lambda: statuses.append(request(server, "POST", "/v1/chat/completions", body)[0]))
        for _ in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    grown = resident_mb(server, "VmHWM") - before
    status, said = server.end()
    assert (status, "Traceback" in said) == (0, False), said
    assert set(statuses) <= {400, 503}
    assert 400 in statuses
    assert grown < 250, f"{grown:.0f} MB"


@pytest.mark.parametrize(
    "body",
    [b'{"a": [' + b"{}," * 1_000_000 + b"1]}", b"[" * 12_000_000, b"[" + b"0," * 5_000_000 + b"0]"],
    ids=["a million objects", "nothing but brackets", "five million numbers"],
)
def test_json_of_too_many_parts_is_refused_before_it_is_read(server, body):
    before = cpu_s(server)
    status, _, content = request(server, "POST", "/v1/chat/completions", body)
    assert status == 400
    assert b"want one picture and one message" in content
    assert cpu_s(server) - before < 0.5


def cpu_s(server: ServeProcess) -> float:
    fields = Path(f"/proc/{server.process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


SURROGATE = "\\ud83d"


@pytest.mark.parametrize(
    "field",
    [
        '"segzero": {"deadline_s": 1' + "0" * 400 + "}",
        '"segzero": {"deadline_s": -1' + "0" * 400 + "}",
        '"segzero": {"deadline_s": 1e400}',
        '"segzero": {"budget": 1' + "0" * 400 + "}",
        f'"segzero": {{"budget": "{SURROGATE}"}}',
        f'"segzero": {{"deadline_s": "{SURROGATE}"}}',
        '"max_tokens": 1' + "0" * 400,
        f'"max_tokens": "{SURROGATE}"',
        '"temperature": 1' + "0" * 400,
        f'"temperature": "{SURROGATE}"',
        f'"n": "{SURROGATE}"',
        f'"stop": [["{SURROGATE}"]]',
        f'"stream": "{SURROGATE}"',
        f'"{SURROGATE}": 1',
        '"top_p": ' + "9" * 5000,
        '"stop": ' + "[" * 900 + "]" * 900,
    ],
)
def test_a_value_that_cannot_be_is_the_clients_fault(server, chat, field):  # noqa: F811
    body = json.dumps(chat)[:-1].replace(', "temperature": 0', "") + ", " + field + "}"
    status, _, content = request(server, "POST", "/v1/chat/completions", body.encode())
    assert status == 400, content
    assert json.loads(content)["error"]["type"] == "invalid_request_error"


def test_a_model_that_cannot_be_spelt_is_no_model_here(server, chat):  # noqa: F811
    body = json.dumps({**chat, "model": "MODEL"}).replace("MODEL", SURROGATE)
    assert request(server, "POST", "/v1/chat/completions", body.encode())[0] == 404


# ---- room for bodies ----


def test_an_address_takes_no_room_from_others_and_gets_its_own_back():
    async def fill():
        room = BodyRoom(most=100, of_one=60)
        async with room.hold("a", 60):
            with pytest.raises(Refusal) as refusal:
                async with room.hold("a", 1, patience_s=0.0):
                    pass
            assert (refusal.value.status, refusal.value.wait_s) == (503, 1)
            async with room.hold("b", 40):
                with pytest.raises(Refusal):
                    async with room.hold("c", 1, patience_s=0.0):
                        pass
            async with room.hold("c", 40, patience_s=0.0):
                pass
        async with room.hold("a", 60, patience_s=0.0):
            return True

    assert asyncio.run(fill())


def test_a_body_that_waits_gets_its_room_when_another_is_done():
    async def hand_over():
        room, order = BodyRoom(most=100, of_one=60), []

        async def send(name, size):
            async with room.hold("a", size, patience_s=LIMIT_S):
                order.append(name)
                await asyncio.sleep(0)

        await asyncio.gather(send("first", 60), send("second", 50), send("third", 10))
        return order

    assert asyncio.run(hand_over()) == ["first", "second", "third"]


def test_the_limits_leave_room_for_more_than_one_address():
    assert 2 * MAX_BODIES_BYTES_OF_ONE <= MAX_BODIES_BYTES
