"""Push-to-talk in headless Chromium, whose microphone is one that beeps: what reaches the listener's topic."""

import time

import numpy as np
import pytest

from tests.console.browser import CHROMIUM, Browser
from tests.console.conftest import PATIENCE_S, Served

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt-get install chromium")
BEEPS = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
SILENCE = bytes(3200)


def press(page: Browser, kind: str) -> None:
    place = "const r = document.querySelector('#talk').getBoundingClientRect(); [r.x + r.width / 2, r.y + r.height / 2]"
    x, y = page.value(f"(() => {{ {place.replace('[r.x', 'return [r.x')} }})()")
    page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def until_loud(served: Served) -> np.ndarray:
    """Wait for sound; return what was heard so far."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        heard = np.frombuffer(b"".join(list(served.robot.audio)), "<i2")
        if heard.size and np.abs(heard.astype(int)).max() > 500:
            return heard
        time.sleep(0.05)
    raise AssertionError("nothing was heard of the microphone")


def test_what_is_said_while_the_button_is_held_is_published_and_a_pause_behind_it(served: Served) -> None:
    with Browser(1280, 900, *BEEPS) as page:
        page.open(served.url)
        page.wait("document.querySelector('#node')?.textContent === '/segzero'")
        press(page, "mousePressed")
        page.wait("document.querySelector('#note').innerText.startsWith('listening')")
        until_loud(served)
        assert page.value("document.querySelector('#talk').getAttribute('aria-pressed')") == "true"
        press(page, "mouseReleased")
        page.wait("document.querySelector('#talk').getAttribute('aria-pressed') === 'false'")
        end = time.monotonic() + PATIENCE_S
        while served.robot.audio[-12:] != [SILENCE] * 12:
            assert time.monotonic() < end, "no pause behind what was said"
            time.sleep(0.05)
        assert {len(chunk) for chunk in served.robot.audio} == {3200}  # a tenth of a second at 16 kHz
        assert page.errors == []


def test_without_a_listener_the_button_springs_back_and_says_why(served: Served) -> None:
    served.robot.listens = False
    with Browser(1280, 900, *BEEPS) as page:
        page.open(served.url)
        page.wait("document.querySelector('#node')?.textContent === '/segzero'")
        press(page, "mousePressed")
        page.wait("document.querySelector('#note').innerText.includes('segzero_listener')")
        assert page.value("document.querySelector('#talk').getAttribute('aria-pressed')") == "false"
