"""What is said to the node and what came of it, command by command, with the truth of the very frame looked at."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segzero_ros.demo.terminal import STYLE_OF, Thinking, say, styled
from segzero_ros.errors import Code
from segzero_ros.msg import Segmentation as Message
from segzero_ros.pipeline import Segmentation
from segzero_ros.ros.client import Client, grounded_ns, read_answer
from segzero_ros.scores import mask_iou
from segzero_ros.tabletop.instructions import Instruction
from segzero_ros.tabletop.truth import read_truth

TIMEOUT_S = 30.0  # for one answer; the demo models need a fraction of a second
PAUSE_S = 1.2  # between commands: the scene goes on
LAST_LOOK_S = 0.5  # after the last answer, for one that should not come


@dataclass(frozen=True, slots=True)
class Line:
    """One thing to say. ``way``: "topic" or "action"; ``cancel``: take it back as soon as the node thinks."""

    number: int
    instruction: Instruction
    way: str
    cancel: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Glimpse:
    """A moment while a command was at work: the newest picture, uint8 (H, W, 3), and the thinking so far."""

    picture: NDArray[np.uint8]
    thought: str


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """A line with its answer.

    ``iou``: of all masks with all objects meant in the frame the reasoner looked at; None where there is no answer to
    judge, or where people would not agree on that frame. ``meant``: how many objects that were, None = unclear.
    ``answers``: how many came; one is right.
    """

    line: Line
    result: Segmentation
    stamp_ns: int
    iou: float | None
    meant: int | None
    answers: int
    glimpses: tuple[Glimpse, ...]


def script(instructions: Sequence[Instruction]) -> list[Line]:
    """Return what to say, by topic and action in turn; in the middle one is taken back while the node thinks."""
    middle = len(instructions) // 2
    order = [*instructions[:middle], instructions[2], *instructions[middle:]]
    ways = ["action" if at == middle or at % 2 else "topic" for at in range(len(order))]
    return [Line(at + 1, said, ways[at], at == middle) for at, said in enumerate(order)]


class Session:
    """Says the lines of a script to the node, one after the other."""

    def __init__(self, client: Client, truth: Path) -> None:
        """``truth``: the directory in which the camera leaves the truth of its frames."""
        self._client = client
        self._truth = truth

    def run(self, lines: Sequence[Line]) -> list[Said]:
        """Say all lines; return them with their answers, counted after a last look."""
        said = []
        for line in lines:
            said.append(self._say(line, len(lines)))
            self._client.wait(lambda: False, PAUSE_S)
        self._client.wait(lambda: False, LAST_LOOK_S)
        counts = Counter(message.command_id for message in self._client.answers)
        return [replace(one, answers=counts[one.result.command.id]) for one in said]

    def strays(self, said: Sequence[Said]) -> int:
        """Return how many answers came to nothing that was said."""
        known = {one.result.command.id for one in said}
        return sum(message.command_id not in known for message in self._client.answers)

    def _say(self, line: Line, count: int) -> Said:
        announce(line, count)
        hearing = _Hearing(self._client)
        message = self._speak(line, hearing)
        hearing.thinking.end(message.reasoning)
        stamp = grounded_ns(message)
        result = read_answer(message, self._client.frame_at(stamp))
        iou, meant = self._judge(line, result, stamp)
        said = Said(line, result, stamp, iou, meant, 0, tuple(hearing.glimpses))
        conclude(said)
        return said

    def _speak(self, line: Line, hearing: "_Hearing") -> Message:
        text = line.instruction.text
        if line.way == "topic":
            return self._client.by_topic(text, timeout_s=TIMEOUT_S, on_text=hearing)
        stop: Callable[[], bool] = hearing.has_begun if line.cancel else (lambda: False)
        return self._client.by_action(text, timeout_s=TIMEOUT_S, on_text=hearing, stop=stop)

    def _judge(self, line: Line, result: Segmentation, stamp: int) -> tuple[float | None, int | None]:
        """Return (IoU, number of objects meant) by the truth of the frame with this stamp."""
        if result.code not in (Code.OK, Code.NO_TARGET):
            return None, None
        view = read_truth(self._truth, stamp)
        meant = line.instruction.targets_in(view)
        if meant is None:
            return None, None
        return mask_iou(result.labels > 0, np.isin(view.labels, meant)), len(meant)


class _Hearing:
    """Hears a command being thought about: prints it, and keeps what the camera saw meanwhile."""

    def __init__(self, client: Client) -> None:
        self.thinking = Thinking("      ")
        self.glimpses: list[Glimpse] = []
        self._client = client
        self._heard = ""

    def __call__(self, text: str) -> None:
        self.thinking(text)
        if text != self._heard and self._client.frames:
            self.glimpses.append(Glimpse(self._client.frames[-1].rgb, text))
        self._heard = text

    def has_begun(self) -> bool:
        """Whether a first piece of thinking has come."""
        return bool(self._heard)


def announce(line: Line, count: int) -> None:
    """Print what is being said."""
    how = f"{line.way}{', then cancel' if line.cancel else ''}"
    say(f"{line.number:>2}/{count}  {styled(line.instruction.text, 'bold')}  {styled(f'({how})', 'dim')}")


def conclude(said: Said) -> None:
    """Print what came of it."""
    code = said.result.code.name
    timing = said.result.timing
    parts = [styled(code, STYLE_OF.get(code, "red"))]
    if said.iou is not None:
        parts.append(f"IoU {said.iou:.2f}")
    parts.append(f"{timing.total_ms:.0f} ms")
    if said.result.code not in (Code.OK, Code.NO_TARGET):
        parts.append(said.result.detail)
    say("      " + "  ".join(parts))
