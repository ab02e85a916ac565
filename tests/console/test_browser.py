"""A person with a browser and no ROS knowledge, played by headless Chromium, at `make console`: the real thing."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from segzero_ros.recorder.commands import RecordedCommand, read_commands
from segzero_ros.recorder.reader import open_recording
from segzero_ros.recorder.store import recordings
from tests.console.browser import CHROMIUM, PATIENCE_S, Browser

ROOT = Path(__file__).parents[2]
NEEDED = ("rclpy", "segzero_ros.msg", "mujoco", "starlette", "uvicorn", "websockets", "mcap_ros2")
ABSENT = [name for name in NEEDED if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt-get install chromium"),
    pytest.mark.skipif(bool(ABSENT), reason=f"needs {', '.join(ABSENT)}; `make test` installs them"),
]
ASKED = "the orange bowl"


class Demo:
    """`make console`, running. ``address``: what it says to open."""

    def __init__(self, out: Path) -> None:
        self.out = out
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        words = [sys.executable, "-m", "segzero_ros.demo.console", "--port", "0", "--out", str(out)]
        self.process = subprocess.Popen(
            words, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        late = threading.Timer(2 * PATIENCE_S, self.process.kill)
        late.start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        late.cancel()
        found = re.search(r"open (http://\S+) ", line)
        assert found, line
        self.address = found[1]

    def end(self) -> int:
        """Press Ctrl-C; return the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_S)

    def corrections(self) -> list[RecordedCommand]:
        files = recordings(self.out / "corrections")
        return [one for file in files for one in read_commands(open_recording(file)) if one.is_corrected]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    running = Demo(tmp_path_factory.mktemp("console"))
    yield running
    assert running.end() == 130


@pytest.fixture(scope="module")
def browser(demo: Demo) -> Iterator[Browser]:
    with Browser() as page:
        page.open(demo.address)
        page.wait("document.querySelector('#no-camera')?.hidden === true")
        page.wait("document.querySelector('#health').dataset.level === 'OK'")
        yield page


def ask(page: Browser, text: str) -> None:
    """Type a command and wait for its answer."""
    before = page.value("document.querySelectorAll('#history li').length")
    page.value("document.querySelector('#text').value = ''")
    page.click("#text")
    page.type(text)
    page.press("Enter", 13)
    page.wait(f"document.querySelectorAll('#history li').length > {before}")


def note(page: Browser, beginning: str) -> str:
    """Wait for a note of the page that begins so."""
    page.wait(f"document.querySelector('#note').innerText.startsWith({beginning!r})")
    return page.text("#note")


def test_a_person_asks_corrects_saves_and_replays(demo: Demo, browser: Browser) -> None:
    ask(browser, ASKED)
    assert "OK 1 found" in browser.text("#verdict")
    assert browser.text("#thinking")
    browser.wait("document.querySelector('#live').getAttribute('aria-label').endsWith('1 marked')")

    browser.click("input[value=off] + span")
    browser.click("#picture", (0.9, 0.1))
    assert note(browser, "corrected: 1 marked")
    browser.click("#keep")
    assert "segzero data from-recording" in note(browser, "kept in")
    (corrected,) = demo.corrections()
    assert corrected.text == ASKED and corrected.frame().size == (640, 480)
    assert corrected.labels().any() and len(corrected.instances()) == 1

    browser.click("#save")
    assert "messages of the last seconds are being written" in browser.wait(
        "document.querySelector('#note').innerText", lambda said: "seconds" in said
    )
    replayed = ""
    while not re.search(r"^\d+ same", replayed, re.MULTILINE):  # diagnostics name the file a second later
        browser.click("#replay")
        log = "document.querySelector('#replayed').textContent"
        browser.wait(f"/every answer is|is different|ended with|nothing is/.test({log})")
        replayed = browser.value(log)
        assert "different" not in replayed and "ended with" not in replayed
    assert f"same      '{ASKED}'" in replayed


def test_a_box_is_added_and_an_object_removed(browser: Browser) -> None:
    ask(browser, ASKED)
    browser.click("input[value=box] + span")
    browser.drag("#picture", (0.55, 0.1), (0.75, 0.35))
    note(browser, "corrected: 2 marked")
    browser.click("#objects li:first-child button")
    note(browser, "corrected: 1 marked")
    browser.click("#undo")
    note(browser, "corrected: 2 marked")


def test_the_keyboard_alone_corrects(browser: Browser) -> None:
    ask(browser, ASKED)
    browser.value("document.querySelector('input[value=off]').click(); document.querySelector('#picture').focus()")
    for _ in range(3):
        browser.press("ArrowLeft", 37)
    browser.press("Enter", 13)
    note(browser, "corrected: 1 marked")


def test_escape_stops_all_work(browser: Browser) -> None:
    browser.press("Escape", 27)
    browser.wait("/reset|cancel|forgotten/.test(document.querySelector('#note').innerText)")


def test_what_people_press_has_a_name_for_those_who_cannot_see_it(browser: Browser) -> None:
    nameless = browser.value(
        "[...document.querySelectorAll('button, input, canvas, ul, ol')].filter((e) => !(e.innerText?.trim() || "
        "e.getAttribute('aria-label') || e.labels?.length)).map((e) => e.outerHTML)"
    )
    assert nameless == []
    live = browser.value("[...document.querySelectorAll('[aria-live], [role=status], [role=log]')].map((e) => e.id)")
    assert live == ["health", "note", "thinking", "said", "replayed"]
    assert browser.value("['header', 'main', 'h1'].every((tag) => document.querySelector(tag))")


def test_nothing_is_asked_of_anybody_else(demo: Demo, browser: Browser) -> None:
    here = demo.address.removeprefix("http://")
    assert browser.requests
    outside = [url for url in browser.requests if not re.match(rf"((http|ws)://{re.escape(here)}|data:,)", url)]
    assert outside == [] and browser.errors == []


def test_the_servers_connections_end_on_this_machine(demo: Demo) -> None:
    def connections(file: str) -> set[str]:
        rows = [line.split() for line in Path(f"/proc/net/{file}").read_text().splitlines()[1:]]
        sockets = {row[9]: row[2] for row in rows if row[3] == "01"}  # established
        return {sockets[inode] for inode in inodes if inode in sockets}

    group = [int(pid.name) for pid in Path("/proc").iterdir() if pid.name.isdigit() and is_child(int(pid.name), demo)]
    assert len(group) >= 4  # host and its engines, node, camera, console
    links = [str(fd.readlink()) for pid in group for fd in Path(f"/proc/{pid}/fd").iterdir()]
    inodes = {found[1] for link in links if (found := re.fullmatch(r"socket:\[(\d+)\]", link))}
    remote = {address.partition(":")[0] for address in connections("tcp")}
    assert remote == {"0100007F"}  # 127.0.0.1
    assert connections("tcp6") == set()


def is_child(pid: int, demo: Demo) -> bool:
    """Whether a process was started by the demo, or by one that was."""
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            return False
        if pid == demo.process.pid:
            return True
    return False


def test_a_phone_shows_all_of_it_without_scrolling_sideways(demo: Demo, browser: Browser) -> None:
    with Browser(390, 844) as phone:
        phone.open(demo.address)
        phone.wait("document.querySelector('#no-camera')?.hidden === true")
        phone.wait("document.querySelectorAll('#history li').length > 0")
        assert phone.value("document.documentElement.scrollWidth") <= 390
        small = phone.value(
            "[...document.querySelectorAll('button')].filter((e) => e.offsetHeight && e.offsetHeight < 34).length"
        )
        assert small == 0
