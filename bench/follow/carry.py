"""Carrying a mask from the frame that was looked at to now: the node's own `tracking/following.py`, on a clock of ours.

The clock is simulated: thinking takes the seconds that are asked for, drawing takes none, and what the tracker computes
takes the time that it really took. Frames arrive meanwhile at the camera's rate.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.follow.world import Camera
from segzero_ros.answer import Target
from segzero_ros.command import Command
from segzero_ros.errors import Code
from segzero_ros.frame import Frame
from segzero_ros.matching import box_of_mask, inner_point
from segzero_ros.pipeline import Instance, Segmentation, Timing
from segzero_ros.segmenter import Segmenter, Tracker
from segzero_ros.tracking.following import Following
from segzero_ros.worker import Arrival, Job


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """A mask (H, W), the number of the frame in its header, and when it was published, seconds after the first frame.

    `note`: what the answer says about its being followed, "" = nothing.
    """

    mask: NDArray[np.bool_]
    frame: int
    at_s: float
    note: str


class Clock:
    """Time since the first frame, which begins at `begin_s` and then passes as it really does, drawing excepted."""

    def __init__(self, camera: Camera, begin_s: float) -> None:
        self._camera, self._begin_s = camera, begin_s
        self._real_s, self._drawing_s, self._next = time.perf_counter(), 0.0, 0
        self.keep: Callable[[Arrival], None] = lambda arrival: None

    def now_s(self) -> float:
        """Seconds since the first frame."""
        return self._begin_s + time.perf_counter() - self._real_s - self._drawing_s

    def now_ns(self) -> int:
        """The same in nanoseconds, after the frames that are due by now have arrived."""
        now_s = self.now_s()
        while self._camera.time_of(self._next) <= now_s:
            self.keep(self.arrival(self._next))
            self._next += 1
        return round(1e9 * now_s)

    def arrival(self, number: int) -> Arrival:
        """A frame as the worker has it: drawn when it is decoded."""
        return Arrival(lambda: self._draw(number), round(1e9 * self._camera.time_of(number)))

    def _draw(self, number: int) -> Frame:
        began_s = time.perf_counter()
        frame = self._camera.frame(number)
        self._drawing_s += time.perf_counter() - began_s
        return frame


def first_mask(camera: Camera, segmenter: Segmenter | None) -> NDArray[np.bool_]:
    """The mask (H, W) of the moving thing in the first frame: the segmenter's of its true box, the true one without."""
    if segmenter is None:
        return camera.truth(0)
    seen = camera.seen(0)
    segmenter.set_image(camera.frame(0))
    return np.asarray(segmenter.predict((Target(seen.box, (seen.point,)),)).masks[0])


def publish_at_once(mask: NDArray[np.bool_], ready_s: float) -> Published:
    """The mask of the first frame as it is, when the answer is ready."""
    return Published(mask, 0, ready_s, "")


def carry(camera: Camera, mask: NDArray[np.bool_], ready_s: float, new_tracker: Callable[[], Tracker]) -> Published:
    """The mask followed from the first frame, on which the command began, to now, from when the answer is ready on."""
    clock = Clock(camera, ready_s)
    following = Following(new_tracker, lambda answer, source: None, carry_after_s=0.0, now=clock.now_ns)
    first = clock.arrival(0)
    first.decode()
    following.begin()
    clock.keep = following.keep
    clock.now_ns()
    command = Command("bench", "the thing that moves")
    answer, arrival = following.carry(Job(command), _answer(command, mask, first.decode()), first, lambda: False)
    number = camera.number_at(arrival.at_ns / 1e9)
    return Published(np.asarray(answer.labels == 1), number, clock.now_s(), answer.detail)


def _answer(command: Command, mask: NDArray[np.bool_], frame: Frame) -> Segmentation:
    instance = Instance(command.text, 1.0, box_of_mask(mask), inner_point(mask), 1)
    return Segmentation(command, Code.OK, "", "", (instance,), mask.astype(np.uint8), frame, Timing(), "")
