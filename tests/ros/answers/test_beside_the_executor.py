"""What an answer needs time for is done beside the executor, and nothing of it delays the answer."""

import threading

import pytest
from sensor_msgs.msg import CompressedImage, Image

from segzero_ros import overlay
from segzero_ros.backends.fake import GarbageReasoner
from segzero_ros.errors import Code
from segzero_ros.ros import convert, outputs
from segzero_ros.ros.executor.aside import NewestCall

PATIENCE_S = 60.0


class Watched:
    """A function that notes the names of the threads it is called in."""

    def __init__(self, call):
        self.call, self.threads = call, []

    def __call__(self, *args, **named):
        self.threads.append(threading.current_thread().name)
        return self.call(*args, **named)


def watch(monkeypatch, place, name):
    watched = Watched(getattr(place, name))
    monkeypatch.setattr(place, name, watched)
    return watched


def viewer(robot):
    """The overlays that come, once the node knows that somebody looks."""
    overlays = robot.listen("overlay/compressed", CompressedImage)
    robot.until(robot.node._outputs._publishers["overlay/compressed"].get_subscription_count, "the viewer")
    return overlays


def test_mask_positions_and_overlay_are_made_in_other_threads_than_the_executors(make_robot, monkeypatch):
    robot = make_robot(use_depth=True).is_("active")
    mask = watch(monkeypatch, convert, "mask_message")
    place = watch(monkeypatch, robot.node._camera, "locate")
    paint = watch(monkeypatch, overlay, "draw_overlay")
    overlays = viewer(robot)
    robot.publish_image()
    robot.send_command("the mug")
    assert robot.answer().detail.startswith("DEPTH_UNUSABLE")
    robot.until(lambda: overlays, "the overlay")
    assert (mask.threads, place.threads, paint.threads) == (["segzero-worker"], ["segzero-worker"], ["segzero-painter"])


@pytest.mark.parametrize("code", [Code.ANSWER_UNREADABLE, Code.NOT_ACTIVE])
def test_a_command_that_ends_otherwise_has_a_mask_too(make_robot, code):
    robot = make_robot(GarbageReasoner()).is_("active")
    if code is Code.NOT_ACTIVE:
        robot.enable(False)
    else:
        robot.publish_image()
    robot.send_command("the mug")
    answer = robot.answer()
    assert (answer.code, len(answer.mask.data)) == (code, 64 * 48 if code is Code.ANSWER_UNREADABLE else 0)


def test_what_was_prepared_for_another_end_of_the_command_is_not_published(robot):
    before_end = robot.node._worker._before_end

    def expire(job, result):
        before_end(job, result)
        robot.node._worker._end(job, Code.TIMEOUT, "too late")

    robot.node._worker._before_end = expire
    robot.publish_image()
    robot.send_command("the mug")
    answer = robot.answer()
    assert (answer.code, answer.instances, any(answer.mask.data)) == (Code.TIMEOUT, [], False)


def test_a_slow_painter_holds_up_neither_answers_nor_the_next_command(robot, monkeypatch):
    paint, at_work, free = overlay.draw_overlay, threading.Event(), threading.Event()
    painted = []

    def slow(result):
        at_work.set()
        assert free.wait(PATIENCE_S)
        painted.append(result.command.text)
        return paint(result)

    monkeypatch.setattr(overlay, "draw_overlay", slow)
    overlays, masks = viewer(robot), robot.listen("mask", Image)
    robot.publish_image()
    for number, text in enumerate(("the mug", "the bowl", "the cup", "the fork"), start=1):
        robot.send_command(text)
        assert robot.answer(number).code == Code.OK
        robot.until(at_work.is_set, "the painter")
    robot.until(lambda: len(masks) == 4, "the masks")
    assert robot.goal_result("the spoon")[1].code == Code.OK
    assert not overlays
    free.set()
    robot.until(lambda: len(overlays) == 2, "two overlays: that at work and the newest")
    assert painted == ["the mug", "the spoon"]


def test_a_picture_that_cannot_be_painted_costs_no_other(robot, monkeypatch):
    paint, logged = overlay.draw_overlay, []

    def first_fails(result):
        monkeypatch.setattr(overlay, "draw_overlay", paint)
        raise ValueError("no paint")

    monkeypatch.setattr(overlay, "draw_overlay", first_fails)
    monkeypatch.setattr(outputs.guard, "report", lambda _node, what, error: logged.append((what, str(error))))
    overlays = viewer(robot)
    robot.publish_image()
    for number in (1, 2):
        robot.send_command("the mug")
        robot.answer(number)
        robot.until(lambda: logged, "the report")
    robot.until(lambda: overlays, "the second overlay")
    assert logged == [("overlay", "no paint")]


def test_of_waiting_calls_the_newest_wins_and_closing_drops_it():
    calls, done, at_work, free = NewestCall("test", pytest.fail), [], threading.Event(), threading.Event()
    calls.submit(lambda: (at_work.set(), free.wait(PATIENCE_S), done.append(1)))
    assert at_work.wait(PATIENCE_S)
    for number in (2, 3):
        calls.submit(lambda number=number: done.append(number))
    calls.close(0.0)
    free.set()
    calls._thread.join(PATIENCE_S)
    calls.submit(lambda: done.append(4))
    assert (done, calls._thread.is_alive()) == ([1], False)


def test_closing_one_that_never_had_a_call_does_nothing():
    calls = NewestCall("test", pytest.fail)
    calls.close(PATIENCE_S)
    assert calls._thread is None


def test_the_viewer_of_a_node_that_ends_costs_it_no_hang(make_robot):
    robot = make_robot().is_("active")
    viewer(robot)
    robot.publish_image()
    robot.send_command("the mug")
    robot.answer()
    robot.node._outputs.close()
    assert not robot.node._outputs._painter._thread.is_alive()


def test_the_viewers_quality_counts(robot):
    overlays = viewer(robot)
    sizes = []
    for number, quality in ((1, 1), (2, 95)):
        assert robot.set_parameter("overlay_quality", quality).successful
        robot.publish_image()
        robot.send_command("the mug")
        robot.answer(number)
        robot.until(lambda number=number: len(overlays) == number, "the overlay")
        sizes.append(len(overlays[-1].data))
    assert sizes[0] < sizes[1]
