"""The node answers every command exactly once, about exactly the frame it looked at."""

import numpy as np
import pytest
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from segzero_ros.backends.fake import (
    FakeReasoner,
    GarbageReasoner,
    RaisingReasoner,
    RaisingSegmenter,
    WaitingReasoner,
)
from segzero_ros.errors import Code
from segzero_ros.ros import convert
from segzero_ros.ros.camera import CameraFrame
from segzero_ros.ros.qos import topic_qos
from tests.ros.robot import picture

NOTHING = "<think>No mug.</think><answer>[]</answer>"


def test_the_header_of_the_frame_passes_through_untouched(robot):
    masks = robot.listen("mask", Image)
    image = picture(stamp=(1234567, 999_999_999), frame_id="left/optical")
    robot.publish_image(image)
    robot.send_command("the mug")
    answer = robot.answer()
    assert answer.code == Code.OK
    assert answer.header == image.header == answer.mask.header == robot.until(lambda: masks, "the mask")[0].header
    assert answer.grounded_stamp == image.header.stamp
    assert (answer.command, answer.bundle, answer.tracked) == ("the mug", "test", False)


def test_the_mask_shows_where_the_instances_are(robot):
    robot.publish_image(picture(80, 40))
    robot.send_command("the mug")
    answer = robot.answer()
    mask = np.frombuffer(answer.mask.data, np.uint8).reshape(answer.mask.height, answer.mask.step)
    assert (answer.mask.width, answer.mask.height, answer.mask.encoding) == (80, 40, "mono8")
    found = answer.instances[0]
    assert (found.x0, found.y0, found.x1, found.y1) == (20, 10, 60, 30)
    assert set(np.unique(mask)) == {0, 1}
    assert mask[int(found.point_y), int(found.point_x)] == 1
    assert (mask[10:30, 20:60] == 1).all()
    assert mask.sum() == 40 * 20
    assert np.isnan([found.position.x, found.position.y, found.position.z]).all()


def test_finding_nothing_is_an_answer_with_an_empty_mask(make_robot):
    robot = make_robot(FakeReasoner(NOTHING)).is_("active")
    masks = robot.listen("mask", Image)
    robot.publish_image()
    robot.send_command("the mug")
    answer = robot.answer()
    assert (answer.code, answer.reasoning, answer.instances) == (Code.NO_TARGET, "No mug.", [])
    assert answer.detail
    mask = robot.until(lambda: masks, "the mask")[0]
    assert (mask.width, mask.height) == (64, 48)
    assert not np.frombuffer(mask.data, np.uint8).any()


def test_the_reasoning_is_published_while_it_grows_and_when_it_is_done(make_robot):
    reasoner = WaitingReasoner()
    robot = make_robot(reasoner).is_("active")
    growing, done = robot.listen("reasoning_stream", String), robot.listen("reasoning", String)
    robot.publish_image()
    robot.send_command("the mug")
    robot.until(reasoner.started.is_set, "the reasoner")
    for words in (1, 5):
        robot.until(lambda: reasoner.go() or (growing and growing[-1].data.count("hm") >= words), "more reasoning")  # noqa: B023
    assert not done
    assert not robot.answers
    robot.reset()
    reasoner.go(50)
    robot.answer()
    assert "<" not in growing[-1].data
    assert growing[-1].data.startswith("hm")


@pytest.mark.parametrize(
    ("engines", "code"),
    [
        ((GarbageReasoner(),), Code.ANSWER_UNREADABLE),
        ((RaisingReasoner(),), Code.REASONER_FAILED),
        ((FakeReasoner(), RaisingSegmenter()), Code.SEGMENTER_FAILED),
        ((FakeReasoner("<think>a</think><answer>[{"),), Code.ANSWER_UNREADABLE),
    ],
)
def test_a_failing_engine_is_one_answer_and_the_node_goes_on(make_robot, engines, code):
    robot = make_robot(*engines).is_("active")
    for number in (1, 2):
        robot.publish_image()
        robot.send_command("the mug")
        answer = robot.answer(number)
        assert answer.code == code
        assert answer.detail
        assert answer.header.frame_id == "camera"
        assert len(answer.mask.data) == 64 * 48


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", Code.COMMAND_EMPTY),
        (" \t\n", Code.COMMAND_EMPTY),
        ("\u202e\u200b", Code.COMMAND_UNREADABLE),
        ("mug " * 250_000, Code.COMMAND_TOO_LONG),
    ],
)
def test_a_bad_command_is_answered_and_the_node_goes_on(robot, text, code):
    robot.send_command(text)
    answer = robot.answer(1)
    assert answer.code == code
    assert answer.detail
    assert len(answer.command) <= 500
    assert (answer.mask.width, len(answer.mask.data), answer.header.frame_id) == (0, 0, "")
    robot.publish_image()
    robot.send_command("the mug")
    assert robot.answer(2).code == Code.OK


def test_a_command_without_a_camera_says_so(make_robot):
    robot = make_robot(first_frame_sec=0.0).is_("active")
    robot.send_command("the mug")
    assert robot.answer().code == Code.NO_FRAME


def test_a_command_waits_for_the_first_frame(make_robot):
    robot = make_robot(first_frame_sec=60.0).is_("active")
    robot.send_command("the mug")
    robot.until(lambda: robot.node._worker.stats().busy, "the command to be at work")
    robot.publish_image()
    assert robot.answer().code == Code.OK


def test_the_answer_is_about_the_newest_frame(robot):
    for second in range(1, 6):
        robot.publish_image(picture(stamp=(second, 0)))
    robot.send_command("the mug")
    assert robot.answer().header.stamp.sec == 5


def test_only_the_frame_that_a_command_looks_at_is_decoded(robot, monkeypatch):
    decoded = []
    decode = CameraFrame.__call__
    monkeypatch.setattr(CameraFrame, "__call__", lambda image: decoded.append(image) or decode(image))
    for _ in range(5):
        robot.publish_image()
    robot.send_command("the mug")
    assert robot.answer().code == Code.OK
    assert len(decoded) == 1


@pytest.mark.parametrize("reliability", ["best_effort", "reliable"])
@pytest.mark.parametrize("asked", ["auto", "best_effort", "reliable"])
def test_cameras_of_both_reliabilities_are_heard_where_dds_allows(make_robot, reliability, asked):
    robot = make_robot(image_qos=asked).is_("active")
    camera = robot.client.create_publisher(Image, "image", topic_qos("image", reliability))
    if (reliability, asked) == ("best_effort", "reliable"):
        robot.until(lambda: "incompatible" in str(robot.node._health.report()[0].message), "the warning in diagnostics")
        return
    robot.until(camera.get_subscription_count, "the subscription")
    camera.publish(picture())
    robot.until(lambda: robot.node.images_seen, "the image")
    robot.send_command("the mug")
    assert robot.answer().code == Code.OK


def test_auto_follows_the_cameras_reliability_and_loses_no_picture_on_the_way(robot):
    """The client's camera is reliable; a best-effort one comes, and goes."""

    def asked():
        infos = robot.client.get_subscriptions_info_by_topic("image")
        return {info.qos_profile.reliability for info in infos}

    def publish(upto):
        while len(sent) < upto or not settled():
            assert len(sent) < 20_000, f"the node asks for {asked()}, want {wanted}"
            robot.publish_image(picture(stamp=(len(sent) + 1, 0)))
            sent.append(robot.node.images_seen)

    def settled():
        return asked() == wanted

    sent, wanted = [], {ReliabilityPolicy.RELIABLE}
    publish(5)
    other = robot.client.create_publisher(Image, "image", topic_qos("image", "best_effort"))
    wanted = {ReliabilityPolicy.BEST_EFFORT}
    publish(10)
    robot.client.destroy_publisher(other)
    wanted = {ReliabilityPolicy.RELIABLE}
    publish(15)
    assert sent == list(range(1, len(sent) + 1)), "each picture came, and came once"


def test_a_commander_that_cannot_be_heard_is_named_while_it_is_there(robot):
    commander = robot.client.create_publisher(String, "command", topic_qos("command", "best_effort"))
    robot.until(lambda: "client" in robot.diagnostics()["camera"].message, "the warning")
    robot.client.destroy_publisher(commander)
    robot.until(lambda: "client" not in robot.diagnostics()["camera"].message, "the end of the warning")


def test_compressed_images_are_read(make_robot):
    import cv2

    robot = make_robot(image_transport="compressed").is_("active")
    camera = robot.client.create_publisher(CompressedImage, "image/compressed", topic_qos("image"))
    robot.until(camera.get_subscription_count, "the subscription")
    jpeg = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    camera.publish(convert.compressed_message(picture().header, jpeg))
    robot.until(lambda: robot.node.images_seen, "the image")
    robot.send_command("the mug")
    answer = robot.answer()
    assert (answer.code, answer.mask.width, answer.header.frame_id) == (Code.OK, 64, "camera")


def test_a_broken_jpeg_is_the_answer_of_the_command_that_looked_at_it(make_robot):
    robot = make_robot(image_transport="compressed").is_("active")
    camera = robot.client.create_publisher(CompressedImage, "image/compressed", topic_qos("image"))
    robot.until(camera.get_subscription_count, "the subscription")
    camera.publish(convert.compressed_message(picture().header, b"\xff\xd8\xff\xe0 no picture"))
    robot.until(lambda: robot.node.images_seen, "the image")
    robot.send_command("the mug")
    assert robot.answer().code == Code.IMAGE_UNREADABLE


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"encoding": "rgb16"}, Code.IMAGE_ENCODING),
        ({"step": 100}, Code.IMAGE_LAYOUT),
        ({"height": 0, "width": 0, "step": 0}, Code.IMAGE_SIZE),
    ],
)
def test_a_camera_whose_images_are_refused_is_the_answer_of_the_command(make_robot, wrong, code):
    robot = make_robot(first_frame_sec=0.0).is_("active")
    image = picture()
    for field, value in wrong.items():
        setattr(image, field, value)
    robot.publish_image(image)
    robot.send_command("the mug")
    answer = robot.answer()
    assert answer.code == code
    assert "refused: got " in answer.detail
    robot.publish_image()
    robot.send_command("the mug")
    assert robot.answer(2).code == Code.OK


def test_the_overlay_is_drawn_only_while_somebody_looks(robot):
    robot.publish_image()
    robot.send_command("the mug")
    robot.answer(1)
    overlays = robot.listen("overlay/compressed", CompressedImage)
    publisher = robot.node._outputs._publishers["overlay/compressed"]
    robot.until(publisher.get_subscription_count, "the subscription")
    robot.publish_image()
    robot.send_command("the mug")
    robot.answer(2)
    assert len(robot.until(lambda: overlays, "the overlay")) == 1
    assert bytes(overlays[0].data[:2]) == b"\xff\xd8"
    assert overlays[0].header.frame_id == "camera"


def test_a_second_command_preempts_the_first(make_robot):
    reasoner = WaitingReasoner()
    robot = make_robot(reasoner, busy_policy="preempt").is_("active")
    robot.publish_image()
    robot.send_command("the mug")
    robot.until(reasoner.started.is_set, "the reasoner")
    robot.send_command("the bowl")
    robot.until(lambda: robot.node._worker.stats().commands == 2, "the second command")
    reasoner.go(20_000)
    robot.until(lambda: len(robot.answers) == 2, "both answers")
    assert [(a.command, a.code) for a in robot.answers] == [("the mug", Code.PREEMPTED), ("the bowl", Code.OK)]


def test_a_second_command_is_refused_if_the_policy_says_so(make_robot):
    reasoner = WaitingReasoner()
    robot = make_robot(reasoner, busy_policy="reject").is_("active")
    robot.publish_image()
    robot.send_command("the mug")
    robot.until(reasoner.started.is_set, "the reasoner")
    robot.send_command("the bowl")
    answer = robot.answer(1)
    assert (answer.command, answer.code) == ("the bowl", Code.BUSY)
    reasoner.go(20_000)
    assert robot.answer(2).command == "the mug"


def test_services_are_served_while_the_engine_is_at_work(make_robot):
    reasoner = WaitingReasoner()
    robot = make_robot(reasoner).is_("active")
    robot.publish_image()
    robot.send_command("the mug")
    robot.until(reasoner.started.is_set, "the reasoner")
    assert robot.get_parameters("busy_policy") == ["preempt"]
    robot.diagnostics()
    assert not robot.answers
    assert robot.reset().success
    reasoner.go()
    assert robot.answer().code == Code.CANCELLED


def test_the_next_command_after_a_reset_looks_at_a_new_frame(make_robot):
    robot = make_robot(first_frame_sec=0.0).is_("active")
    robot.publish_image()
    robot.reset()
    robot.send_command("the mug")
    assert robot.answer(1).code == Code.NO_FRAME
    robot.publish_image()
    robot.send_command("the mug")
    assert robot.answer(2).code == Code.OK


def test_text_that_would_break_the_serialiser_arrives_clean(make_robot):
    said = "<think>a\ud83d\ude00 \udc00 \x00b\x1b[31m</think><answer>[]</answer>"
    robot = make_robot(FakeReasoner(said)).is_("active")
    robot.publish_image()
    robot.send_command("the mug \x1b[31m\u202e!")
    answer = robot.answer()
    assert answer.command == "the mug [31m!"
    assert answer.reasoning.startswith("a\U0001f600 \ufffd")
    assert "\x1b" not in answer.reasoning


def test_a_defect_while_publishing_is_logged_and_the_command_has_its_answer(robot, monkeypatch):
    made = convert.timing_message
    monkeypatch.setattr(convert, "timing_message", lambda timing: made(timing) if timing.total_ms == 0 else 1 / 0)
    robot.publish_image()
    robot.send_command("the mug")
    answer = robot.answer()
    assert (answer.code, answer.command) == (Code.INTERNAL, "the mug")
    assert "ZeroDivisionError" in answer.detail
    monkeypatch.undo()
    robot.publish_image()
    robot.send_command("the mug")
    assert robot.answer(2).code == Code.OK


def test_a_defect_in_an_extra_leaves_the_answer_as_it_is(robot, monkeypatch):
    monkeypatch.setattr(robot.node._outputs, "_publish_optional", lambda *_: 1 / 0)
    for number in (1, 2):
        robot.publish_image()
        robot.send_command("the mug")
        assert robot.answer(number).code == Code.OK


def test_a_defect_in_the_worker_is_the_answer_of_its_command(robot, monkeypatch):
    monkeypatch.setattr(robot.node._worker, "submit", lambda *_, **__: 1 / 0)
    robot.send_command("the mug")
    assert robot.answer().code == Code.INTERNAL


def test_thousands_of_malformed_messages_leave_the_node_alive(make_robot):
    robot = make_robot(image_qos="reliable").is_("active")
    rng = np.random.default_rng(3)
    robot.until(robot.images.get_subscription_count, "the subscription")
    for number in range(1000):
        robot.images.publish(malformed_image(rng))
        robot.until(lambda number=number: robot.node.images_seen > number, "the image")
    for number in range(100):
        robot.send_command("".join(chr(c) for c in rng.integers(0, 32, int(rng.integers(0, 20)))))
        robot.answer(number + 1)
    counted = sum(robot.node._health._rejected.values())
    assert counted == 1100
    robot.publish_image()
    robot.send_command("the mug")
    assert robot.answer(101).code == Code.OK


def malformed_image(rng: np.random.Generator) -> Image:
    """An image whose fields cannot all be true."""
    image = picture(8, 6)
    kind = int(rng.integers(5))
    if kind == 0:
        image.encoding = str(rng.choice(["", "rgb", "\u202ergb8", "64FC4", "x" * 1000]))
    elif kind == 1:
        image.height = int(rng.choice([0, 7, 2**16, 2**32 - 1]))
    elif kind == 2:
        image.width = int(rng.choice([0, 2**16, 2**31, 2**32 - 1]))
    elif kind == 3:
        image.step = int(rng.choice([0, 1, 2**32 - 1]))
    else:
        del image.data[int(rng.integers(0, 100)) :]
    return image


def test_detections_are_published_where_vision_msgs_is_installed(make_robot):
    vision_msgs = pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed here, and optional")
    robot = make_robot().is_("active")
    found = robot.listen("detections", vision_msgs.Detection2DArray)
    robot.publish_image(picture(80, 40))
    robot.send_command("the mug")
    answer = robot.answer()
    array = robot.until(lambda: found, "the detections")[0]
    assert array.header == answer.header
    detection = array.detections[0]
    assert (detection.bbox.center.position.x, detection.bbox.center.position.y) == (40.0, 20.0)
    assert (detection.bbox.size_x, detection.bbox.size_y, detection.id) == (40.0, 20.0, "")
    assert detection.results[0].hypothesis.class_id == "the mug"


def test_an_answer_keeps_its_header_however_many_frames_are_decoded_before_it_is_published(robot, monkeypatch):
    publish = robot.node._commands._publish

    def publish_late(*end):
        for second in range(20):
            robot.node._camera.wrap(picture(stamp=(second, 0), frame_id="later"))()
        return publish(*end)

    monkeypatch.setattr(robot.node._commands, "_publish", publish_late)
    image = picture(stamp=(1234567, 8), frame_id="left/optical")
    robot.publish_image(image)
    robot.send_command("the mug")
    assert robot.answer().header == image.header
