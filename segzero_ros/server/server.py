"""`segzero serve` as a process: binds the address, has the reasoner opened elsewhere, runs until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette

from segzero_ros.backends.remote.secret import KEY_VARIABLE
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.host.messages import Open
from segzero_ros.host.process import Started
from segzero_ros.host.supervisor import HostState
from segzero_ros.profile import Profile
from segzero_ros.server.app import Served, make_app
from segzero_ros.server.peers import PeerProtocol
from segzero_ros.server.turns import Turns

GRACE_S = 2  # for answers at work when the server is told to stop
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """Where and how to serve. ``name``: the model's, for clients.

    ``certificate``, ``private_key``: files for https, "" = plain http.
    """

    host: str
    port: int
    name: str
    certificate: str = ""
    private_key: str = ""


def serve(start: Callable[[], Started], wanted: Open, profile: Profile, settings: Settings, *, announce: str) -> None:
    """Serve until SIGINT or SIGTERM; prints one line with the address once the engines are open.

    ``start`` and ``wanted``: the host and what it opens. HTTP is answered before that: 503, /health says "loading".
    Raises ``RejectedInput``: CONFIG_VALUE for an address that cannot be had, and why the engines did not open.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    listening = _listen(settings.host, settings.port)
    address = _address(listening, settings)
    _log.info("listening at %s; the engines are being opened", address)
    ending: list[Callable[[], object]] = []
    announced = threading.Event()

    def note(state: HostState) -> None:
        if state.phase == "ready" and not announced.is_set():
            announced.set()
            engines = state.opened.engines if state.opened is not None else ""
            print(f"{announce}, by {engines}, at {address}", flush=True)
        elif state.phase == "failed":
            for end in ending:
                end()

    turns = Turns(start, wanted, on_change=note)
    server = _Server(_config(make_app(Served(settings.name, profile, key), turns), settings), turns)
    ending.append(server.end)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # uvicorn's own handlers end it and then raise the signal once more
    try:
        if turns.state().phase != "failed":
            server.run([listening])
        fault = server.fault or turns.state().fault
    finally:
        turns.stop()
    if fault is not None:
        raise fault


def _config(app: Starlette, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=PeerProtocol,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=settings.certificate or None,
        ssl_keyfile=settings.private_key or None,
    )


class _Server(uvicorn.Server):
    """Ends the requests at work, and the engines' process, while it waits for their connections."""

    def __init__(self, config: uvicorn.Config, turns: Turns) -> None:
        super().__init__(config)
        self._turns = turns
        self.fault: RejectedInput | None = None

    def end(self) -> None:
        """Stop soon; from any thread."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down; see uvicorn."""
        self.fault = self._turns.state().fault
        await asyncio.gather(asyncio.to_thread(self._turns.stop), super().shutdown(sockets))


def _address(listening: socket.socket, settings: Settings) -> str:
    host, port = listening.getsockname()[:2]
    scheme = "https" if settings.certificate else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/v1"


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise RejectedInput(Code.CONFIG_VALUE, f"cannot listen on {host} port {port} ({error}); give another") from None
