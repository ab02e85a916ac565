"""Files are whole up to the last group, whatever ends the writing; they are rotated and bounded."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from segzero_ros.errors import RejectedInput
from segzero_ros.recorder.finish import finish_cut_files
from segzero_ros.recorder.reader import open_recording
from segzero_ros.recorder.store import Store, is_in_use, recordings, usable_folder
from tests.recorder.files import abouts, all_texts, entry, make_store, texts

ROOT = Path(__file__).parents[2]


def test_what_is_written_is_read_in_its_order_with_who_answered(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.describe({"bundle": "one"})
    store.write([entry("a"), entry("b")])
    store.describe({"bundle": "two"})
    store.write([entry("c")])
    store.close()
    [path] = recordings(tmp_path)
    assert not open_recording(path).is_cut
    assert texts(path) == ["a", "b", "c"]
    assert abouts(path) == [{"bundle": "one"}, {"bundle": "two"}]


def test_a_group_is_the_disks_before_the_next_is_written(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    for count in range(1, 4):
        store.write([entry(f"{count}")])
        [path] = recordings(tmp_path)
        recording = open_recording(path)
        assert recording.is_cut
        assert texts(recording) == [str(n) for n in range(1, count + 1)]
    store.close()


def test_a_file_cut_at_any_byte_is_read_up_to_there(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    ends = []
    for text in ("first", "second", "third"):
        store.write([entry(text)])
        assert store.path is not None
        ends.append(store.path.stat().st_size)
    store.close()
    [path] = recordings(tmp_path)
    content = path.read_bytes()
    for length in range(8, len(content)):
        path.write_bytes(content[:length])
        least = sum(end <= length for end in ends)
        recording = open_recording(path)
        assert recording.is_cut
        assert texts(recording)[:least] == ["first", "second", "third"][:least]
        assert len(texts(recording)) in (least, least + 1)


def test_an_entry_is_written_once_per_file_and_again_into_the_next(tmp_path: Path) -> None:
    store = make_store(tmp_path, file_bytes=3000)
    shared = entry("shared")
    store.write([shared, entry("x" * 10)])
    store.write([shared, entry(os.urandom(4000).hex())])
    store.write([shared, entry("y")])
    store.close()
    first, second = recordings(tmp_path)
    assert [text[:6] for text in texts(first)][:2] == ["shared", "x" * 6]
    assert texts(first).count("shared") == 1
    assert texts(second) == ["shared", "y"]


def test_the_oldest_files_go_when_all_of_them_are_too_large(tmp_path: Path) -> None:
    store = make_store(tmp_path, file_bytes=10_000, total_bytes=40_000)
    for number in range(40):
        store.write([entry(f"{number} {os.urandom(2000).hex()}")])
    store.close()
    total = sum(path.stat().st_size for path in recordings(tmp_path))
    assert 15_000 < total < 50_000  # one group more than it may be, at most
    assert [int(text.split()[0]) for text in all_texts(tmp_path)][-1] == 39
    assert int(all_texts(tmp_path)[0].split()[0]) > 10


def test_a_file_that_another_recorder_writes_is_left_alone(tmp_path: Path) -> None:
    other = make_store(tmp_path)
    other.write([entry("kept")])
    its = other.path
    assert its is not None
    assert is_in_use(its)
    mine = make_store(tmp_path, file_bytes=1000, total_bytes=1000)
    mine.write([entry("mine")])
    assert its.is_file()
    mine.close()
    other.close()
    assert not is_in_use(its)


def test_a_full_disk_costs_the_group_at_hand_and_nothing_before(tmp_path: Path) -> None:
    """RLIMIT_FSIZE is a disk that is full: the write that crosses it is cut short and fails."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)),
        check=True,
        timeout=60,
    )
    written = int(done.stdout)
    first, *_ = recordings(tmp_path)
    assert written > 3
    assert [text.split()[0] for text in texts(first)] == [str(number) for number in range(written)]


FULL_DISK = """
import os, sys
from pathlib import Path
from tests.recorder.files import entry, make_store
store = make_store(Path(sys.argv[1]))
for number in range(100):
    try:
        store.write([entry(f"{number} {os.urandom(2000).hex()}")])
    except OSError:
        print(number)
        break
"""


def test_nothing_is_written_that_would_leave_the_disk_full(tmp_path: Path) -> None:
    store = make_store(tmp_path, keep_free=10**18)
    with pytest.raises(OSError, match="MB are free"):
        store.write([entry("a")])
    assert recordings(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RejectedInput, match="set record_dir to a folder"):
        usable_folder(str(tmp_path / "file" / "below"))
    with pytest.raises(RejectedInput, match=r"nobody-here.*absolute path"):
        usable_folder("~nobody-here/recordings")


@pytest.mark.parametrize("content", [b"", b"no recording", b"\x89MCAP0\r"])
def test_what_is_no_recording_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    path.write_bytes(content)
    with pytest.raises(RejectedInput, match="no recording"):
        open_recording(path)


def test_a_length_that_no_machine_has_memory_for_is_damage(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.write([entry("a mug " * 500)])
    store.close()
    [path] = recordings(tmp_path)
    content = path.read_bytes()
    chunk = content.index(b"zstd") - 4 - 4 - 8  # compression's length, CRC, uncompressed size: MCAP's Chunk record
    path.write_bytes(content[:chunk] + b"\xff" * 8 + content[chunk + 8 :])
    with pytest.raises(RejectedInput, match="is damaged"):
        texts(path)


# ---- cut files ----


def test_a_cut_file_gets_an_index_that_other_programs_read(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.describe({"bundle": "one"})
    for text in ("first", "second", "third"):
        store.write([entry(text)])
    path = cut(store, by=60)
    assert texts(path) == ["first", "second"]
    assert finish_cut_files(tmp_path) == [path]
    assert not open_recording(path).is_cut
    assert texts(path) == ["first", "second"]
    assert abouts(path) == [{"bundle": "one"}]
    from mcap.reader import make_reader

    with path.open("rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None and summary.statistics is not None
    assert summary.statistics.message_count == 2
    assert finish_cut_files(tmp_path) == []


def test_a_file_at_work_and_one_that_is_none_are_not_touched(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.write([entry("at work")])
    assert store.path is not None
    before = store.path.read_bytes()
    (tmp_path / "segzero_0.mcap").write_bytes(b"none")
    assert finish_cut_files(tmp_path) == []
    assert store.path.read_bytes() == before
    store.close()


def cut(store: Store, *, by: int) -> Path:
    """End a store as kill -9 in the middle of a write does."""
    path = store.path
    assert path is not None
    content = path.read_bytes()
    store.close()
    path.write_bytes(content[:-by])
    return path
