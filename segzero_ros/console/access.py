"""Who may ask: a token for every address but this machine's, and no other site's pages at all.

A browser sends whatever page it shows to any address. So a request has to name this server as its host (against names
that lead here later), and one with an Origin has to come from a page of this server.
"""

import hmac
import html
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

COOKIE = "segzero_token"
LOCAL_NAMES = frozenset({"127.0.0.1", "::1", "localhost"})
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
    "Cache-Control": "no-store",
}
MOST_FORM_BYTES = 1000
_ASK = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>segzero console</title><link rel="stylesheet" href="/console.css">
<main class="gate"><h1>segzero console</h1><p>{why}</p><form method="post" action="/token">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" autofocus required>
<button>Open</button></form></main></html>"""


def new_token() -> str:
    """Return a token that nobody guesses."""
    return secrets.token_urlsafe(24)


class Access:
    """Lets through what may ask; ``token`` "": this machine's own browsers without one."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or have the app answer."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(HTTPConnection(scope))
        if refusal is None and scope["type"] == "http":
            refusal = await self._opened(Request(scope, receive))
        if refusal is None:
            await self._app(scope, receive, _with_headers(send) if scope["type"] == "http" else send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "refused"})
        else:
            await refusal(scope, receive, _with_headers(send))

    def _refusal(self, asked: HTTPConnection) -> Response | None:
        host = asked.headers.get("host", "")
        if not self._token and _name(f"//{host}") not in LOCAL_NAMES:
            return Response("this console serves this machine only; start it with --token for others\n", 403)
        origin = asked.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return Response("asked from a page of another site\n", 403)
        is_open = asked.url.path in ("/token", "/console.css") and asked.scope["type"] == "http"
        if is_open or not self._token or self._knows(_given(asked)):
            return None
        if asked.url.path == "/" and "token" not in asked.query_params:
            return _question("This console asks for the token that it printed when it was started.")
        return None if asked.url.path == "/" else Response("asked without the token\n", 401)

    async def _opened(self, request: Request) -> Response | None:
        """Answer a token that comes in the address or a form: with a cookie, so that it does not stay in either."""
        if not self._token:
            return None
        if request.url.path == "/token" and request.method == "POST":
            body = b""
            async for piece in request.stream():
                body += piece
                if len(body) > MOST_FORM_BYTES:
                    return Response("too long for a token\n", 413)
            given = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]
        elif request.url.path == "/" and "token" in request.query_params:
            given = request.query_params["token"]
        else:
            return None
        if not self._knows(given.strip()):
            return _question("That is not the token; it was printed when the console was started.")
        answer = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, self._token, httponly=True, samesite="strict", secure=secure)
        return answer

    def _knows(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode())


def _given(asked: HTTPConnection) -> str:
    """Return the token of a request, from its cookie or as a bearer's, "" without one."""
    kind, _, bearer = asked.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return bearer.strip()
    try:
        cookies = SimpleCookie(asked.headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""


def _name(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _question(why: str) -> Response:
    return HTMLResponse(_ASK.format(why=html.escape(why)), 401)


def _with_headers(send: Send) -> Send:
    async def sending(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            given = message["headers"]
            assert isinstance(given, list)  # noqa: S101 - Starlette's own
            message = {**message, "headers": [*given, *((k.lower().encode(), v.encode()) for k, v in HEADERS.items())]}
        await send(message)

    return sending  # type: ignore[return-value]
