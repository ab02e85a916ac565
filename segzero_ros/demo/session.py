"""Sends commands to the node and compares each answer with the truth of the very frame it is about."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from segzero_ros.cli.output import GrowingText
from segzero_ros.demo.script import Glimpse, Line, Outcome, Picture
from segzero_ros.demo.terminal import STYLE_OF, print_line, styled
from segzero_ros.errors import Code
from segzero_ros.frame import Frame
from segzero_ros.matching import mask_iou
from segzero_ros.msg import Segmentation as Message
from segzero_ros.pipeline import Segmentation
from segzero_ros.ros.client import Client, grounded_ns, masked_ns, read_answer
from segzero_ros.tabletop import Renderer, View, read_truth

TIMEOUT_S = 30.0  # for one answer; the demo models need a fraction of a second
PAUSE_S = 1.2  # between commands: the scene goes on
LAST_LOOK_S = 0.5  # after the last answer, for one that should not come


class Session:
    """Sends the commands of a script to the node, one after the other."""

    def __init__(self, client: Client, truth: Path) -> None:
        """``truth``: the directory in which the camera leaves the truth of its frames."""
        self._client = client
        self._truth = truth

    def run(self, lines: Sequence[Line]) -> list[Outcome]:
        """Send all commands; return them with their answers, counted after a last look."""
        outcomes = []
        for line in lines:
            outcomes.append(self._send(line, len(lines)))
            self._client.wait(lambda: False, PAUSE_S)
        self._client.wait(lambda: False, LAST_LOOK_S)
        counts = Counter(message.command_id for message in self._client.answers)
        return [replace(one, answers=counts[one.result.command.id]) for one in outcomes]

    def unmatched_answers(self, outcomes: Sequence[Outcome]) -> int:
        """Return how many answers match none of these commands."""
        known = {one.result.command.id for one in outcomes}
        return sum(message.command_id not in known for message in self._client.answers)

    def _send(self, line: Line, count: int) -> Outcome:
        print_command(line, count)
        progress = Progress(self._client)
        message = self._answer_to(line, progress)
        progress.reasoning.end(_one_line(message.reasoning))
        stamp, looked_at = masked_ns(message), grounded_ns(message)
        view = read_truth(self._truth, stamp) if message.mask.height else None
        asked = view if looked_at == stamp else read_truth(self._truth, looked_at)
        picture = self._picture(stamp, view)
        result = read_answer(message, Frame(picture, stamp) if view else None)
        iou, meant = evaluate_answer(line, result, view, asked)
        outcome = Outcome(line, result, picture, stamp, iou, meant, 0, tuple(progress.glimpses))
        print_outcome(outcome)
        return outcome

    def _answer_to(self, line: Line, progress: "Progress") -> Message:
        text = line.instruction.text
        if line.way == "topic":
            return self._client.publish_command(text, timeout_s=TIMEOUT_S, on_text=progress)
        stop: Callable[[], bool] = progress.has_begun if line.cancel else (lambda: False)
        return self._client.send_goal(text, timeout_s=TIMEOUT_S, on_text=progress, stop=stop)

    def _picture(self, stamp: int, view: View | None) -> Picture:
        """Return the frame with this stamp; drawn anew, to the last pixel, if it was lost on its way to us."""
        frame: Frame | None = self._client.frame_at(stamp)
        if frame is None and view is not None:
            with Renderer(*view.size) as renderer:
                return renderer.render(view.scene).rgb
        newest: Frame = frame or self._client.frames[-1]
        return newest.rgb


def evaluate_answer(
    line: Line, result: Segmentation, view: View | None, asked: View | None = None
) -> tuple[float | None, int | None]:
    """Return (IoU, number of objects meant) by the truth of the mask's frame; None: nothing to compare.

    ``asked``: the frame that was looked at, which decides what is meant, where that is another.
    """
    if view is None or result.code not in (Code.OK, Code.NO_TARGET):
        return None, None
    meant = line.instruction.targets_in(asked or view)
    if meant is None:
        return None, None
    return mask_iou(result.labels > 0, np.isin(view.labels, meant)), len(meant)


class Progress:
    """Takes the reasoning of one command while it grows: prints it, and keeps what the camera saw meanwhile."""

    def __init__(self, client: Client) -> None:
        self.reasoning = GrowingText("      ", lambda piece: styled(piece, "dim"))
        self.glimpses: list[Glimpse] = []
        self._client = client
        self._text = ""

    def __call__(self, text: str) -> None:
        """Show ``text``, the reasoning so far."""
        self.reasoning(_one_line(text))
        if text != self._text and self._client.frames:
            self.glimpses.append(Glimpse(self._client.frames[-1].rgb, text))
        self._text = text

    def has_begun(self) -> bool:
        """Whether a first piece of reasoning has come."""
        return bool(self._text)


def _one_line(text: str) -> str:
    return text.replace("\n", " ")


def print_command(line: Line, count: int) -> None:
    """Print what is being sent."""
    how = f"{line.way}{', then cancel' if line.cancel else ''}"
    print_line(f"{line.number:>2}/{count}  {styled(line.instruction.text, 'bold')}  {styled(f'({how})', 'dim')}")


def print_outcome(outcome: Outcome) -> None:
    """Print what came of it."""
    code = outcome.result.code.name
    timing = outcome.result.timing
    parts = [styled(code, STYLE_OF.get(code, "red"))]
    if outcome.iou is not None:
        parts.append(f"IoU {outcome.iou:.2f}")
    parts.append(f"{timing.total_ms:.0f} ms")
    if outcome.result.code not in (Code.OK, Code.NO_TARGET):
        parts.append(outcome.result.detail)
    print_line("      " + "  ".join(parts))
