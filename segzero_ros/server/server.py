"""`segzero serve` as a process: opens the reasoner, binds the address, runs until it is told to stop."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import socket
from dataclasses import dataclass

import uvicorn

from segzero_ros.backends.remote.secret import KEY_VARIABLE
from segzero_ros.bundle import Bundle
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.profile import Profile
from segzero_ros.reasoner import Reasoner
from segzero_ros.server.app import Served, make_app
from segzero_ros.server.peers import PeerProtocol
from segzero_ros.server.turns import Turns

GRACE_S = 2  # for answers at work when the server is told to stop


@dataclass(frozen=True, slots=True)
class Settings:
    """Where and how to serve. ``name``: the model's, for clients. ``most_waiting``: requests in the queue.

    ``certificate``, ``private_key``: files for https, "" = plain http.
    """

    host: str
    port: int
    name: str
    most_waiting: int
    certificate: str = ""
    private_key: str = ""


class RenderedProfile(Profile):
    """A profile whose messages come rendered: a client's own profile has put its prompt around the question."""

    __slots__ = ()

    def render(self, command_text: str) -> str:
        """Return the message as it came."""
        return command_text


def as_rendered(bundle: Bundle) -> Bundle:
    """Return the bundle with a profile that takes whole messages; everything else of it stays."""
    values = {field.name: getattr(bundle.profile, field.name) for field in dataclasses.fields(bundle.profile)}
    return dataclasses.replace(bundle, profile=RenderedProfile(**values))


def serve(bundle: Bundle, reasoner: Reasoner, settings: Settings, *, announce: str) -> None:
    """Serve until SIGINT or SIGTERM; prints one line with the address as soon as connections are taken.

    ``RejectedInput`` CONFIG_VALUE for an address that cannot be had.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    queue = Turns(reasoner, most_waiting=settings.most_waiting)
    queue.watch()
    app = make_app(Served(settings.name, bundle.profile, key), queue)
    config = uvicorn.Config(
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
    listening = _listen(settings.host, settings.port)
    host, port = listening.getsockname()[:2]
    scheme = "https" if settings.certificate else "http"
    print(f"{announce} at {scheme}://{f'[{host}]' if ':' in host else host}:{port}/v1", flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # uvicorn's own handlers end it and then raise the signal once more
    try:
        _Server(config, queue).run([listening])
    finally:
        queue.stop()


class _Server(uvicorn.Server):
    """Ends the requests at work before it waits for their connections."""

    def __init__(self, config: uvicorn.Config, queue: Turns) -> None:
        super().__init__(config)
        self._queue = queue

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down; see uvicorn."""
        await asyncio.to_thread(self._queue.stop)
        await super().shutdown(sockets)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise RejectedInput(Code.CONFIG_VALUE, f"cannot listen on {host} port {port} ({error}); give another") from None
