"""A server that does to its clients exactly what a test tells it to: raw bytes, silence, a cut."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator

LIMIT_S = 60.0  # for a busy machine; a test that needs it has failed
ANSWER = '<think>The mug.</think><answer>[{"bbox_2d": [10,20,60,80], "point_2d": [30,40]}]</answer>'


class Request:
    """One request as it came, and the connection to answer it on."""

    def __init__(self, connection: socket.socket, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self.connection, self.method, self.path, self.headers = connection, method, path, headers
        self.json = json.loads(body) if body else None

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.connection.sendall(part)

    def wait_for_the_client_to_go(self) -> None:
        with contextlib.suppress(OSError):
            while self.connection.recv(4096):
                pass


Script = Callable[[Request], None]


class ScriptedServer:
    """Answers /v1/models itself, and each chat request by the next of ``scripts``, the last one for ever."""

    def __init__(self, *scripts: Script, models: Script | None = None, owner: str = "vllm") -> None:
        self.scripts, self.requests = list(scripts), []
        self.models = models or (lambda request: request.send(*whole(200, model_list(owner))))
        self.gone = threading.Semaphore(0)  # released when a client has closed a connection a script waits on
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def __enter__(self) -> "ScriptedServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and cut every connection, as a killed process does."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in (self._accepting, *self._threads):
            thread.join(LIMIT_S)
            assert not thread.is_alive()

    @property
    def chats(self) -> list[Request]:
        return [request for request in self.requests if request.method == "POST"]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            request = read_request(connection)
            if request is None:
                return
            self.requests.append(request)
            if request.path.endswith("/models"):
                self.models(request)
                return
            script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
            script(request)
        self.gone.release()


def read_request(connection: socket.socket) -> Request | None:
    with connection.makefile("rb") as stream:
        first = stream.readline().decode("latin-1").split()
        if len(first) < 2:
            return None
        lines = iter(lambda: stream.readline().decode("latin-1").rstrip("\r\n"), "")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = stream.read(int(headers.get("content-length", "0")))
    return Request(connection, first[0], first[1], headers, body)


def model_list(owner: str, *names: str) -> dict:
    return {"object": "list", "data": [{"id": name, "owned_by": owner} for name in names or ("mini",)]}


def whole(status: int, content: object, *headers: str) -> tuple[bytes, bytes]:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    lines = [f"HTTP/1.1 {status} Whatever", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode(), body


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def event(content: object) -> bytes:
    return b"data: " + (content if isinstance(content, bytes) else json.dumps(content).encode()) + b"\n\n"


def said(text: str, **more: object) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None, **more}]})


def finished(reason: str = "stop", **more: object) -> bytes:
    return event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason, **more}]})


def pieces(text: str, length: int = 4) -> Iterator[str]:
    return (text[at : at + length] for at in range(0, len(text), length))


def saying(text: str = ANSWER, reason: str = "stop") -> Script:
    """A well-behaved answer."""
    return lambda request: request.send(STREAM, *map(said, pieces(text)), finished(reason), DONE)


def refusing(status: int, message: str = "no", *headers: str) -> Script:
    return lambda request: request.send(*whole(status, {"error": {"message": message}}, *headers))


def sending(*parts: bytes) -> Script:
    """These bytes, and then the connection is cut."""
    return lambda request: request.send(*parts)


def stalling(*parts: bytes) -> Script:
    """These bytes, and then nothing until the client goes away."""

    def script(request: Request) -> None:
        request.send(*parts)
        request.wait_for_the_client_to_go()

    return script
