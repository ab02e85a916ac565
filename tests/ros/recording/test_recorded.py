"""What the node records: commands with their pictures, the seconds before a failure, and never at the answer's cost."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage
from std_srvs.srv import Trigger

from segzero_ros.backends.fake import PROFILE, FakeReasoner, FakeSegmenter, centre_answer
from segzero_ros.cli.main import main
from segzero_ros.errors import Code
from segzero_ros.pipeline import Pipeline
from segzero_ros.profile import get_profile
from segzero_ros.recorder.commands import read_commands
from segzero_ros.recorder.reader import About, Record, open_recording
from segzero_ros.recorder.store import recordings
from segzero_ros.replay.compare import Verdict, replay
from segzero_ros.ros import convert
from segzero_ros.ros.node import GroundingNode
from segzero_ros.ros.qos import topic_qos
from tests.ros.robot import Robot, picture
from training.data.open import open_examples

pytest.importorskip("mcap_ros2", reason="needs mcap, mcap-ros2-support: requirements/dev.txt")
Make = Callable[..., Robot]


def records(folder: Path) -> list[Record]:
    return [item for path in recordings(folder) for item in open_recording(path).records() if isinstance(item, Record)]


def events(folder: Path) -> Iterator[dict[str, Any]]:
    return (json.loads(record.message.data) for record in records(folder) if record.role == "recorded")


def ask(robot: Robot, text: str, *, stamp: int) -> Any:
    robot.publish_image(picture(stamp=(stamp, 0)))
    before = len(robot.answers)
    robot.send_command(text)
    return robot.answer(before + 1)


def finish(robot: Robot) -> None:
    """Have what waits written, as at the end of the node."""
    robot.enable(False)
    assert robot.change_state("cleanup")


def test_every_command_is_recorded_with_its_picture_texts_and_answer(make_robot: Make, tmp_path: Path) -> None:
    robot = make_robot(record="all", record_dir=str(tmp_path)).is_("active")
    answers = [ask(robot, f"the mug {stamp}", stamp=stamp) for stamp in (1, 2, 3)]
    finish(robot)
    found = {record.sequence: record for record in records(tmp_path)}
    answered = [event for event in events(tmp_path) if event["event"] == "answer"]
    for answer, event in zip(answers, answered, strict=True):
        assert event["id"] == answer.command_id
        assert "<answer>" in event["text"]
        image = found[event["image"]].message
        assert bytes(image.data) == picture().data.tobytes()
        assert image.header.stamp.sec == answer.header.stamp.sec
        recorded = found[event["answer"]].message
        assert recorded.command == answer.command
        assert bytes(recorded.mask.data) == answer.mask.data.tobytes()
        assert recorded.timing.total_ms == answer.timing.total_ms
    words = [event["text"] for event in events(tmp_path) if event["event"] == "command"]
    assert words == ["the mug 1", "the mug 2", "the mug 3"]
    assert [record.message.data for record in records(tmp_path) if record.role == "command"] == words


def test_a_recording_says_which_models_and_parameters_answered(make_robot: Make, tmp_path: Path) -> None:
    robot = make_robot(record="all", record_dir=str(tmp_path), label="mug").is_("active")
    ask(robot, "the mug", stamp=1)
    finish(robot)
    [about] = [item for item in open_recording(recordings(tmp_path)[0]).records() if isinstance(item, About)]
    assert about.values["bundle"] == "test"
    assert len(about.values["bundle_sha256"]) == 64
    assert json.loads(about.values["parameters"])["label"] == "mug"


def test_failures_leave_the_seconds_before_them_and_successes_nothing(make_robot: Make, tmp_path: Path) -> None:
    engine = FakeReasoner("no answer", "<think></think><answer>[]</answer>")
    robot = make_robot(engine, record="failures", record_dir=str(tmp_path), record_sec=600.0).is_("active")
    for stamp in range(1, 6):
        robot.publish_image(picture(stamp=(stamp, 0)))
    assert ask(robot, "the mug", stamp=6).code == Code.ANSWER_UNREADABLE
    assert ask(robot, "the cup", stamp=7).code == Code.NO_TARGET
    finish(robot)
    images = [record.message.header.stamp.sec for record in records(tmp_path) if record.role == "image"]
    assert images == [1, 2, 3, 4, 5, 6]
    assert [event["id"] for event in events(tmp_path) if event["event"] == "answer"] == [robot.answers[0].command_id]


def test_the_button_writes_the_last_seconds(make_robot: Make, tmp_path: Path) -> None:
    robot = make_robot(record="failures", record_dir=str(tmp_path), record_sec=600.0).is_("active")
    ask(robot, "the mug", stamp=1)
    reply = robot.call(Trigger, "save_failure")
    assert reply.success, reply.message
    finish(robot)
    assert [event["event"] for event in events(tmp_path)] == ["command", "answer", "button"]
    assert "image" in {record.role for record in records(tmp_path)}


def test_the_button_says_that_nothing_is_recorded(robot: Robot) -> None:
    reply = robot.call(Trigger, "save_failure")
    assert not reply.success
    assert "set record to failures or all" in reply.message


def test_memory_keeps_the_last_seconds_of_a_camera_within_its_bound(make_robot: Make, tmp_path: Path) -> None:
    robot = make_robot(record="failures", record_dir=str(tmp_path), record_sec=600.0, record_memory_mb=1).is_("active")
    for stamp in range(1, 16):
        robot.publish_image(picture(320, 240, stamp=(stamp, 0)))  # 230 kB each
    robot.call(Trigger, "save_failure")
    finish(robot)
    assert [record.message.header.stamp.sec for record in records(tmp_path) if record.role == "image"] == [
        *range(12, 16)
    ]


def test_a_folder_that_cannot_be_written_is_refused_at_configure(make_robot: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    robot = make_robot(record="all", record_dir=str(tmp_path / "file"))
    robot.until(lambda: "record_dir" in robot.diagnostics()["node"].message, "the refusal")
    assert robot.node.state == "unconfigured"


def test_without_the_packages_configure_is_refused_with_what_to_install(
    make_robot: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segzero_ros.ros.recording.why_unavailable", lambda: "needs mcap: python3 -m pip install mcap")
    robot = make_robot(record="failures")
    robot.until(lambda: "pip install mcap" in robot.diagnostics()["node"].message, "the refusal")
    assert robot.node.state == "unconfigured"
    assert robot.set_parameter("record", "none").successful
    assert robot.enable(True).success


def test_a_disk_that_says_no_costs_the_recording_and_not_the_answer(
    make_robot: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segzero_ros.recorder.store.KEEP_FREE_BYTES", 10**18)
    robot = make_robot(record="all", record_dir=str(tmp_path)).is_("active")
    assert ask(robot, "the mug", stamp=1).code == Code.OK
    line = robot.until(lambda: (d := robot.diagnostics()["recorder"]).message.startswith("cannot") and d, "the fault")
    assert "MB are free" in line.message
    assert ask(robot, "the mug", stamp=2).code == Code.OK


# ---- asked again ----


def verdicts(folder: Path, *texts: str) -> list[Verdict]:
    pipeline = Pipeline(get_profile(PROFILE), FakeReasoner(*texts), FakeSegmenter())
    found = [command for path in recordings(folder) for command in read_commands(open_recording(path))]
    return [replay(command, pipeline) for command in found]


def test_replay_gives_the_recorded_answers_again(make_robot: Make, tmp_path: Path) -> None:
    texts = (centre_answer(), "no answer", "<think></think><answer>[]</answer>")
    robot = make_robot(FakeReasoner(*texts), record="all", record_dir=str(tmp_path)).is_("active")
    for stamp in (1, 2, 3):
        ask(robot, "the mug", stamp=stamp)
    finish(robot)
    assert [verdict.kind for verdict in verdicts(tmp_path, *texts)] == ["same"] * 3


def test_an_answer_carried_to_a_later_frame_is_recorded_with_the_one_the_model_saw(
    make_robot: Make, tmp_path: Path
) -> None:
    engine = FakeReasoner()
    robot = make_robot(engine, record="all", record_dir=str(tmp_path), carry_after_sec=0.0).is_("active")
    looked, later = threading.Event(), threading.Event()

    def before_piece(index: int) -> None:
        looked.set()
        assert later.wait(60.0)

    engine._before_piece = before_piece
    robot.publish_image(picture(stamp=(1, 0)))
    robot.send_command("the mug")
    robot.until(looked.is_set, "the reasoner to begin")
    robot.publish_image(picture(stamp=(2, 0)))
    later.set()
    answer = robot.answer()
    finish(robot)
    assert (answer.tracked, answer.header.stamp.sec, answer.grounded_stamp.sec) == (True, 2, 1)
    [command] = [one for path in recordings(tmp_path) for one in read_commands(open_recording(path))]
    assert command.is_carried
    assert command.image is not None and command.image.message.header.stamp.sec == 1
    stamps = [record.message.header.stamp.sec for record in records(tmp_path) if record.role == "image"]
    assert stamps == [1, 2]
    assert [verdict.kind for verdict in verdicts(tmp_path)] == ["same"]


@pytest.mark.parametrize("isolation", ["process", "in_process"])
def test_the_command_replay_opens_what_the_node_had(
    isolation: str, ros: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"backend": "fake", "isolation": isolation, "record": "all", "record_dir": str(tmp_path), "label": "it"}
    robot = Robot(GroundingNode(parameter_overrides=[Parameter(name, value=value) for name, value in given.items()]))
    try:
        robot.is_ready()
        assert ask(robot, "the mug", stamp=1).code == Code.OK
        finish(robot)
    finally:
        robot.close()
    files = [str(path) for path in recordings(tmp_path)]
    assert main(["replay", *files]) == 0
    assert capsys.readouterr().out.splitlines() == ["same      'the mug'", "1 same"]
    assert main(["replay", *files, "--backend", "onnx", "--bundle", "tabletop"]) == 1
    assert "different" in capsys.readouterr().out


def test_replay_names_what_is_different(make_robot: Make, tmp_path: Path) -> None:
    robot = make_robot(record="all", record_dir=str(tmp_path)).is_("active")
    ask(robot, "the mug", stamp=1)
    finish(robot)
    [found] = verdicts(tmp_path, centre_answer().replace('bbox_2d": [', 'bbox_2d": [1'))
    assert found.kind == "different"
    assert {change.split()[0] for change in found.changes} >= {"text", "box"}
    [found] = verdicts(tmp_path, "no answer")
    assert found.changes[0] == "code ANSWER_UNREADABLE, was OK"


def test_compressed_pictures_and_goals_with_pictures_of_their_own_are_replayed(
    make_robot: Make, tmp_path: Path
) -> None:
    robot = make_robot(record="all", record_dir=str(tmp_path), image_transport="compressed").is_("active")
    pixels = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    content = cv2.imencode(".jpg", pixels)[1]
    camera = robot.client.create_publisher(CompressedImage, "image/compressed", topic_qos("image", "reliable"))
    robot.until(camera.get_subscription_count, "the node to subscribe")
    camera.publish(convert.compressed_message(picture().header, content))
    robot.until(lambda: robot.node.images_seen, "the picture")
    robot.send_command("the mug")
    robot.answer()
    robot.goal_result("the cup", image=picture(32, 24))
    finish(robot)
    assert [verdict.kind for verdict in verdicts(tmp_path)] == ["same", "same"]
    kinds = [record.type for record in records(tmp_path) if "Image" in record.type]
    assert kinds == ["sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Image"]


def test_other_readers_of_bags_read_it(make_robot: Make, tmp_path: Path) -> None:
    rosbags = pytest.importorskip("rosbags.highlevel", reason="needs rosbags; `make test` installs it")
    robot = make_robot(record="all", record_dir=str(tmp_path)).is_("active")
    answer = ask(robot, "the mug", stamp=1)
    finish(robot)
    with rosbags.AnyReader(recordings(tmp_path)) as reader:
        read = [
            (connection.topic, reader.deserialize(data, connection.msgtype))
            for connection, _, data in reader.messages()
        ]
    [found] = [message for topic, message in read if topic == "/segmentation"]
    assert found.command_id == answer.command_id
    assert found.mask.data.tobytes() == answer.mask.data.tobytes()
    assert sorted({topic for topic, _ in read}) == ["/command", "/image", "/recorded", "/segmentation"]


# ---- rows for training ----


def test_failures_and_marked_answers_become_rows_to_label_and_answers_rows_to_check(
    make_robot: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = FakeReasoner("no answer", centre_answer())
    robot = make_robot(engine, record="all", record_dir=str(tmp_path)).is_("active")
    for stamp, words in enumerate(("the mug", "the cup", "the bowl"), start=1):
        robot.publish_image(picture(200, 150, stamp=(stamp, 0)))
        robot.send_command(words)
        robot.answer(stamp)
    robot.call(Trigger, "save_failure")
    finish(robot)
    out, files = tmp_path / "rows", [str(path) for path in recordings(tmp_path)]
    assert main(["data", "from-recording", *files, "--out", str(out), "--answers"]) == 0
    rows = [json.loads(line) for line in (out / "to_label.jsonl").read_text("utf-8").splitlines()]
    assert [(row["question"], row["boxes"]) for row in rows] == [("the mug", None), ("the bowl", None)]
    [cup] = open_examples(str(out / "answers.jsonl"))
    assert (cup.question, cup.boxes) == ("the cup", ((50.0, 37.5, 150.0, 112.5),))
    assert cup.rgb.tobytes() == picture(200, 150).data.tobytes()
    assert cup.mask is not None and cup.mask.any()
    capsys.readouterr()
    assert main(["data", "check", str(out / "to_label.jsonl")]) == 1
    assert capsys.readouterr().out.count("got boxes None") == 2
    assert main(["data", "from-recording", *files, "--out", str(out)]) == 2
    assert "name a new folder" in capsys.readouterr().err
