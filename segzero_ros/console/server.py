"""The console as a server: binds the address, runs until SIGINT or SIGTERM."""

import asyncio
import signal
import socket

import uvicorn
from starlette.types import ASGIApp

from segzero_ros.console.address import Certificate
from segzero_ros.console.hub import Hub

MOST_MESSAGE_BYTES = 64_000  # of a page: a second of audio, or a correction
GRACE_S = 1  # for pages when the console ends


def make_server(app: ASGIApp, certificate: Certificate | None = None) -> uvicorn.Server:
    """Return the server of the app, which is told where it listens when it is run; https with a ``certificate``."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="websockets-sansio",
        ws_max_size=MOST_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=certificate.chain if certificate else None,
        ssl_keyfile=certificate.key if certificate else None,
    )
    return uvicorn.Server(config)


def serve(app: ASGIApp, hub: Hub, listening: socket.socket, certificate: Certificate | None = None) -> None:
    """Serve until SIGINT or SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # uvicorn's own handlers end it and then raise the signal once more
    asyncio.run(_run(make_server(app, certificate), hub, listening))


async def _run(server: uvicorn.Server, hub: Hub, listening: socket.socket) -> None:
    hub.attach(asyncio.get_running_loop())
    try:
        await server.serve([listening])
    finally:
        hub.attach(None)
