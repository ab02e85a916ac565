"""What is said to the node and what came of it, command by command, with the truth of the very frame looked at."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from segzero_ros.demo.script import Glimpse, Line, Picture, Said
from segzero_ros.demo.terminal import STYLE_OF, Thinking, say, styled
from segzero_ros.errors import Code
from segzero_ros.frame import Frame
from segzero_ros.matching import mask_iou
from segzero_ros.msg import Segmentation as Message
from segzero_ros.pipeline import Segmentation
from segzero_ros.ros.client import Client, grounded_ns, read_answer
from segzero_ros.tabletop import Renderer, View, read_truth

TIMEOUT_S = 30.0  # for one answer; the demo models need a fraction of a second
PAUSE_S = 1.2  # between commands: the scene goes on
LAST_LOOK_S = 0.5  # after the last answer, for one that should not come


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

    def unmatched_answers(self, said: Sequence[Said]) -> int:
        """Return how many answers came to nothing that was said."""
        known = {one.result.command.id for one in said}
        return sum(message.command_id not in known for message in self._client.answers)

    def _say(self, line: Line, count: int) -> Said:
        announce(line, count)
        hearing = _Hearing(self._client)
        message = self._speak(line, hearing)
        hearing.thinking.end(message.reasoning)
        stamp = grounded_ns(message)
        view = read_truth(self._truth, stamp) if message.mask.height else None
        picture = self._picture(stamp, view)
        result = read_answer(message, Frame(picture, stamp) if view else None)
        iou, meant = judge(line, result, view)
        said = Said(line, result, picture, stamp, iou, meant, 0, tuple(hearing.glimpses))
        conclude(said)
        return said

    def _speak(self, line: Line, hearing: "_Hearing") -> Message:
        text = line.instruction.text
        if line.way == "topic":
            return self._client.publish_command(text, timeout_s=TIMEOUT_S, on_text=hearing)
        stop: Callable[[], bool] = hearing.has_begun if line.cancel else (lambda: False)
        return self._client.send_goal(text, timeout_s=TIMEOUT_S, on_text=hearing, stop=stop)

    def _picture(self, stamp: int, view: View | None) -> Picture:
        """Return the frame with this stamp; drawn anew, to the last pixel, if it was lost on its way to us."""
        frame: Frame | None = self._client.frame_at(stamp)
        if frame is None and view is not None:
            with Renderer(*view.size) as renderer:
                return renderer.render(view.scene).rgb
        newest: Frame = frame or self._client.frames[-1]
        return newest.rgb


def judge(line: Line, result: Segmentation, view: View | None) -> tuple[float | None, int | None]:
    """Return (IoU, number of objects meant) by the truth of the frame that was looked at; None: nothing to judge."""
    if view is None or result.code not in (Code.OK, Code.NO_TARGET):
        return None, None
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
