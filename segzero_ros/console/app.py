"""The console's pages and its websocket, as a Starlette app."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from segzero_ros import __version__
from segzero_ros.console import asks
from segzero_ros.console.access import Access
from segzero_ros.console.hub import Hub
from segzero_ros.console.talk import Microphone
from segzero_ros.console.viewer import Viewer

PAGE = Path(__file__).parent / "page"
FILES = {"/": "index.html", "/console.css": "console.css", "/console.js": "console.js"}
COMMAND_S = 120.0  # that the node may take for a command typed here
MOST_VIEWERS = 32
Tell = Callable[[bool, str], None]


class RobotClient(Protocol):
    """What is needed of ``ros/console/client.py:ConsoleClient``."""

    node_name: str

    def ask(self, text: str, *, track: bool, timeout_s: float, tell: Tell) -> None:
        """See there."""
        ...

    def stop(self, tell: Tell) -> None:
        """See there."""
        ...

    def save_failure(self, tell: Tell) -> None:
        """See there."""
        ...

    def hear(self, pcm: bytes) -> bool:
        """See there."""
        ...


def make_app(hub: Hub, robot: RobotClient, token: str = "") -> ASGIApp:
    """Return the app; ``token``: what is asked for, "" = this machine's browsers only, without one."""
    console = _Console(hub, robot)
    routes = [
        *(Route(path, _file(PAGE / name)) for path, name in FILES.items()),
        Route("/answers/{number:int}/{what}", console.picture),
        WebSocketRoute("/live", console.live),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Access, token=token)])


def _file(path: Path) -> Callable[[Request], Response]:
    return lambda _: FileResponse(path)


class _Console:
    """The endpoints."""

    def __init__(self, hub: Hub, robot: RobotClient) -> None:
        self._hub, self._robot = hub, robot
        self._microphone = Microphone(robot.hear)

    async def picture(self, request: Request) -> Response:
        """Return an answer's picture or its label image."""
        answer = self._hub.history.find(request.path_params["number"])
        kinds = {"picture.jpg": ("picture", "image/jpeg"), "mask.png": ("mask", "image/png")}
        what, kind = kinds.get(request.path_params["what"], ("", ""))
        content = getattr(answer, what) if answer is not None and what else b""
        if not content:
            return Response("no such picture; it may have been long ago\n", 404)
        return Response(content, media_type=kind)

    async def live(self, socket: WebSocket) -> None:
        """Serve one page until it leaves."""
        await socket.accept()
        if len(self._hub.viewers) >= MOST_VIEWERS:
            await socket.close(1013, f"{MOST_VIEWERS} pages are open already; close one")
            return
        viewer = Viewer()
        self._hub.join(viewer, {"node": self._robot.node_name, "version": __version__})
        sending = asyncio.ensure_future(viewer.run(socket.send_text, socket.send_bytes))
        receiving = asyncio.ensure_future(self._receive(socket, viewer))
        try:
            await asyncio.wait((sending, receiving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.leave(viewer)
            self._microphone.end(viewer)
            for task in (sending, receiving):
                task.cancel()
            await asyncio.gather(sending, receiving, return_exceptions=True)
            with contextlib.suppress(RuntimeError):  # it is closed already
                await socket.close(1008)

    async def _receive(self, socket: WebSocket, viewer: Viewer) -> None:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1000))
            try:
                if message.get("bytes") is not None:
                    self._microphone.speak(viewer, asks.check_pcm(message["bytes"]))
                else:
                    self._do(asks.read_ask(message["text"]), viewer)
            except asks.BadAskError as error:
                viewer.tell_values({"type": "note", "good": False, "text": str(error)})

    def _do(self, ask: asks.PageAsk, viewer: Viewer) -> None:
        tell = self._teller(viewer)
        if isinstance(ask, asks.Seen):
            viewer.seen()
        elif isinstance(ask, asks.Ask):
            self._robot.ask(ask.text, track=ask.track, timeout_s=COMMAND_S, tell=tell)
        elif isinstance(ask, asks.Stop):
            self._robot.stop(tell)
        elif isinstance(ask, asks.Save):
            self._robot.save_failure(tell)
        elif isinstance(ask, asks.Watch):
            viewer.watches = ask.on
        elif ask.on:
            refusal = self._microphone.begin(viewer)
            viewer.tell_values({"type": "talk", "on": not refusal, "detail": refusal})
        else:
            self._microphone.end(viewer)

    def _teller(self, viewer: Viewer) -> Tell:
        """Return what tells this page what came of something; from any thread."""
        loop = asyncio.get_running_loop()

        def tell(good: bool, text: str) -> None:
            with contextlib.suppress(RuntimeError):  # the server has ended meanwhile
                loop.call_soon_threadsafe(viewer.tell_values, {"type": "note", "good": good, "text": text})

        return tell
