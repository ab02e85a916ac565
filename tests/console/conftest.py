"""A console with a robot that only notes what is asked of it, served on a port of its own."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs starlette; `make test` installs it")
pytest.importorskip("uvicorn", reason="needs uvicorn; `make test` installs it")
pytest.importorskip("websockets", reason="needs websockets; `make test` installs it")

from websockets.sync.client import ClientConnection, connect

from segzero_ros.backends.fake import PROFILE, FakeReasoner, FakeSegmenter
from segzero_ros.command import Command
from segzero_ros.config import NodeConfig
from segzero_ros.console.address import Certificate, address, listen
from segzero_ros.console.app import make_app
from segzero_ros.console.correct import Corrector
from segzero_ros.console.hub import Hub
from segzero_ros.console.server import make_server
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Pipeline, Segmentation
from segzero_ros.profile import get_profile

PATIENCE_S = 30.0
FRAME = Frame(np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8), 5_000_000_007, "camera")


class Picture:
    """As much of an image message as the console reads."""

    def __init__(self, frame: Frame) -> None:
        self.width, self.height = frame.size
        self.data = frame.rgb.tobytes()


class FakeRobot:
    """Notes what is asked; ``listens``: whether anybody hears audio."""

    node_name = "/segzero"

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.audio: list[bytes] = []
        self.listens = True
        self.answer: tuple[bool, str] = (True, "done")

    def ask(self, text: str, *, track: bool, timeout_s: float, tell: Callable[[bool, str], None]) -> None:
        self.asked.append(("ask", text, track))

    def stop(self, tell: Callable[[bool, str], None]) -> None:
        self.asked.append(("stop",))
        tell(*self.answer)

    def save_failure(self, tell: Callable[[bool, str], None]) -> None:
        self.asked.append(("save",))
        tell(*self.answer)

    def hear(self, pcm: bytes) -> bool:
        self.audio.append(pcm)
        return self.listens


class Shelf:
    """Takes what is kept."""

    def __init__(self) -> None:
        self.kept: list[tuple[Any, ...]] = []

    def write(self, *given: Any) -> str:
        self.kept.append(given)
        return "/corrections/1.mcap"


class Served:
    """A running console."""

    def __init__(self, token: str = "", certificate: Certificate | None = None) -> None:
        self.hub, self.robot, self.shelf, self.parameters = (
            Hub(),
            FakeRobot(),
            Shelf(),
            {"host": "/host.sock", "thinking_budget": 64},
        )
        self.pipeline = Pipeline(get_profile(PROFILE), FakeReasoner(), FakeSegmenter())
        self.pipeline.close = lambda: None  # type: ignore[attr-defined]
        self.opened: list[NodeConfig] = []
        corrector = Corrector(lambda: self.parameters, self._open)
        self._listening = listen("127.0.0.1", 0)
        self.url = address(self._listening, "", https=certificate is not None).rstrip("/")
        self._server = make_server(make_app(self.hub, self.robot, corrector, self.shelf, token), certificate)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _open(self, config: NodeConfig) -> Any:
        self.opened.append(config)
        return self.pipeline

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self.hub.attach(asyncio.get_running_loop())
        await self._server.serve([self._listening])
        self.hub.attach(None)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def page(self, **options: Any) -> "Page":
        return Page(self.url.replace("http", "ws") + "/live", **options)

    def camera(self, frame: Frame = FRAME) -> None:
        self.hub.on_image(frame.stamp_ns, lambda: frame, Picture(frame))

    def answer(self, text: str = "the red mug", frame: Frame = FRAME) -> Segmentation:
        result = self.pipeline.ground(frame, Command("7", text))
        self.hub.on_answer(result, frame.stamp_ns, "the answer's message")
        return result


class Page:
    """A page as the server sees it."""

    def __init__(self, url: str, **options: Any) -> None:
        self.socket: ClientConnection = connect(url, max_size=None, compression=None, **options)

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, kind: str, **values: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **values}))

    def hear(self, kind: str) -> dict[str, Any]:
        """The next event of this type."""
        while True:
            said = self.socket.recv(timeout=PATIENCE_S)
            if isinstance(said, str) and (values := json.loads(said))["type"] == kind:
                return dict(values)

    def picture(self) -> bytes:
        """The next picture."""
        while True:
            said = self.socket.recv(timeout=PATIENCE_S)
            if isinstance(said, bytes):
                return said


@pytest.fixture
def served() -> Iterator[Served]:
    running = Served()
    yield running
    running.close()


@pytest.fixture
def guarded() -> Iterator[Served]:
    running = Served("correct-horse-battery")
    yield running
    running.close()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
