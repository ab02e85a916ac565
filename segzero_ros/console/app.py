"""The console's pages and its websocket, as a Starlette app."""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol

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
from segzero_ros.console.correct import Corrector
from segzero_ros.console.hub import Hub
from segzero_ros.console.replays import Replays
from segzero_ros.console.talk import Microphone
from segzero_ros.console.viewer import Viewer
from segzero_ros.errors import RejectedInput
from segzero_ros.pipeline import Segmentation, error_text

_log = logging.getLogger(__name__)
PAGE = Path(__file__).parent / "page"
FILES = {
    "/": "index.html",
    "/console.css": "console.css",
    "/console.js": "console.js",
    "/microphone.js": "microphone.js",
}
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


class CorrectionFile(Protocol):
    """What is needed of ``ros/console/corrections.py:CorrectionFile``."""

    def write(self, image: Any, answer: Any, corrected: Segmentation, prompts: Sequence[Any]) -> str:
        """See there."""
        ...


def make_app(hub: Hub, robot: RobotClient, corrector: Corrector, kept: CorrectionFile, token: str = "") -> ASGIApp:
    """Return the app; ``token``: what is asked for, "" = this machine's browsers only, without one.

    ``corrector``: masks what people point at; ``kept``: takes what they keep.
    """
    console = _Console(hub, robot, corrector, kept)
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

    def __init__(self, hub: Hub, robot: RobotClient, corrector: Corrector, kept: CorrectionFile) -> None:
        self._hub, self._robot, self._corrector, self._kept = hub, robot, corrector, kept
        self._microphone = Microphone(robot.hear)
        self._replays = Replays()
        self._tasks: set[asyncio.Future[None]] = set()

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
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # it is closed already
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
                _note(viewer, str(error))

    async def _correct(self, ask: asks.Correct, viewer: Viewer) -> None:
        answer = self._hub.history.find(ask.number)
        if answer is None:
            raise asks.BadAskError(f"got answer {ask.number} to correct, which is not kept any more")
        viewer.correction = await self._corrector.correct(answer, ask.targets)
        viewer.tell_values(viewer.correction.values(ask.serial))

    async def _keep(self, ask: asks.Keep, viewer: Viewer) -> None:
        answer, made = self._hub.history.find(ask.number), viewer.correction
        if answer is None or answer.shot is None or made is None or made.number != ask.number:
            raise asks.BadAskError("nothing was corrected here yet; click on the picture first")
        given = (answer.shot.message, answer.message, made.result, made.prompts())
        file = await asyncio.to_thread(self._kept.write, *given)
        answer.corrections += 1
        self._hub.tell_all({"type": "kept", "number": answer.number, "corrections": answer.corrections})
        _note(viewer, f"kept in {file}; rows: segzero data from-recording {file} --out rows", good=True)

    def _beside(self, viewer: Viewer, work: Coroutine[Any, Any, None]) -> None:
        """Do what takes a while; the page's next words, a stop above all, do not wait for it."""

        async def doing() -> None:
            try:
                await work
            except asks.BadAskError as error:
                _note(viewer, str(error))
            except RejectedInput as error:
                _note(viewer, error.detail)
            except Exception as error:  # noqa: BLE001 - the page is told
                _log.exception("what a page asked failed")
                _note(viewer, f"INTERNAL: {error_text(error)}; please report it with the console's log")

        task = asyncio.ensure_future(doing())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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
        elif isinstance(ask, asks.Replay):
            say = lambda line: self._hub.tell_all({"type": "replay", "line": line})  # noqa: E731
            self._beside(viewer, self._replays.run(self._hub.parts, say))
        elif isinstance(ask, asks.Watch):
            viewer.watches = ask.on
        elif isinstance(ask, asks.Correct):
            self._beside(viewer, self._correct(ask, viewer))
        elif isinstance(ask, asks.Keep):
            self._beside(viewer, self._keep(ask, viewer))
        else:
            self._talk(ask, viewer)

    def _talk(self, ask: asks.Talk, viewer: Viewer) -> None:
        if ask.on:
            refusal = self._microphone.begin(viewer)
            viewer.tell_values({"type": "talk", "on": not refusal, "detail": refusal})
        else:
            self._microphone.end(viewer)

    def _teller(self, viewer: Viewer) -> Tell:
        """Return what tells this page what came of something; from any thread."""
        loop = asyncio.get_running_loop()

        def tell(good: bool, text: str) -> None:
            with contextlib.suppress(RuntimeError):  # the server has ended meanwhile
                loop.call_soon_threadsafe(functools.partial(_note, viewer, text, good=good))

        return tell


def _note(viewer: Viewer, text: str, *, good: bool = False) -> None:
    viewer.tell_values({"type": "note", "good": good, "text": text})
