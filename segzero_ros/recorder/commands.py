"""The commands of a recording, each with its words, its picture and its answer."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame, message_decoder
from segzero_ros.pipeline import Instance, Labels, labels_of
from segzero_ros.recorder.reader import About, Record, Recording

ANSWERS = ("answer", "correction")  # events with a picture and an answer: a model's, or a person's
EVENTS = "recorded"  # the role of the channel that has the raw texts and says which picture an answer is about


@dataclass(frozen=True, slots=True, eq=False)
class RecordedCommand:
    """A command and what became of it.

    ``words``: as they were sent, "" where the recording begins later. ``text``: as they were read. ``answer``: the
    model's raw text. ``code``: None where the recording ends before the answer. ``segmentation``: the answer's message.
    ``image``: what it was grounded on. ``is_marked``: the button was pressed after it and before the next answer.
    ``is_corrected``: the answer is what a person says it should have been, ``answer`` is "" then.
    ``is_carried``: the answer's masks were followed from ``image`` to a later frame. ``about``: what answered.
    """

    id: str
    words: str
    text: str
    answer: str
    code: Code | None
    segmentation: Record | None
    image: Record | None
    about: Mapping[str, str]
    is_marked: bool = False
    is_carried: bool = False
    is_corrected: bool = False

    @property
    def code_name(self) -> str:
        """The name of the code, UNFINISHED without one."""
        return self.code.name if self.code is not None else "UNFINISHED"

    def frame(self) -> Frame:
        """Decode the picture, as the node does; ``RejectedInput`` where that is none, or there is none."""
        if self.image is None:
            raise RejectedInput(Code.NO_FRAME, "no picture was recorded with this command")
        with _as_recorded(self.image):
            is_compressed = self.image.type == "sensor_msgs/msg/CompressedImage"
            return message_decoder(self.image.message, is_compressed=is_compressed)()

    def instances(self) -> tuple[Instance, ...]:
        """Return the objects of the answer; their numbers have the 32 bits of the message. Raises as ``frame``."""
        if self.segmentation is None:
            return ()
        with _as_recorded(self.segmentation):
            found = self.segmentation.message.instances
            return tuple(
                Instance(one.label, one.score, (one.x0, one.y0, one.x1, one.y1), (one.point_x, one.point_y), k)
                for k, one in enumerate(found, start=1)
            )

    def labels(self) -> Labels:
        """Return the label image of the answer, (H, W), 0 x 0 where there was no picture. Raises as ``frame``."""
        if self.segmentation is None:
            return np.zeros((0, 0), np.uint8)
        with _as_recorded(self.segmentation):
            return labels_of(self.segmentation.message.mask)


@contextmanager
def _as_recorded(record: Record) -> Iterator[None]:
    """Refuse (IMAGE_UNREADABLE) a message of another kind than its event says, or with fields that cannot be true."""
    try:
        yield
    except (AttributeError, TypeError, ValueError) as error:
        why = f"got a {record.type} on {record.topic} that is not what its event says ({error})"
        raise RejectedInput(Code.IMAGE_UNREADABLE, f"{why}; the recording is damaged") from None


def read_commands(recording: Recording) -> Iterator[RecordedCommand]:
    """Yield the commands of a recording, answered ones as they ended, then those without an end.

    The file is read twice, so that of its pictures only those are kept that a command still needs.
    """
    survey = _survey(recording)
    reading = _Reading(survey)
    for item in recording.records():
        if isinstance(item, About):
            reading.about = item.values
        elif item.role == EVENTS:
            yield from reading.take_event(_event(item))
        elif item.sequence in survey.wanted:
            reading.kept[item.sequence] = item
    for id, words in reading.words.items():
        yield RecordedCommand(id, words, "", "", None, None, None, reading.about)


@dataclass(slots=True)
class _Survey:
    """How often each record is needed, and which answers were marked by the button."""

    wanted: Counter[int] = field(default_factory=Counter)
    marked: set[str] = field(default_factory=set)


def _survey(recording: Recording) -> _Survey:
    survey, last = _Survey(), ""
    for item in recording.records():
        if not isinstance(item, Record) or item.role != EVENTS:
            continue
        event = _event(item)
        if event.get("event") in ANSWERS:
            survey.wanted.update(number for key in ("image", "answer") if (number := _number(event, key)) is not None)
            last = last if event.get("event") == "correction" else str(event.get("id"))
        elif event.get("event") == "button" and last:
            survey.marked.add(last)
    return survey


class _Reading:
    """The second time through the file: what waits for its answer."""

    def __init__(self, survey: _Survey) -> None:
        self.about: Mapping[str, str] = {}
        self.words: dict[str, str] = {}
        self.kept: dict[int, Record] = {}
        self._left = survey.wanted
        self._marked = survey.marked

    def take_event(self, event: Mapping[str, Any]) -> Iterator[RecordedCommand]:
        """Note the words of a command; yield it once it is answered."""
        id = str(event.get("id", ""))
        if event.get("event") == "command":
            self.words[id] = str(event.get("text", ""))
        if event.get("event") not in ANSWERS:
            return
        image, answer = (self._use(_number(event, key)) for key in ("image", "answer"))
        name = str(event.get("code"))
        code = Code[name] if name in Code.__members__ else Code.INTERNAL  # of a newer version
        words, text, raw = self.words.pop(id, ""), str(event.get("command", "")), str(event.get("text", ""))
        carried, corrected = event.get("carried") is True, event.get("event") == "correction"
        marked = id in self._marked and not corrected
        yield RecordedCommand(id, words, text, raw, code, answer, image, self.about, marked, carried, corrected)

    def _use(self, number: int | None) -> Record | None:
        if number is None:
            return None
        record = self.kept.get(number)
        self._left[number] -= 1
        if self._left[number] <= 0:
            self.kept.pop(number, None)
        return record


def _number(event: Mapping[str, Any], key: str) -> int | None:
    """Return the number of the record that an event names, None without one."""
    number = event.get(key)
    return number if type(number) is int else None


def _event(record: Record) -> Mapping[str, Any]:
    """Return what an event says; nothing where it is none of ours."""
    try:
        event = json.loads(record.message.data)
    except (ValueError, AttributeError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}
