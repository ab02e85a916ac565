"""Commands are asked again as they were asked, and every difference is named."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from segzero_ros.backends.fake import PROFILE, FakeReasoner, FakeSegmenter, centre_answer
from segzero_ros.cli.main import main
from segzero_ros.errors import Code
from segzero_ros.pipeline import Pipeline
from segzero_ros.profile import get_profile
from segzero_ros.recorder.commands import EVENTS, RecordedCommand, read_commands
from segzero_ros.recorder.reader import Record, open_recording
from segzero_ros.recorder.store import recordings
from segzero_ros.replay.command import Engines
from segzero_ros.replay.compare import replay
from tests.recorder.files import entry, make_store
from training.data.from_recording import write_rows


def event(**fields: Any) -> Any:
    made = entry(json.dumps(fields))
    assert made.channel.role == EVENTS
    return made


def recording(folder: Path, *events: Any) -> Path:
    store = make_store(folder)
    store.describe({"parameters": json.dumps({"backend": "fake"})})
    for one in events:
        store.write([one])
    store.close()
    return recordings(folder)[-1]


def commands(path: Path) -> list[RecordedCommand]:
    return list(read_commands(open_recording(path)))


def fake_pipeline(*texts: str) -> Pipeline:
    return Pipeline(get_profile(PROFILE), FakeReasoner(*(texts or (centre_answer(),))), FakeSegmenter())


def test_words_answer_and_code_of_a_command_come_together(tmp_path: Path) -> None:
    path = recording(
        tmp_path,
        event(event="command", id="a", text="the  mug"),
        event(event="answer", id="a", command="the mug", text="raw", code="TIMEOUT", image=None, answer=None),
        event(event="button"),
        event(event="command", id="b", text="the cup"),
    )
    first, second = commands(path)
    assert (first.words, first.text, first.answer, first.code, first.is_marked) == (
        "the  mug",
        "the mug",
        "raw",
        Code.TIMEOUT,
        True,
    )
    assert (second.words, second.code, second.is_marked) == ("the cup", None, False)


def test_what_came_of_the_moment_is_not_asked(tmp_path: Path) -> None:
    path = recording(
        tmp_path, event(event="answer", id="a", command="the mug", text="", code="TIMEOUT", image=None, answer=None)
    )
    verdict = replay(commands(path)[0], fake_pipeline())
    assert verdict.kind == "not asked"
    assert "TIMEOUT" in verdict.changes[0]


@pytest.mark.parametrize(("words", "kind"), [("", "same"), ("the mug", "different")])
def test_words_that_were_refused_are_read_again(words: str, kind: str, tmp_path: Path) -> None:
    path = recording(
        tmp_path,
        event(event="command", id="a", text=words),
        event(event="answer", id="a", command="", text="", code="COMMAND_EMPTY", image=None, answer=None),
    )
    assert replay(commands(path)[0], fake_pipeline()).kind == kind


def test_events_that_are_none_and_pictures_that_are_gone_end_in_words(tmp_path: Path) -> None:
    path = recording(
        tmp_path,
        entry("no JSON"),
        entry("[1]"),
        event(event="answer", id="a", command="the mug", text="", code="OK", image=77, answer=78),
    )
    [command] = commands(path)
    assert replay(command, fake_pipeline()).changes == ("no picture was recorded with it",)


@pytest.mark.parametrize("number", [[1], {}, "1", True, 1.5, -1])
def test_an_event_that_names_no_record_has_no_picture(number: Any, tmp_path: Path) -> None:
    path = recording(
        tmp_path, event(event="answer", id="a", command="the mug", text="", code="OK", image=number, answer=number)
    )
    [command] = commands(path)
    assert (command.image, command.segmentation) == (None, None)


def recorded(image: Any, answer: Any, id: str = "a", text: str = "the mug") -> RecordedCommand:
    """An answer with messages of these fields."""

    def record(kind: str, message: Any) -> Record:
        made = Record("x", "/x", f"sensor_msgs/msg/{kind}", 0, 1, b"")
        made.__dict__["message"] = message
        return made

    return RecordedCommand(id, text, text, "", Code.OK, record("Segmentation", answer), record("Image", image), {})


HEADER = SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=0), frame_id="camera")
IMAGE = SimpleNamespace(
    header=HEADER, height=40, width=50, encoding="mono8", is_bigendian=0, step=50, data=bytes(range(200)) * 10
)
INSTANCE = SimpleNamespace(label="mug", score=1.0, x0=0.0, y0=0.0, x1=50.0, y1=40.0, point_x=9.0, point_y=9.0)
MASK = SimpleNamespace(height=40, width=50, encoding="mono8", is_bigendian=0, data=b"\1" * 2000)
DAMAGED = {
    "a picture of another kind": (SimpleNamespace(data="text"), SimpleNamespace(instances=[], mask=MASK)),
    "an answer of another kind": (IMAGE, SimpleNamespace(data="text")),
    "objects without boxes": (IMAGE, SimpleNamespace(instances=[SimpleNamespace(label="x")], mask=MASK)),
    "a mask that is cut": (
        IMAGE,
        SimpleNamespace(instances=[INSTANCE], mask=SimpleNamespace(**{**vars(MASK), "data": b"\1" * 1999})),
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_recording_whose_messages_are_not_what_its_events_say_ends_in_words(name: str, tmp_path: Path) -> None:
    verdict = replay(recorded(*DAMAGED[name]), fake_pipeline())
    assert verdict.kind == "different" and "is damaged" in verdict.changes[0]
    assert write_rows([recorded(*DAMAGED[name])], tmp_path / "rows", with_answers=True)["no picture"] == 1


@pytest.mark.parametrize("id", ["../../out", "/out", "a/b", ".", "x" * 300, "\ud83d", "a\0b"])
def test_what_an_answer_is_called_does_not_say_where_its_row_goes(id: str, tmp_path: Path) -> None:
    answer = recorded(IMAGE, SimpleNamespace(instances=[INSTANCE], mask=MASK), id, "the \ud83d mug")
    assert write_rows([answer], tmp_path / "a" / "rows", with_answers=True)["answers.jsonl"] == 1
    [row] = map(json.loads, (tmp_path / "a" / "rows" / "answers.jsonl").read_text("utf-8").splitlines())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3 and (tmp_path / "a" / "rows" / row["mask"]).is_file()
    assert all(path.is_relative_to(tmp_path / "a" / "rows") for path in files)
    assert row["question"].endswith(" mug")


def test_a_recording_without_commands_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(recording(tmp_path, event(event="button")))]) == 2
    assert "no recorded command" in capsys.readouterr().err


def test_parameters_of_another_version_keep_the_defaults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_store(tmp_path)
    store.describe({"parameters": json.dumps({"backend": "fake", "of_tomorrow": 1})})
    store.write([event(event="command", id="a", text="the mug")])
    store.close()
    assert main(["replay", str(recordings(tmp_path)[0]), "--json"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["result"] == "not asked"


def test_engines_are_opened_with_every_option_that_was_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    def open_pipeline(*_words: Any, **options: Any) -> Pipeline:
        opened.append(options["options"])
        return fake_pipeline()

    monkeypatch.setattr("segzero_ros.replay.command.open_pipeline", open_pipeline)
    recorded = {"backend": "fake", "server": "http://127.0.0.1:1/v1", "fallback": False, "server_timeout_sec": 3.0}
    Engines().of({"parameters": json.dumps(recorded)})
    assert (opened[0].server, opened[0].fallback, opened[0].server_timeout_s) == ("http://127.0.0.1:1/v1", False, 3.0)


@pytest.mark.parametrize("words", [["replay", "nowhere.mcap"], ["replay", "README.md"], ["replay", "."]])
def test_what_is_no_recording_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
