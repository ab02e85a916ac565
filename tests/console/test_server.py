"""What pages are told and may ask, by a real server on a real socket; the robot behind it only takes notes."""

import http.client
import json
import struct
import time

import cv2
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from segzero_ros.console.hub import PICTURE
from segzero_ros.frame import Frame
from tests.console.conftest import FRAME, PATIENCE_S, Page, Served

LARGE = Frame(np.random.default_rng(2).integers(0, 256, (480, 640, 3), np.uint8), 9, "camera")


def until(done, what):
    end = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < end, what
        time.sleep(0.005)


def got(served: Served, name: str) -> bytes:
    connection = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=PATIENCE_S)
    connection.request("GET", f"/answers/{name}")
    answer = connection.getresponse()
    assert answer.status == 200
    return answer.read()


def test_a_page_gets_the_cameras_newest_picture_with_its_size_and_stamp(served: Served) -> None:
    with served.page() as page:
        page.hear("health")
        served.camera()
        head, jpeg = (said := page.picture())[: PICTURE.size], said[PICTURE.size :]
    assert PICTURE.unpack(head) == (1, 80, 60, FRAME.stamp_ns)
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (60, 80, 3)


def test_without_a_page_no_picture_is_encoded(served: Served) -> None:
    def decode() -> Frame:
        raise AssertionError("decoded for nobody")

    served.hub.on_image(1, decode, object())


def test_thinking_and_answer_come_to_all_pages_and_to_those_that_open_later(served: Served) -> None:
    with served.page() as first:
        assert first.hear("hello")["answers"] == []
        served.camera()
        served.hub.on_thinking("a mug, and it is")
        assert first.hear("thinking")["text"] == "a mug, and it is"
        served.answer()
        told = first.hear("answer")
    assert (told["command"], told["code"], told["width"], told["has_picture"]) == ("the red mug", "OK", 80, True)
    assert told["objects"][0]["box"] == [20, 15, 60, 45]
    with served.page() as second:
        assert second.hear("hello")["answers"] == [told]


def test_an_answer_has_its_own_picture_and_mask(served: Served) -> None:
    with served.page() as page:
        served.camera()
        served.answer()
        number = page.hear("answer")["number"]
    labels = cv2.imdecode(np.frombuffer(got(served, f"{number}/mask.png"), np.uint8), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (60, 80) and (labels == 1).sum() == 40 * 30
    assert got(served, f"{number}/picture.jpg")[:2] == b"\xff\xd8"


def test_an_answer_finds_its_picture_however_long_the_thinking_took(served: Served) -> None:
    with served.page() as page:
        page.hear("health")
        served.camera()
        served.hub.on_thinking("well, ")
        for stamp in range(200):  # 184 MB: more than is kept of what came last
            served.camera(Frame(LARGE.rgb, 10_000 + stamp, "camera"))
        served.answer()
        assert page.hear("answer")["has_picture"]


def test_what_is_asked_reaches_the_robot(served: Served) -> None:
    with served.page() as page:
        page.say("ask", text="the mug", track=True)
        page.say("stop")
        assert page.hear("note") == {"type": "note", "good": True, "text": "done"}
        page.say("save")
        page.hear("note")
    assert served.robot.asked == [("ask", "the mug", True), ("stop",), ("save",)]


def test_health_is_the_worst_part_and_what_it_says(served: Served) -> None:
    part = {"level": "OK", "message": "active", "values": {}}
    with served.page() as page:
        page.hear("health")
        served.hub.on_health({"node": part})
        assert page.hear("health")["message"] == "all is well"
        served.hub.on_health({"node": part, "camera": {**part, "level": "ERROR", "message": "no frame for 3 s"}})
        told = page.hear("health")
        assert (told["level"], told["message"]) == ("ERROR", "camera: no frame for 3 s")
        served.hub.on_health({})
        assert "is it running" in page.hear("health")["message"]


# ---- corrections ----


def test_what_a_person_points_at_is_masked_and_kept(served: Served) -> None:
    with served.page() as page:
        served.camera()
        served.answer()
        number = page.hear("answer")["number"]
        target = {"box": [10, 5, 30, 25], "on": [[12.5, 8]], "off": [[29, 24]]}
        page.say("correct", number=number, serial=3, targets=[target])
        told = page.hear("corrected")
        page.say("keep", number=number)
        assert page.hear("kept")["corrections"] == 1
    assert (told["serial"], told["objects"][0]["box"]) == (3, [10, 5, 30, 25])
    ((image, answer, result, prompts),) = served.shelf.kept
    assert (image.width, answer, result.command.text) == (80, "the answer's message", "the red mug")
    assert (result.labels == 1).sum() == 400 and [config.host for config in served.opened] == ["/host.sock"]
    assert json.loads(json.dumps(prompts)) == [target]


def test_nothing_there_is_a_correction_too(served: Served) -> None:
    with served.page() as page:
        served.camera()
        served.answer()
        number = page.hear("answer")["number"]
        page.say("correct", number=number, serial=1, targets=[])
        assert page.hear("corrected")["objects"] == []
        page.say("keep", number=number)
        page.hear("kept")
    assert served.shelf.kept[0][2].code.name == "NO_TARGET" and not served.shelf.kept[0][2].labels.any()
    assert served.opened == []  # no engine is asked


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"number": 99, "targets": []}, "not kept any more"),
        ({"number": 1, "targets": [{"box": [10, 5, 81, 25], "on": [], "off": []}]}, "beside the 80 x 60 picture"),
        ({"number": 1, "targets": [{"box": [10, 5, 10, 25], "on": [], "off": []}]}, "without an area"),
        ({"number": 1, "targets": [{"box": [1, 2, 3, 4], "on": [[90, 2]], "off": []}]}, "beside the 80 x 60"),
        ({"number": 1, "targets": [{"box": [1, 2, 3, float("nan")], "on": [], "off": []}]}, "no pixels"),
        ({"number": 1, "targets": [{"box": [1, 2, 3, 10**400], "on": [], "off": []}]}, "no pixels"),
        ({"number": 1, "targets": [{"box": [1, 2, 3]}]}, "4 numbers"),
        ({"number": 1, "targets": [{"box": [1, 2, 3, 4], "on": [[1, 2]] * 33, "off": []}]}, "at most 32 points"),
        ({"number": 1, "targets": [{"box": [1, 2, 3, 4], "on": [], "off": []}] * 17}, "at most 16"),
        ({"number": 1, "targets": "all"}, "at most 16"),
        ({"number": True, "targets": []}, "whole number"),
    ],
)
def test_a_correction_that_cannot_be_is_refused_in_words(served: Served, values: dict, words: str) -> None:
    with served.page() as page:
        served.camera()
        served.answer()
        page.hear("answer")
        page.say("correct", serial=1, **values)
        assert words in page.hear("note")["text"]
        page.say("stop")
        assert page.hear("note")["text"] == "done"


def test_the_segmenter_is_opened_once_and_again_where_the_node_has_other_engines(served: Served) -> None:
    with served.page() as page:
        served.camera()
        served.answer()
        number, targets = page.hear("answer")["number"], [{"box": [1, 2, 9, 9], "on": [], "off": []}]
        for serial, host in enumerate(("", "", "/other.sock")):
            served.parameters = {"host": host}
            page.say("correct", number=number, serial=serial, targets=targets)
            assert page.hear("corrected")["serial"] == serial
    assert [config.host for config in served.opened] == ["", "/other.sock"]


def test_a_node_that_says_nothing_of_its_engines_is_named(served: Served) -> None:
    served.parameters = {}
    with served.page() as page:
        served.camera()
        served.answer()
        number, targets = page.hear("answer")["number"], [{"box": [1, 2, 9, 9], "on": [], "off": []}]
        page.say("correct", number=number, serial=1, targets=targets)
        assert "is it running" in page.hear("note")["text"]


# ---- audio ----


def test_one_page_speaks_at_a_time_and_a_pause_follows(served: Served) -> None:
    pcm = struct.pack("<4h", 1, -2, 3, -4)
    with served.page() as one, served.page() as other:
        one.say("talk", on=True)
        assert one.hear("talk")["on"]
        other.say("talk", on=True)
        assert "somebody else speaks" in other.hear("talk")["detail"]
        other.socket.send(pcm)  # not its turn: not published
        other.say("stop")
        other.hear("note")
        assert pcm not in served.robot.audio
        one.socket.send(pcm)
        one.say("talk", on=False)
        until(lambda: len(served.robot.audio) == 14, "a pause of 1.2 s")
        other.say("talk", on=True)
        assert other.hear("talk")["on"]
    assert served.robot.audio[1] == pcm and set(served.robot.audio[2]) == {0}


def test_a_page_that_goes_away_while_it_speaks_leaves_the_turn_to_others(served: Served) -> None:
    with served.page() as one:
        one.say("talk", on=True)
        one.hear("talk")
    with served.page() as other:
        until(lambda: len(served.robot.audio) >= 13, "the pause behind what was said")
        other.say("talk", on=True)
        assert other.hear("talk")["on"]


def test_without_a_listener_a_page_is_told_which_to_start(served: Served) -> None:
    served.robot.listens = False
    with served.page() as page:
        page.say("talk", on=True)
        assert "segzero_listener" in page.hear("talk")["detail"]


@pytest.mark.parametrize("broken", [b"", b"\x01", b"x" * 32_002])
def test_broken_audio_is_refused_and_the_page_goes_on(served: Served, broken: bytes) -> None:
    with served.page() as page:
        page.say("talk", on=True)
        page.hear("talk")
        page.socket.send(broken)
        assert "bytes of audio" in page.hear("note")["text"]
        assert broken not in served.robot.audio
        page.say("stop")
        assert page.hear("note")["text"] == "done"


# ---- pages that do not behave ----


@pytest.mark.parametrize(
    "said",
    ['', '{', '[]', 'null', '"ask"', '{"type": ["ask"]}', '{"type": "ask"}', '{"type": "ask", "text": 5}',
     '{"type": "ask", "text": "mug", "track": 1}', '{"type": "fly"}', "[" * 50_000, '{"type": "watch", "on": null}'],
)  # fmt: skip
def test_what_is_no_question_is_answered_with_a_line(served: Served, said: str) -> None:
    with served.page() as page:
        page.socket.send(said)
        assert page.hear("note")["text"].startswith("got ")
        page.say("stop")
        assert page.hear("note")["text"] == "done"
    assert served.robot.asked == [("stop",)]


def test_a_message_that_is_too_long_ends_its_page_and_no_other(served: Served) -> None:
    with served.page() as good, served.page() as bad:
        bad.socket.send("x" * 200_000)
        with pytest.raises(ConnectionClosed):
            bad.hear("note")
        good.say("stop")
        assert good.hear("note")["text"] == "done"


def test_a_page_that_never_reads_slows_no_other(served: Served) -> None:
    """It gets two pictures and no more until it says that it has shown them; the other sees each."""
    with served.page() as idle, served.page() as good:
        good.hear("health")
        idle.hear("health")
        for number in range(60):
            served.camera(Frame(LARGE.rgb, number + 1, "camera"))
            assert PICTURE.unpack(good.picture()[: PICTURE.size])[3] == number + 1
            good.say("seen")
        stamps = [PICTURE.unpack(idle.picture()[: PICTURE.size])[3] for _ in range(2)]
        assert stamps[0] == 1 and stamps[1] <= 60
        idle.say("seen")
        assert PICTURE.unpack(idle.picture()[: PICTURE.size])[3] == 60  # the newest, not the one that came next


def test_a_page_that_takes_nothing_at_all_is_closed_and_its_memory_bounded(served: Served) -> None:
    from segzero_ros.console.viewer import MOST_WAITING, Viewer

    viewer = Viewer()
    for number in range(MOST_WAITING + 50):
        viewer.tell("thinking", "well, " * number)
        viewer.tell("note", "{}")
    assert viewer.is_lost and len(viewer._events) <= MOST_WAITING


def test_more_pages_than_there_is_room_for_are_refused(served: Served) -> None:
    from segzero_ros.console.app import MOST_VIEWERS

    pages = [served.page() for _ in range(MOST_VIEWERS)]
    for page in pages:
        page.hear("hello")
    with served.page() as one_more, pytest.raises(ConnectionClosed, match="pages are open already"):
        one_more.hear("hello")
    for page in pages:
        page.socket.close()


def test_a_hidden_page_gets_no_pictures(served: Served) -> None:
    with served.page() as page:
        page.say("watch", on=False)
        page.say("stop")
        page.hear("note")
        served.hub.on_image(1, lambda: pytest.fail("encoded for nobody"), object())
        assert isinstance(page, Page)
