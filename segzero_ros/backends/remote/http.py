"""One HTTP request at a time to a server that may be slow, dead, or send anything.

The request runs in a thread of its own, so whoever waits for it can stop waiting at any moment: while a name is looked
up, while connecting, between two bytes. ``close`` then ends the connection at once. The standard library's client is
enough for that and quicker than httpx (docs/decisions/0008); redirects are not followed and proxies not used.
Covered: limits on lines, headers and bytes; https with verification; every fault of the outside is a ``ServerFault``.
Not covered: connections kept from one request to the next (measured in docs/remote.md: a handshake is cheap on a LAN).
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import os
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from segzero_ros.backends.remote.secret import HOST_VARIABLE, KEY_VARIABLE, owner_of, without
from segzero_ros.errors import Code, RejectedInput

CONNECT_S = 3.0  # a machine on the same network answers in milliseconds, or not at all
MAX_RESPONSE_BYTES = 16 << 20  # 1,300 tokens with log-probabilities are 1 MB
MAX_ERROR_BYTES = 16 << 10
_BRACKETED = re.compile(r"\[[0-9A-Fa-f:.]+\](?::[0-9]*)?")  # an IPv6 address as an authority
_NO_HOST = re.compile(r"[\s<>\"'`{}|\\^%*,;()]")  # a host of these is looked up nowhere
_READ = 1 << 16
_AGENT = "segzero_ros"


class ServerFault(RejectedInput):
    """What the server did wrong. ``retry``: the same request may succeed a moment later, if no text came yet.

    ``status``: of HTTP, 0 without an answer. ``wait_s``: what the server asked to be waited (Retry-After).
    """

    def __init__(
        self, code: Code, detail: str, *, retry: bool = False, status: int = 0, wait_s: float | None = None
    ) -> None:
        super().__init__(code, detail)
        self.retry, self.status, self.wait_s = retry, status, wait_s


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is: ``path`` is what comes before "/chat/completions", without a slash at its end."""

    secure: bool
    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """The address for people and logs; it never holds a key."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}{self.path}"

    @property
    def here(self) -> bool:
        """Whether the server is on this machine, or at the end of a tunnel that begins here."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def read_endpoint(server: str) -> Endpoint:
    """Read ``http(s)://HOST[:PORT][/v1]``; ``RejectedInput`` CONFIG_VALUE for anything else."""
    server = server.strip()
    try:
        parts = urlsplit(server)
        port = parts.port
        (parts.hostname or "").encode("idna")  # as looking it up does: no part of a name empty or too long
    except ValueError:
        raise _no_address(server) from None
    if not server.isprintable() or " " in server or _NO_HOST.search(parts.netloc) or not parts.path.isascii():
        raise _no_address(server)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise _no_address(server)
    if port == 0 or ("[" in parts.netloc and not _BRACKETED.fullmatch(parts.netloc.rpartition("@")[2])):
        raise _no_address(server)
    if parts.username is not None or parts.password is not None:
        raise RejectedInput(
            Code.CONFIG_VALUE, f"got a server address with a name or password in it; put the key into {KEY_VARIABLE}"
        )
    secure = parts.scheme == "https"
    return Endpoint(secure, parts.hostname, port or (443 if secure else 80), parts.path.rstrip("/") or "/v1")


def _no_address(server: str) -> RejectedInput:
    shown = re.sub(r"//[^/]*@", "//***@", server[:200])  # a password is not to be shown, however the rest is spelled
    return RejectedInput(Code.CONFIG_VALUE, f"got server = {shown!r}, want http://HOST:PORT/v1 or https://...")


def read_key(endpoint: Endpoint) -> str:
    """Return the API key of the environment, "" without one.

    ``RejectedInput`` CONFIG_VALUE for a key that no header can carry, that would cross a network in clear, or that
    belongs to another server.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        return ""
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise RejectedInput(Code.CONFIG_VALUE, f"{KEY_VARIABLE} holds spaces or characters no HTTP header may have")
    if not (endpoint.secure or endpoint.here):
        raise RejectedInput(
            Code.CONFIG_VALUE,
            f"{KEY_VARIABLE} is set, but {endpoint.url} would carry it readable over the network; use https or a "
            f"tunnel (ssh -L), or unset it",
        )
    owner = owner_of(key)
    if owner is not None and owner not in ((endpoint.host, endpoint.port), (endpoint.host, None)):
        name = owner[0] if owner[1] is None else f"{owner[0]}:{owner[1]}"
        raise RejectedInput(
            Code.CONFIG_VALUE,
            f"{KEY_VARIABLE} belongs to {name}, not to {endpoint.url}; start with {HOST_VARIABLE} set to the server "
            "that may have it",
        )
    return key


@dataclass(frozen=True, slots=True)
class Head:
    """A response's status and headers, the names in lower case."""

    status: int
    headers: Mapping[str, str]


_End = None
_Item = Head | bytes | BaseException | None


class HttpExchange:
    """One request and its response; ``receive`` it piece by piece, ``close`` it whenever it is no longer wanted."""

    def __init__(
        self,
        endpoint: Endpoint,
        path: str,
        body: bytes | None,
        key: str,
        *,
        connect_s: float,
        stall_s: float,
        total_s: float,
    ) -> None:
        """Begin: POST ``body``, or GET without one.

        ``stall_s``: no byte for that long is a fault; ``total_s``: so is all of it taking longer, whatever drips.
        """
        self._endpoint, self._path, self._body, self._key = endpoint, path, body, key
        self._connect_s, self._stall_s, self._total_s = connect_s, stall_s, total_s
        self._ends = time.monotonic() + total_s
        self._items: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._socket: socket.socket | None = None
        self._connected = False  # handshake included
        self.head: Head | None = None
        self._thread = threading.Thread(target=self._run, name="segzero-http", daemon=True)
        self._thread.start()

    def receive(self, wait_s: float) -> bytes | None:
        """Return the body's next bytes, b"" at its end, None when nothing has come within ``wait_s``.

        Raises ``ServerFault``. ``head`` is there with the first bytes.
        """
        if time.monotonic() >= self._ends:
            self.close()
            code = Code.SERVER_STALLED if self._connected else Code.SERVER_UNREACHABLE
            raise ServerFault(code, f"{self._endpoint.url} did not finish in {self._total_s:g} s; see its load and log")
        try:
            item = self._items.get(timeout=wait_s)
        except queue.Empty:
            return None
        if isinstance(item, BaseException):
            raise self._fault(item) from None
        if isinstance(item, Head):
            self.head = item
            return None
        return b"" if item is _End else item

    def close(self) -> None:
        """End the connection, now; may be called at any time and twice."""
        self._closed.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # Past ssl's own, which takes the connection from under the thread that reads it.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    # ---- the thread ----

    def _run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        try:
            connection = http.client.HTTPConnection(self._endpoint.host, self._endpoint.port, timeout=self._connect_s)
            self._connect(connection)
            self._converse(connection)
            self._items.put(_End)
        except BaseException as error:  # noqa: BLE001 - whatever it is: who waits for it has to hear of it
            self._items.put(error)
        finally:
            if connection is not None:
                connection.close()

    def _connect(self, connection: http.client.HTTPConnection) -> None:
        """Connect; the handshake comes after ``close`` knows the socket, so that one that drips can be ended."""
        connection.connect()
        self._socket = connection.sock
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._endpoint.secure:
            context = ssl.create_default_context()
            name, plain = self._endpoint.host, connection.sock
            secure = context.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)
            self._socket = connection.sock = secure
            if not self._closed.is_set():
                secure.do_handshake()
        self._socket.settimeout(self._stall_s)
        self._connected = True

    def _converse(self, connection: http.client.HTTPConnection) -> None:
        if self._closed.is_set():
            return
        method = "GET" if self._body is None else "POST"
        connection.request(method, self._endpoint.path + self._path, self._body, self._headers())
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        self._items.put(Head(response.status, names))
        limit = MAX_RESPONSE_BYTES if response.status == 200 else MAX_ERROR_BYTES
        while not self._closed.is_set() and (piece := response.read1(_READ)):
            limit -= len(piece)
            if limit < 0:
                if response.status != 200:
                    return
                raise ServerFault(
                    Code.SERVER_REFUSED, f"{self._endpoint.url} sent more than {MAX_RESPONSE_BYTES} bytes"
                )
            self._items.put(piece)

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "text/event-stream, application/json", "User-Agent": _AGENT, "Connection": "close"}
        if self._body is not None:
            headers["Content-Type"] = "application/json"
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        return headers

    def _fault(self, error: BaseException) -> ServerFault:
        if isinstance(error, ServerFault):
            return error
        url, what = self._endpoint.url, without(self._key, f"{type(error).__name__}: {error}")
        if isinstance(error, TimeoutError) and self._connected:
            return ServerFault(Code.SERVER_STALLED, f"{url} sent nothing for {self._stall_s:g} s; see its load and log")
        if isinstance(error, ssl.SSLError):
            return ServerFault(
                Code.SERVER_UNREACHABLE, f"{url} has no certificate that is trusted here ({what}); see SSL_CERT_FILE"
            )
        if isinstance(error, http.client.IncompleteRead | ConnectionError | http.client.RemoteDisconnected):
            return ServerFault(
                Code.SERVER_UNREACHABLE, f"{url} refused or dropped the connection ({what}); is it up?", retry=True
            )
        if isinstance(error, http.client.HTTPException | ValueError):
            return ServerFault(Code.SERVER_REFUSED, f"{url} does not speak HTTP here ({what}); check the address")
        return ServerFault(
            Code.SERVER_UNREACHABLE, f"{url} cannot be reached ({what}); check address and network", retry=True
        )
