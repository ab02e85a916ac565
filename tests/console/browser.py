"""Headless Chromium, driven over the DevTools protocol: type, click, press keys, look.

It has a profile of its own, and no way out: every name but this machine's resolves to nothing.
"""

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
PATIENCE_S = 60.0
_NO_OUTSIDE = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"


class Browser:
    """One page of one Chromium; use it in a ``with``. ``requests``: every address it asked for."""

    def __init__(self, width: int = 1280, height: int = 900, *flags: str) -> None:
        self._size, self._flags = (width, height), flags
        self._number = 0
        self.requests: list[str] = []
        self.errors: list[str] = []

    def __enter__(self) -> "Browser":
        from websockets.sync.client import connect

        self._profile = tempfile.TemporaryDirectory(prefix="segzero_chromium_", ignore_cleanup_errors=True)
        words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run"]
        words += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio"]
        words += [f"--user-data-dir={self._profile.name}", f"--host-resolver-rules={_NO_OUTSIDE}"]
        words += [f"--window-size={self._size[0]},{self._size[1]}", *self._flags, "about:blank"]
        self._process = subprocess.Popen([CHROMIUM, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        lines = self._port_file()
        import urllib.request

        with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json", timeout=PATIENCE_S) as answer:
            pages = [page for page in json.load(answer) if page["type"] == "page"]
        self._socket = connect(pages[0]["webSocketDebuggerUrl"], max_size=None)
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        width, height = self._size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        self._profile.cleanup()

    def _port_file(self) -> list[str]:
        file, until = Path(self._profile.name) / "DevToolsActivePort", time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            if file.exists() and len(lines := file.read_text().splitlines()) == 2:
                return lines
            time.sleep(0.05)
        raise TimeoutError("Chromium does not start")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; note the events that come meanwhile."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            said = json.loads(self._socket.recv(timeout=PATIENCE_S))
            if said.get("id") == self._number:
                assert "error" not in said, said["error"]
                return dict(said["result"])
            self._note(said)

    def _note(self, said: dict[str, Any]) -> None:
        values = said.get("params", {})
        if said["method"] == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])
        elif said["method"] == "Network.webSocketCreated":
            self.requests.append(values["url"])
        elif said["method"] == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(values["exceptionDetails"])[:500])
        elif said["method"] == "Log.entryAdded" and values["entry"]["level"] == "error":
            self.errors.append(f"{values['entry']['text']} {values['entry'].get('url', '')}")

    def open(self, address: str) -> None:
        """Go to a page."""
        self.call("Page.navigate", url=address)

    def value(self, expression: str) -> Any:
        """Return what an expression is in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def text(self, selector: str) -> str:
        """Return the text of an element."""
        return str(self.value(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def wait(self, expression: str, what: Callable[[Any], bool] = bool, patience_s: float = PATIENCE_S) -> Any:
        """Wait until ``what`` is true of an expression in the page; return it."""
        until = time.monotonic() + patience_s
        while not what(value := self.value(expression)):
            assert time.monotonic() < until, f"{expression} is still {value!r}; errors: {self.errors}"
            time.sleep(0.05)
        return value

    def click(self, selector: str, at: tuple[float, float] | None = None) -> None:
        """Click the middle of an element, or ``at`` a share of its width and height."""
        x, y = self._place(selector, at or (0.5, 0.5))
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def drag(self, selector: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag across an element, both ends as shares of its width and height."""
        (x0, y0), (x1, y1) = self._place(selector, start), self._place(selector, end)
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=x0, y=y0, button="left", clickCount=1)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=(x0 + x1) / 2, y=(y0 + y1) / 2, button="left")
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x1, y=y1, button="left")
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=x1, y=y1, button="left", clickCount=1)

    def _place(self, selector: str, at: tuple[float, float]) -> tuple[float, float]:
        rectangle = self.value(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            "e.scrollIntoView({block: 'nearest', behavior: 'instant'}); const r = e.getBoundingClientRect(); "
            "return [r.x, r.y, r.width, r.height]; })()"
        )
        return rectangle[0] + at[0] * rectangle[2], rectangle[1] + at[1] * rectangle[3]

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, code: int) -> None:
        """Press a key, given its name and Windows code."""
        given = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        text = {"Enter": "\r"}.get(key)
        self.call("Input.dispatchKeyEvent", type="keyDown", **given, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **given)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write what the page looks like."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))
