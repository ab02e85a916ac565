"""A world of coloured squares on grey, and engines that know it: what the following is tested with."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Instance, Segmentation, Timing, unanswered
from segzero_ros.segmenter import Tracks, check_start

SIZE = 12
COLOURS: Mapping[str, tuple[int, int, int]] = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}


def picture(places: Mapping[str, tuple[int, int]], stamp_ns: int = 0, size: tuple[int, int] = (96, 64)) -> Frame:
    """Squares by colour at their upper left corner (x, y); others are not there."""
    rgb = np.full((size[1], size[0], 3), 90, np.uint8)
    for name, (x, y) in places.items():
        rgb[y : y + SIZE, x : x + SIZE] = COLOURS[name]
    return Frame(rgb, stamp_ns, "camera")


def mask_of(frame: Frame, colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    return np.asarray((frame.rgb == colour).all(2))


def ground(frame: Frame, command: Command) -> Segmentation:
    """The command's words are colours; those that are there are found."""
    masks = [(name, mask_of(frame, COLOURS[name])) for name in command.text.split()]
    found = [(name, mask) for name, mask in masks if mask.any()]
    if not found:
        return unanswered(command, Code.NO_TARGET, "nothing there", frame)
    labels = np.zeros(frame.rgb.shape[:2], np.uint8)
    for index, (_, mask) in enumerate(found):
        labels[mask] = index + 1
    instances = tuple(
        Instance(name, 0.9, (0.0, 0.0, 1.0, 1.0), (0.0, 0.0), index + 1) for index, (name, _) in enumerate(found)
    )
    return Segmentation(command, Code.OK, "", "thought", instances, labels, frame, Timing(tokens=3), "text")


class ColourTracker:
    """Knows each object by its colour; ``broken`` makes every call fail as an engine that has ended does."""

    kind = "memory"

    def __init__(self) -> None:
        self.colours: dict[int, tuple[int, int, int]] = {}
        self.steps = 0
        self.broken = False
        self.on_step: Callable[[], None] = lambda: None

    def start(self, frame: Frame, masks: NDArray[np.bool_]) -> tuple[int, ...]:
        self._fail()
        check_start(frame, masks, len(self.colours))
        ids = []
        for mask in masks:
            number = max(self.colours, default=0) + 1
            self.colours[number] = tuple(frame.rgb[mask][0].tolist())
            ids.append(number)
        return tuple(ids)

    def step(self, frame: Frame) -> Tracks:
        self._fail()
        self.steps += 1
        self.on_step()
        masks = np.stack([mask_of(frame, colour) for colour in self.colours.values()] or [np.zeros((0, 0), bool)])
        there = masks.any((1, 2)).astype(np.float32)
        return Tracks(tuple(self.colours), masks, there, there)

    def forget(self, track_id: int) -> None:
        self.colours.pop(track_id, None)

    def _fail(self) -> None:
        if self.broken:
            raise RejectedInput(Code.REASONER_DIED, "the engines' process was killed")
