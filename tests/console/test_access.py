"""Who may ask: this machine's browsers, or who knows the token; never a page of another site."""

import http.client
import re

import pytest
from websockets.exceptions import InvalidStatus

from segzero_ros.cli.main import main
from segzero_ros.console import access
from tests.console.conftest import Served, free_port

TOKEN = "correct-horse-battery"


def status_of(words: list[str]) -> object:
    try:
        return main(words)
    except SystemExit as leaving:
        return leaving.code


def get(
    served: Served, path: str = "/", method: str = "GET", body: str = "", **headers: str
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=30)
    connection.request(method, path, body or None, {name.replace("_", "-"): value for name, value in headers.items()})
    return connection.getresponse()


def test_the_page_may_load_nothing_from_elsewhere(served: Served) -> None:
    got = get(served)
    policy = got.getheader("content-security-policy", "")
    assert got.status == 200
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert not re.search(r"(src|href|action)=\"(https?:)?//", got.read().decode())


@pytest.mark.parametrize("path", ["/", "/console.js", "/console.css", "/microphone.js"])
def test_all_of_the_page_is_served_here(served: Served, path: str) -> None:
    got = get(served, path)
    assert got.status == 200 and got.getheader("x-content-type-options") == "nosniff"


@pytest.mark.parametrize(
    "path", ["/../console/app.py", "/answers/1/message", "/answers/1/picture.jpg", "/answers/x/mask.png", "/live"]
)
def test_nothing_else_is(served: Served, path: str) -> None:
    assert get(served, path).status == 404


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:1", "file://"])
def test_a_page_of_another_site_is_refused(served: Served, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        served.page(origin=origin)
    assert refused.value.response.status_code == 403
    assert get(served, Origin=origin).status == 403


def test_a_page_of_this_console_is_let_in(served: Served) -> None:
    with served.page(origin=served.url) as page:
        assert page.hear("hello")["node"] == "/segzero"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "[", "10.0.0.5"])
def test_a_name_that_leads_here_later_is_refused(served: Served, host: str) -> None:
    assert get(served, Host=host).status in (400, 403)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:99", "[::1]:8080"])
def test_this_machines_own_names_are_not(served: Served, host: str) -> None:
    assert get(served, Host=host).status == 200


@pytest.mark.parametrize(
    "path", ["/", "/console.js", "/answers/1/picture.jpg", "/?token=", "/?token=wrong", "/?token=%00%ff"]
)
def test_without_the_token_nothing_is_shown(guarded: Served, path: str) -> None:
    got = get(guarded, path)
    assert got.status == 401 and "segzero <span" not in got.read().decode()


def test_without_the_token_no_websocket_opens(guarded: Served) -> None:
    given = ({}, {"Cookie": "segzero_token=wrong"}, {"Authorization": "Bearer wrong"}, {"Cookie": "segzero_token=é"})
    for headers in given:
        with pytest.raises(InvalidStatus):
            guarded.page(additional_headers=headers)


def test_a_token_in_the_address_becomes_a_cookie_and_leaves_it(guarded: Served) -> None:
    got = get(guarded, f"/?token={TOKEN}")
    cookie = got.getheader("set-cookie", "")
    assert (got.status, got.getheader("location")) == (303, "/")
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    given = cookie.partition(";")[0]
    assert get(guarded, Cookie=given).status == 200
    with guarded.page(additional_headers={"Cookie": given}) as page:
        assert page.hear("hello")


def test_a_token_may_be_typed(guarded: Served) -> None:
    kind = "application/x-www-form-urlencoded"
    assert get(guarded, "/token", "POST", f"token={TOKEN}", Content_Type=kind).status == 303
    assert get(guarded, "/token", "POST", "token=wrong", Content_Type=kind).status == 401
    assert get(guarded, "/token", "POST", "token=" + "x" * 5000, Content_Type=kind).status == 413


def test_a_program_may_send_it_as_a_bearers(guarded: Served) -> None:
    with guarded.page(additional_headers={"Authorization": f"Bearer {TOKEN}"}) as page:
        assert page.hear("hello")


def test_the_token_is_compared_in_constant_time(guarded: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    monkeypatch.setattr(access.hmac, "compare_digest", lambda one, other: compared.append((one, other)) or False)
    assert get(guarded, f"/?token={TOKEN}").status == 401
    assert compared[-1] == (TOKEN.encode(), TOKEN.encode())


def test_tokens_that_are_made_are_long_and_never_the_same() -> None:
    made = {access.new_token() for _ in range(100)}
    assert len(made) == 100 and min(map(len, made)) >= 32


def test_a_port_that_is_taken_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["console", "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"port {port}" in said and "--port" in said


@pytest.mark.parametrize(
    ("words", "wanted"),
    [(["--host", " "], "--host"), (["--token", "short"], "at least 12"),
     (["--host", "no.such.host.invalid"], "cannot listen"),
     (["--port", "70000"], "65535"), (["--token", "tökens are plain text"], "plain characters")],
)  # fmt: skip
def test_options_that_cannot_be_are_one_line(words: list[str], wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["console", "--port", str(free_port()), *words]) == 2
    assert wanted in capsys.readouterr().err
