"""The answers that a page shows, newest last, with their pictures."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from segzero_ros.console.frames import Shot
from segzero_ros.pipeline import Segmentation

MOST_ANSWERS = 50
MOST_BYTES = 64_000_000  # of raw pictures, which corrections need
Values = dict[str, Any]


@dataclass(slots=True, eq=False)
class KeptAnswer:
    """An answer. ``number``: its name on the page. ``picture``: JPEG, ``mask``: PNG, both b"" where there is none.

    ``shot``: the picture as it came, while there is room. ``message``: the
    answer's. ``stamp``: of the picture (ns).
    """

    number: int
    result: Segmentation
    picture: bytes
    mask: bytes
    shot: Shot | None
    message: Any
    stamp: int
    corrections: int = 0

    def values(self) -> Values:
        """Return what the page is told."""
        return {
            "type": "answer",
            "number": self.number,
            "command_id": self.result.command.id,
            "command": self.result.command.text,
            "code": self.result.code.name,
            "detail": self.result.detail,
            "thinking": self.result.reasoning,
            "objects": objects_of(self.result),
            "width": size_of(self.result, self.shot)[0],
            "height": size_of(self.result, self.shot)[1],
            "total_ms": round(self.result.timing.total_ms),
            "stamp": str(self.stamp),  # more than a browser's numbers hold
            "has_picture": bool(self.picture),
            "has_mask": bool(self.mask) and bool(self.result.instances),
            "corrections": self.corrections,
        }


class History:
    """The last answers; one thread at a time."""

    def __init__(self, most: int = MOST_ANSWERS, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._answers: OrderedDict[int, KeptAnswer] = OrderedDict()

    def add(self, answer: KeptAnswer) -> None:
        """Keep the newest answer; the oldest goes where there are too many, and raw pictures before it."""
        self._answers[answer.number] = answer
        while len(self._answers) > self._most:
            self._answers.popitem(last=False)
        left = self._most_bytes
        for kept in reversed(self._answers.values()):
            left -= kept.shot.size if kept.shot is not None else 0
            if left < 0:
                kept.shot = None

    def find(self, number: int) -> KeptAnswer | None:
        """Return the answer of this number, None where it is not kept."""
        return self._answers.get(number)

    def values(self) -> list[Values]:
        """Return all answers, the oldest first."""
        return [answer.values() for answer in self._answers.values()]


def objects_of(result: Segmentation) -> list[Values]:
    """Return the objects of an answer; boxes and points in pixels of its picture."""
    return [
        {
            "label": one.label,
            "score": round(float(one.score), 3),
            "box": [round(float(side), 1) for side in one.box],
            "point": [round(float(side), 1) for side in one.point],
            "number": one.mask_index,
            "track_id": one.track_id,
        }
        for one in result.instances
    ]


def size_of(result: Segmentation, shot: Shot | None) -> tuple[int, int]:
    """Return (width, height) of the picture that an answer is about, 0 x 0 without one."""
    height, width = result.labels.shape
    if width or shot is None:
        return width, height
    return int(getattr(shot.message, "width", 0)), int(getattr(shot.message, "height", 0))
