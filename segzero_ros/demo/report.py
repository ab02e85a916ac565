"""What the demo leaves: the table at its end, summary.json, an overlay per command, a contact sheet, an animation."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segzero_ros.cli.output import format_table
from segzero_ros.demo.pictures import Card, Moment, contact_sheet, write_animation
from segzero_ros.demo.script import Outcome, Picture
from segzero_ros.demo.terminal import STYLE_OF, styled, width
from segzero_ros.errors import Code
from segzero_ros.overlay import draw_overlay

HEAD = ("#", "how", "command", "code", "IoU", "answers", "first", "reason", "mask", "total ms")
NUMBERS = (0, 4, 5, 6, 7, 8, 9)  # columns to be right-aligned
GLIMPSES = 6  # at most so many moments of thinking per command in the animation
GLIMPSE_MS, ANSWER_MS = 130, 1500


def format_outcomes(outcomes: Sequence[Outcome]) -> str:
    """Return the table: one line per command and below it what the model thought."""
    head, *rows = format_table(HEAD, [_row(one) for one in outcomes], NUMBERS).splitlines()
    drawn = [styled(head, "bold")]
    room = width() - 6
    for row, one in zip(rows, outcomes, strict=True):
        thought = " ".join(one.result.reasoning.split())
        drawn.append(styled(row, STYLE_OF.get(one.result.code.name, "red")))
        if thought:
            drawn.append("      " + styled(thought if len(thought) <= room else thought[: room - 1] + "…", "dim"))
    return "\n".join(drawn)


def _row(one: Outcome) -> tuple[str, ...]:
    timing = one.result.timing
    text = one.line.instruction.text
    times = (timing.first_token_ms, timing.reasoning_ms, timing.segmentation_ms, timing.total_ms)
    return (
        str(one.line.number),
        "action, cancelled" if one.line.cancel else one.line.way,
        text if len(text) <= 44 else text[:43] + "…",
        one.result.code.name,
        "-" if one.iou is None else f"{one.iou:.2f}",
        str(one.answers),
        *(f"{milliseconds:.0f}" for milliseconds in times),
    )


def check_answers(outcomes: Sequence[Outcome], unmatched_answers: int) -> tuple[bool, str]:
    """Return whether every command got exactly one answer, and a sentence that says so."""
    wrong = [one for one in outcomes if one.answers != 1]
    ious = [one.iou for one in outcomes if one.iou is not None]
    quality = f"; mean IoU {np.mean(ious):.2f} over {len(ious)}" if ious else ""
    if not wrong and not unmatched_answers:
        return True, f"{len(outcomes)} commands, exactly one answer each{quality}"
    counts = ", ".join(f"{one.answers} to number {one.line.number}" for one in wrong)
    return (
        False,
        f"not exactly one answer each: {counts or 'all one'}; {unmatched_answers} unmatched answers",
    )


def summary(outcomes: Sequence[Outcome], about: dict[str, Any]) -> dict[str, Any]:
    """Return everything as plain JSON values."""
    return about | {"commands": [_record(one) for one in outcomes]}


def _record(one: Outcome) -> dict[str, Any]:
    result = one.result
    return {
        "number": one.line.number,
        "type": one.line.instruction.type,
        "way": one.line.way,
        "cancel": one.line.cancel,
        "command": one.line.instruction.text,
        "answers": one.answers,
        "code": result.code.name,
        "detail": result.detail,
        "reasoning": result.reasoning,
        "instances": [
            {"box": list(found.box), "point": list(found.point), "score": found.score} for found in result.instances
        ],
        "objects_meant": one.meant,
        "iou": None if one.iou is None else round(one.iou, 4),
        "stamp_ns": one.stamp_ns,
        "milliseconds": {
            name: round(getattr(result.timing, name), 1) for name in result.timing.__slots__ if name.endswith("_ms")
        },
        "tokens": result.timing.tokens,
    }


def write_all(outcomes: Sequence[Outcome], about: dict[str, Any], out: Path) -> list[Path]:
    """Write all files of the demo; return those a person should look at."""
    overlays = out / "overlays"
    overlays.mkdir(parents=True, exist_ok=True)
    for old in overlays.glob("[0-9][0-9]-*.png"):
        old.unlink()
    for one in outcomes:
        Image.fromarray(draw_overlay(one.result, one.picture)).save(
            overlays / f"{one.line.number:02}-{one.result.code.name.lower()}.png"
        )
    sheet, animation, record = out / "contact_sheet.png", out / "animation.gif", out / "summary.json"
    title = "segzero_ros: what a robot was asked, what it thought, what it found"
    contact_sheet([_card(one) for one in outcomes], title, subtitle(about)).save(sheet, optimize=True)
    write_animation([moment for one in outcomes for moment in _moments(one)], animation)
    record.write_text(json.dumps(summary(outcomes, about), indent=2) + "\n", encoding="utf-8")
    return [sheet, animation, overlays, record]


def subtitle(about: dict[str, Any]) -> str:
    """Return one line that says what made the pictures."""
    where = "a live camera, three processes over ROS 2; each mask on the frame the model looked at"
    return f"bundle {about['bundle']}, {about['machine']}; {where}"


def _card(one: Outcome) -> Card:
    facts = f"{one.result.timing.total_ms:.0f} ms"
    if one.iou is not None:
        facts = f"{quality(one.iou, one.result.code)} · {facts}"
    return Card(
        one.line.number,
        one.line.instruction.text,
        marked(one),
        one.result.reasoning,
        one.result.code.name,
        facts,
    )


def quality(iou: float, code: Code) -> str:
    """Return how good an answer is, in a word or a number: "nothing there" is either right or wrong."""
    if code is Code.NO_TARGET:
        return "right" if iou == 1.0 else "wrong"
    return f"IoU {iou:.2f}"


def marked(one: Outcome) -> Picture:
    """Return the picture with the masks on it, without the overlay's caption."""
    picture = draw_overlay(one.result, one.picture)
    height, width = one.picture.shape[:2]
    return picture[: height * picture.shape[1] // width]


def _moments(one: Outcome) -> list[Moment]:
    """Return the thinking as it grew, then the answer on the frame it is about."""
    text = f"{one.line.number}. {one.line.instruction.text}"
    seen = one.glimpses[:: max(1, -(-len(one.glimpses) // GLIMPSES))]
    moments = [Moment(glimpse.picture, text, glimpse.thought, "", GLIMPSE_MS) for glimpse in seen]
    return [*moments, Moment(marked(one), text, one.result.reasoning, one.result.code.name, ANSWER_MS)]
