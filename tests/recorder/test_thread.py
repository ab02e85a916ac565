"""The recorder's thread: nobody waits for it, it says once what is wrong, and kill -9 costs less than a second."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from segzero_ros.errors import RejectedInput
from segzero_ros.recorder.ring import Ring
from segzero_ros.recorder.store import Store, recordings
from segzero_ros.recorder.thread import RecorderThread
from tests.recorder.files import all_texts, entry, make_store, texts

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class StuckStore:
    """A store whose disk takes its time: until ``free`` is set."""

    path = None
    folder = Path("nowhere")

    def __init__(self) -> None:
        self.began, self.free = threading.Event(), threading.Event()
        self.groups: list[Any] = []

    def write(self, group: Any) -> None:
        self.began.set()
        assert self.free.wait(PATIENCE_S)
        self.groups.append(group)

    def sync(self) -> None: ...

    def close(self) -> None: ...


def make_thread(store: Any, *, most_bytes: int = 10**6, faults: list[str] | None = None) -> RecorderThread:
    return RecorderThread(store, most_bytes=most_bytes, on_fault=[].append if faults is None else faults.append)


def test_groups_are_written_in_their_order(tmp_path: Path) -> None:
    thread = make_thread(make_store(tmp_path))
    for number in range(50):
        assert thread.put([entry(str(number))])
    assert thread.close(PATIENCE_S)
    assert all_texts(tmp_path) == [str(number) for number in range(50)]
    assert thread.stats().written == 50


def test_what_does_not_fit_into_the_queue_is_dropped_and_counted() -> None:
    store = StuckStore()
    thread = make_thread(store, most_bytes=100)
    assert thread.put([entry("at work", size=60)])
    assert store.began.wait(PATIENCE_S)
    assert thread.put([entry("waits", size=40)])
    assert not thread.put([entry("too much", size=40)])
    assert thread.stats().dropped == 1
    store.free.set()
    assert thread.close(PATIENCE_S)
    assert [group[0].message for group in store.groups] == ["at work", "waits"]


def test_a_full_disk_is_said_once_and_what_was_written_stays(tmp_path: Path) -> None:
    faults: list[str] = []
    store = make_store(tmp_path)
    store.write([entry("before")])
    thread = make_thread(store, faults=faults)
    store._keep_free = 10**18  # from here on the disk is full
    for number in range(5):
        thread.put([entry(str(number))])
    assert thread.close(PATIENCE_S)
    assert all_texts(tmp_path) == ["before"]
    assert len(faults) == 1
    assert "MB are free" in faults[0]
    assert "set record_dir" in faults[0]
    stats = thread.stats()
    assert (stats.written, stats.dropped) == (0, 5)


def test_it_is_tried_again_and_the_fault_is_over_when_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segzero_ros.recorder.thread.RETRY_S", 0.0)
    faults: list[str] = []
    store = make_store(tmp_path, keep_free=10**18)
    thread = RecorderThread(store, most_bytes=10**6, on_fault=lambda fault: (faults.append(fault), free_up(store)))
    thread.put([entry("lost")])
    thread.put([entry("kept")])
    assert thread.close(PATIENCE_S)
    assert all_texts(tmp_path) == ["kept"]
    assert (len(faults), thread.stats().fault) == (1, "")


def free_up(store: Store) -> None:
    store._keep_free = 0


class UnsyncedStore(StuckStore):
    """A store whose disk takes what is written and loses it."""

    def sync(self) -> None:
        raise OSError(5, "Input/output error")


def test_a_disk_that_keeps_nothing_is_said_once_and_stays_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segzero_ros.recorder.thread.SYNC_S", 0.0)
    store, faults = UnsyncedStore(), list[str]()
    store.free.set()
    thread = make_thread(store, faults=faults)
    for number in range(3):
        thread.put([entry(str(number))])
    assert thread.close(PATIENCE_S)
    assert faults == ["cannot record, Input/output error; look at the disk"]
    stats = thread.stats()
    assert (stats.written, stats.dropped, stats.fault) == (1, 2, faults[0])


def test_what_the_seconds_before_two_failures_share_counts_once() -> None:
    store = StuckStore()
    thread = make_thread(store, most_bytes=100)
    shared = entry("shared", size=90)
    assert thread.put([shared, shared])
    assert store.began.wait(PATIENCE_S)
    assert thread.put([shared, entry("second", size=5)])
    assert thread.put([shared, entry("third", size=5)])
    assert not thread.put([shared, entry("fourth", size=5)])
    store.free.set()
    assert thread.close(PATIENCE_S)


def test_a_damaged_file_in_the_folder_does_not_end_the_recording(tmp_path: Path) -> None:
    old = make_store(tmp_path)
    old.write([entry("damaged")])
    path = damage(old)
    thread = make_thread(make_store(tmp_path))
    thread.put([entry("new")])
    assert thread.close(PATIENCE_S)
    assert texts(recordings(tmp_path)[-1]) == ["new"]
    with pytest.raises(RejectedInput, match="is damaged"):
        texts(path)


def damage(store: Store) -> Path:
    """Cut a store's file as a power cut does that also leaves zeros in the middle; return it."""
    path = store.path
    assert path is not None
    content = bytearray(path.read_bytes())
    store.close()
    start = content.index(ZSTD_MAGIC) + len(ZSTD_MAGIC)
    content[start : start + 20] = bytes(20)
    path.write_bytes(content)
    return path


def test_a_defect_ends_in_a_line_and_not_in_the_thread(tmp_path: Path) -> None:
    faults: list[str] = []
    thread = make_thread(make_store(tmp_path), faults=faults)
    bad = entry("bad")
    bad.message = None
    thread.put([bad])
    assert thread.close(PATIENCE_S)
    assert "please report it" in faults[0]


@pytest.mark.parametrize("after", [5, 50, 200])
def test_kill_9_costs_nothing_that_came_a_second_before(after: int, tmp_path: Path) -> None:
    """The child says each group it has handed over; the one who kills it waits for ``after`` of them."""
    with subprocess.Popen(
        [sys.executable, "-c", RECORDER, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))},
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        handed_over = [child.stdout.readline().split() for _ in range(after)]
        child.send_signal(signal.SIGKILL)
        handed_over += [line.split() for line in child.stdout]
    kept = [int(text.split()[0]) for text in all_texts(tmp_path)]
    assert kept == list(range(len(kept)))
    last_s = float(handed_over[-1][1])
    lost_s = [last_s - float(moment) for number, moment in handed_over if int(number) >= len(kept)]
    assert max(lost_s, default=0.0) < 1.0


RECORDER = """
import os, sys, threading, time
from pathlib import Path
from tests.recorder.files import entry, make_store
from segzero_ros.recorder.thread import RecorderThread
thread = RecorderThread(make_store(Path(sys.argv[1]), file_bytes=10**8, total_bytes=10**9), most_bytes=10**8,
                        on_fault=print)
number = 0
paced = threading.Event()
while True:
    if thread.put([entry(f"{number} {os.urandom(50_000).hex()}")]):
        print(number, time.monotonic(), flush=True)
        number += 1
    paced.wait(0.005)
"""


def test_a_ring_keeps_the_last_seconds() -> None:
    ring = Ring(5.0, 10**9)
    for second in range(100):
        ring.add(entry(str(second), seconds=float(second)))
    assert [kept.message for kept in ring.entries()] == ["94", "95", "96", "97", "98", "99"]


def test_a_ring_of_a_30_hz_camera_stays_within_its_memory() -> None:
    ring = Ring(60.0, 20_000_000)
    for number in range(30 * 60 * 10):
        ring.add(entry("", seconds=number / 30, size=921_600))
        assert ring.bytes <= 20_000_000
    assert len(ring) == 20_000_000 // 921_600
    assert ring.bytes == sum(kept.size for kept in ring.entries())


def test_a_ring_finds_the_entry_of_a_message() -> None:
    ring = Ring(5.0, 10**9)
    one = entry("one")
    ring.add(one)
    assert ring.find(one.message) is one
    assert ring.find(object()) is None


def test_a_store_needs_no_mcap_before_it_writes_without_mcap(tmp_path: Path) -> None:
    assert Store(tmp_path, file_bytes=1, total_bytes=1).path is None


def test_its_modules_are_imported_without_mcap() -> None:
    names = [f"segzero_ros.recorder.{path.stem}" for path in (ROOT / "segzero_ros" / "recorder").glob("[a-z]*.py")]
    program = f"import sys, {', '.join(names)}, segzero_ros.replay.command; print('mcap' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
