"""Answers carried to now, and what is followed: ids, hiding, losing, finding again, stopping."""

from collections.abc import Mapping

import numpy as np
import pytest

from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Segmentation
from segzero_ros.reasoner import never
from segzero_ros.tracking.following import Following
from segzero_ros.tracking.kept import KeptFrames, chosen
from segzero_ros.worker import Arrival, Job
from tests.tracking.blobs import SIZE, ColourTracker, ground, picture

SECOND = 1_000_000_000


class World:
    """A clock, a camera and a following of what is asked; ``said``: what is published, with the stamp of its frame."""

    def __init__(self, **settings: float) -> None:
        self.now_ns = 0
        self.trackers: list[ColourTracker] = []
        self.said: list[tuple[Segmentation, int]] = []
        self.asked = 0
        self.following = Following(self._tracker, self._publish, now=lambda: self.now_ns, **settings)

    def _tracker(self) -> ColourTracker:
        self.trackers.append(ColourTracker())
        return self.trackers[-1]

    def _publish(self, result: Segmentation, source: object) -> None:
        self.said.append((result, source.stamp_ns if isinstance(source, Frame) else -1))

    def see(self, places: Mapping[str, tuple[int, int]], seconds: float = 0.1, **options: tuple[int, int]) -> Arrival:
        """A frame comes ``seconds`` later."""
        self.now_ns += int(seconds * SECOND)
        arrival = Arrival(picture(places, self.now_ns, **options), self.now_ns)
        self.following.keep(arrival)
        return arrival

    def command(
        self, text: str, arrival: Arrival, meanwhile: list[Mapping[str, tuple[int, int]]], *, track: bool = False
    ) -> tuple[Segmentation, Arrival]:
        """Ground a command on a frame while others come."""
        job = Job(Command(text, text), track=track)
        self.following.begin()
        for places in meanwhile:
            self.see(places)
        result = ground(arrival.decode(), job.command)
        return self.following.carry(job, result, arrival, lambda: False)

    def step(self, places: Mapping[str, tuple[int, int]], seconds: float = 0.1, **options: tuple[int, int]) -> None:
        self.said.clear()
        self.following.step(self.see(places, seconds, **options), self._ground)

    def _ground(self, frame: Frame, command: Command) -> Segmentation:
        self.asked += 1
        return ground(frame, command)


def test_an_old_answer_is_of_the_newest_frame_and_says_of_which_it_was() -> None:
    world = World()
    first = world.see({"red": (5, 5)})
    answer, arrival = world.command("red", first, [{"red": (5 + 4 * k, 5)} for k in range(1, 8)])

    assert answer.tracked and answer.grounded_ns == first.decode().stamp_ns
    assert answer.frame is arrival.decode() and answer.frame.stamp_ns == world.now_ns
    assert answer.instances[0].box == (33.0, 5.0, 33.0 + SIZE, 5.0 + SIZE)
    assert answer.labels[8, 40] == 1 and answer.labels[8, 8] == 0
    assert answer.reasoning == "thought" and answer.timing.tokens == 3
    assert not world.following.active, "nobody asked to follow it"


def test_a_quick_answer_stays_on_the_frame_that_was_looked_at() -> None:
    world = World()
    first = world.see({"red": (5, 5)})
    answer, arrival = world.command("red", first, [{"red": (9, 5)}])

    assert arrival is first and not answer.tracked and answer.grounded_ns is None
    assert not world.trackers


def test_an_answer_on_a_picture_of_ones_own_is_never_carried() -> None:
    world = World()
    first = world.see({"red": (5, 5)})
    job = Job(Command("red", "red"), given=True)
    world.following.begin()
    for step in range(1, 20):
        world.see({"red": (5 + step, 5)})
    answer, arrival = world.following.carry(job, ground(first.decode(), job.command), first, lambda: False)
    assert arrival is first and not answer.tracked


def test_what_is_hidden_by_now_keeps_its_mask_of_then_and_says_so() -> None:
    world = World()
    first = world.see({"red": (5, 5)})
    answer, arrival = world.command("red", first, [{}] * 6)
    assert arrival is first and answer.code is Code.OK and "hidden in the newest frame" in answer.detail


def test_of_several_objects_those_that_are_seen_now_are_numbered_anew() -> None:
    world = World()
    first = world.see({"red": (5, 5), "blue": (40, 5)})
    answer, _ = world.command("red blue", first, [{"blue": (50, 20)}] * 5, track=True)
    assert [(one.label, one.mask_index, one.track_id) for one in answer.instances] == [("blue", 1, 2)]
    assert set(np.unique(answer.labels)) == {0, 1}


def test_a_followed_object_keeps_its_id_in_every_frame() -> None:
    world = World()
    answer, _ = world.command("red blue", world.see({"red": (5, 5), "blue": (40, 5)}), [], track=True)
    ids = [one.track_id for one in answer.instances]
    assert ids == [1, 2]
    for step in range(1, 6):
        world.step({"red": (5 + step, 5), "blue": (40, 5 + step)})
        (said, stamp) = world.said[0]
        assert [one.track_id for one in said.instances] == ids
        assert stamp == world.now_ns == said.frame.stamp_ns and said.tracked
        assert said.instances[0].box[0] == 5 + step


def test_two_commands_are_followed_side_by_side() -> None:
    world = World()
    world.command("red", world.see({"red": (5, 5), "blue": (40, 5)}), [], track=True)
    world.command("blue", world.see({"red": (6, 5), "blue": (40, 5)}), [], track=True)
    world.step({"red": (7, 5), "blue": (41, 5)})
    assert [(said.command.text, said.instances[0].track_id) for said, _ in world.said] == [("red", 1), ("blue", 2)]
    assert len(world.trackers) == 1


def test_a_command_that_is_not_followed_leaves_those_that_are() -> None:
    world = World()
    world.command("red", world.see({"red": (5, 5), "blue": (40, 5)}), [], track=True)
    world.command("blue", world.see({"red": (6, 5), "blue": (40, 5)}), [{"red": (8, 5), "blue": (40, 5)}] * 6)
    world.step({"red": (9, 5), "blue": (41, 5)})
    assert [said.command.text for said, _ in world.said] == ["red"]
    assert list(world.trackers[0].colours) == [1], "what was only carried is forgotten"


def test_what_is_not_seen_is_hidden_and_comes_back_with_its_id() -> None:
    world = World()
    world.command("red", world.see({"red": (5, 5)}), [], track=True)
    world.step({})
    (said, _) = world.said[0]
    assert said.code is Code.TRACK_HIDDEN and not said.instances and not said.labels.any()
    world.step({"red": (50, 5)})
    assert world.said[0][0].code is Code.OK and world.said[0][0].instances[0].track_id == 1
    assert world.asked == 0


def test_what_stays_hidden_is_looked_for_again_and_lost_if_it_is_not_there() -> None:
    world = World(lost_s=1.0)
    world.command("red", world.see({"red": (5, 5)}), [], track=True)
    for _ in range(12):
        world.step({})
        if not world.following.active:
            break
    (said, _) = world.said[-1]
    assert said.code is Code.TRACK_LOST and "NO_TARGET" in said.detail
    assert world.asked == 1 and not world.following.active


def test_what_is_found_again_keeps_its_id() -> None:
    world = World(lost_s=1.0)
    world.command("red", world.see({"red": (5, 5)}), [], track=True)
    world.trackers[0].colours[1] = (1, 2, 3)  # its look has changed, so that the tracker cannot know it again
    for _ in range(12):
        world.step({"red": (30, 30)})
    said = world.said[-1][0]
    assert world.asked == 1
    assert said.code is Code.OK and said.instances[0].track_id == 1 and said.instances[0].box[0] == 30


def test_without_grounding_again_what_stays_hidden_is_lost() -> None:
    world = World(lost_s=0.5, reground_s=0.0)
    world.command("red", world.see({"red": (5, 5)}), [], track=True)
    for _ in range(8):
        world.step({})
        if not world.following.active:
            break
    assert world.said[-1][0].code is Code.TRACK_LOST and world.asked == 0


def test_engines_that_end_are_asked_anew_and_the_ids_stay() -> None:
    world = World()
    world.command("red", world.see({"red": (5, 5)}), [], track=True)
    world.trackers[0].broken = True
    world.step({"red": (6, 5)})
    assert world.said[-1][0].instances[0].track_id == 1 and world.asked == 1
    world.step({"red": (7, 5)})
    assert world.said[-1][0].instances[0].box[0] == 7 and len(world.trackers) == 2


def test_stop_ends_one_command_or_all_and_an_unknown_one_is_told() -> None:
    world = World()
    world.command("red", world.see({"red": (5, 5), "blue": (40, 5)}), [], track=True)
    world.command("blue", world.see({"red": (5, 5), "blue": (40, 5)}), [], track=True)
    assert world.following.stop("green") is Code.TRACK_UNKNOWN
    world.said.clear()
    assert world.following.stop("red") is Code.OK
    assert [(said.command.text, said.code) for said, _ in world.said] == [("red", Code.CANCELLED)]
    world.step({"red": (5, 5), "blue": (40, 5)})
    assert [said.command.text for said, _ in world.said] == ["blue"]
    assert world.following.stop("") is Code.OK and not world.following.active
    assert world.following.stop("") is Code.TRACK_UNKNOWN


def test_frames_that_change_their_size_are_followed_on() -> None:
    world = World()
    world.command("red", world.see({"red": (5, 5)}), [], track=True)
    world.step({"red": (5, 5)}, size=(200, 120))
    said = world.said[0][0]
    assert said.labels.shape == (120, 200) and said.code is Code.OK


def test_more_objects_than_can_be_followed_keep_the_answer_and_say_why() -> None:
    world = World()
    for index in range(16):
        world.following.carry(
            Job(Command(str(index), "red"), track=True),
            ground(picture({"red": (5, 5)}), Command(str(index), "red")),
            Arrival(picture({"red": (5, 5)}), world.now_ns),
            lambda: False,
        )
    answer, _ = world.command("blue", world.see({"blue": (5, 5)}), [], track=True)
    assert answer.code is Code.OK and answer.instances[0].track_id == 0
    assert "stop some first" in answer.detail


def test_carrying_ends_when_the_command_is_stopped() -> None:
    world = World()
    first = world.see({"red": (5, 5)})
    job = Job(Command("red", "red"))
    world.following.begin()
    for step in range(1, 20):
        world.see({"red": (5 + step, 5)})
    world.following.carry(job, ground(first.decode(), job.command), first, lambda: True)
    assert world.trackers[0].steps == 0


def test_a_listener_that_raises_does_not_end_the_following(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.command("red", world.see({"red": (5, 5)}), [], track=True)

    def refuse(*_: object) -> None:
        raise ValueError("no")

    monkeypatch.setattr(world.following, "_publish", refuse)
    world.step({"red": (6, 5)})
    monkeypatch.undo()
    world.step({"red": (7, 5)})
    assert world.said[0][0].code is Code.OK


def test_a_tracker_that_ends_while_an_answer_is_carried_leaves_nothing_of_its_numbers_behind() -> None:
    world = World()
    first = world.see({"red": (5, 5), "blue": (40, 5)})

    def end() -> None:
        if world.trackers[0].steps == 3:
            world.trackers[0].broken = True

    job = Job(Command("red", "red"), track=True)
    world.following.begin()
    for step in range(1, 7):
        world.see({"red": (5 + step, 5), "blue": (40, 5)})
    world.following._start(first.decode(), np.zeros((0, 64, 96), bool))  # the first tracker is there
    world.trackers[0].on_step = end
    world.following.carry(job, ground(first.decode(), job.command), first, lambda: False)
    world.command("blue", world.see({"red": (12, 5), "blue": (40, 5)}), [], track=True)
    world.step({"red": (13, 5), "blue": (41, 5)})
    said = {said.command.text: int(np.flatnonzero(said.labels.any(0))[0]) for said, _ in world.said}
    assert said == {"red": 13, "blue": 41}, "the red one is grounded again, not taken for the blue one"


def test_a_frame_that_cannot_be_read_is_left_out_of_carrying() -> None:
    world = World()
    first = world.see({"red": (5, 5)})

    def refuse() -> Frame:
        raise RejectedInput(Code.IMAGE_UNREADABLE, "cut short")

    job = Job(Command("red", "red"))
    world.following.begin()
    for step in range(1, 7):
        world.see({"red": (5 + step, 5)})
        world.now_ns += SECOND // 20
        world.following.keep(Arrival(refuse, world.now_ns))
    answer, arrival = world.following.carry(job, ground(first.decode(), job.command), first, lambda: False)
    assert answer.tracked and answer.instances[0].box[0] >= 10.0
    assert arrival.decode() is answer.frame


def test_frames_of_a_commands_time_are_stepped_through_for_what_was_followed_before() -> None:
    world = World()
    world.command("red", world.see({"red": (5, 5), "blue": (40, 5)}), [], track=True)
    before = world.trackers[0].steps
    world.following.begin()
    now = world.see({"red": (6, 5), "blue": (40, 5)})
    for step in range(7, 12):
        world.see({"red": (step, 5), "blue": (40, 5)})
    other = Command("blue", "blue")
    world.following.carry(Job(other, given=True), ground(now.decode(), other), now, never)
    world.step({"red": (13, 5), "blue": (40, 5)})
    assert world.trackers[0].steps > before + 2, "not in one leap"
    assert [said.command.text for said, _ in world.said] == ["red"]


def test_what_is_stopped_while_it_is_grounded_again_is_said_to_be_cancelled_and_nothing_after() -> None:
    world = World(lost_s=0.5)
    world.command("red", world.see({"red": (5, 5)}), [], track=True)

    def stop_meanwhile(frame: Frame, command: Command) -> Segmentation:
        world.following.stop("red")
        return ground(picture({"red": (5, 5)}, frame.stamp_ns), command)

    for _ in range(8):
        world.said.clear()
        world.following.step(world.see({}), stop_meanwhile)
        if not world.following.active:
            break
    assert [said.code for said, _ in world.said] == [Code.TRACK_HIDDEN, Code.CANCELLED]
    world.step({"red": (5, 5)})
    assert not world.said


def test_the_frames_kept_are_bounded_spread_and_end_with_the_newest() -> None:
    kept = KeptFrames(8)
    frames = [Arrival(picture({}, stamp), stamp) for stamp in range(1000)]
    for frame in frames:
        kept.add(frame)
    taken = kept.take()
    stamps = [frame.at_ns for frame in taken]
    assert len(taken) <= 9 and stamps == sorted(stamps) and stamps[-1] == 999
    gaps = np.diff(stamps[:-1])
    assert gaps.min() == gaps.max() and stamps[0] < 999 // 2
    assert kept.take() == []


@pytest.mark.parametrize(("count", "budget_s", "steps"), [(10, 1.0, 10), (10, 0.3, 3), (10, 0.0, 1), (1, 5.0, 1)])
def test_as_many_frames_are_stepped_through_as_there_is_time_for(count: int, budget_s: float, steps: int) -> None:
    frames = [Arrival(picture({}, stamp), stamp) for stamp in range(count)]
    picked = chosen(frames, 0.1, budget_s)
    assert len(picked) == steps and picked[-1] is frames[-1]
    assert len({id(frame) for frame in picked}) == steps
