"""The demo's last act: one thing, found once, is followed while camera and things move and an arm passes before it.

Each mask is compared with the truth.
"""

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from segzero_ros.demo.script import Outcome, Picture
from segzero_ros.errors import Code
from segzero_ros.frame import Frame
from segzero_ros.matching import mask_iou
from segzero_ros.msg import Segmentation as Message
from segzero_ros.overlay import draw_overlay
from segzero_ros.ros.client import Client, read_answer
from segzero_ros.ros.convert import stamp_ns
from segzero_ros.ros.processes import WAVE
from segzero_ros.tabletop import View, read_truth

SECONDS = 10.0  # that it is followed
WAVE_AFTER_S = 2.0  # an arm begins to pass, which takes six seconds
TIMEOUT_S = 30.0
SMALL = (320, 240)
FOUND = 0.5  # IoU of what was found rightly
SEEN_PIXELS = 60  # of the true mask in the camera's picture: what shows less counts as hidden


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """One frame in which something was followed.

    ``iou``: of the mask with the truth of its own frame; ``now``: with that of the camera's newest frame when it came.
    None where the thing was hidden, and ``hidden`` then.
    """

    picture: Picture
    code: Code
    iou: float | None
    now: float | None
    hidden: bool


def to_follow(outcomes: Sequence[Outcome]) -> Outcome | None:
    """The command to follow: the first that found one thing rightly, whatever thing that is."""
    for one in outcomes:
        if one.result.code is Code.OK and one.meant == 1 and (one.iou or 0.0) > FOUND:
            return one
    return None


def follow(client: Client, truth: Path, text: str) -> list[Followed]:
    """Have ``text`` found and followed for ``SECONDS``; return what was said of each frame. An arm passes meanwhile."""
    tracks: deque[tuple[Message, int]] = deque()
    client.listen_to_tracks(lambda message: tracks.append((message, client.frames[-1].stamp_ns)))
    answer = client.send_goal(text, timeout_s=TIMEOUT_S, track=True)
    view = read_truth(truth, stamp_ns(answer.header.stamp)) if answer.mask.height else None
    if view is None or answer.code != Code.OK or not answer.instances:
        return []
    thing = _thing_under(read_answer(answer).labels > 0, view)
    client.wait(lambda: False, WAVE_AFTER_S)
    client.trigger(WAVE)
    client.wait(lambda: False, SECONDS - WAVE_AFTER_S)
    client.stop_following(answer.command_id)
    client.wait(lambda: False, 0.3)
    mine = [(message, newest) for message, newest in tracks if message.command_id == answer.command_id]
    frames = [_followed(client, truth, message, newest, thing) for message, newest in mine]
    return [frame for frame in frames if frame is not None]


def _thing_under(mask: np.ndarray, view: View) -> int:
    """The number of the thing that the mask shows most of."""
    return int(np.bincount(view.labels[mask], minlength=2)[1:].argmax()) + 1


def _followed(client: Client, truth: Path, message: Message, newest: int, thing: int) -> Followed | None:
    stamp = stamp_ns(message.header.stamp)
    frame = client.frame_at(stamp)
    if frame is None or message.code not in (Code.OK, Code.TRACK_HIDDEN):
        return None
    view, later = read_truth(truth, stamp), read_truth(truth, newest)
    result = read_answer(message, Frame(frame.rgb, stamp))
    true = view.labels == thing
    hidden = int(true.sum()) < SEEN_PIXELS
    mask = result.labels > 0
    now = mask_iou(mask, later.labels == thing)
    iou = None if hidden else mask_iou(mask, true)
    return Followed(draw_overlay(result), result.code, iou, None if hidden else now, hidden)


def sentence(text: str, frames: Sequence[Followed]) -> str:
    """What came of it, in a line."""
    seen = [one for one in frames if one.iou is not None]
    if not seen:
        return f"followed {text!r}: nothing to compare"
    own = np.mean([one.iou for one in seen])
    now = np.mean([one.now for one in seen if one.now is not None])
    kept = np.mean([(one.iou or 0) > 0.5 for one in seen])
    gone = sum(one.hidden for one in frames)
    hidden = f", hidden in {gone}" if gone else ""
    return (
        f"followed {text!r} through {len(frames)} frames{hidden}: mean IoU {own:.2f} with the truth of its frame, "
        f"{now:.2f} with that of now, on it in {100 * kept:.0f} %"
    )


def write_following(text: str, frames: Sequence[Followed], out: Path) -> list[Path]:
    """Write the animation and its figures."""
    if not frames:
        return []
    pictures = [Image.fromarray(one.picture).resize(SMALL) for one in frames]
    animation, record = out / "following.gif", out / "following.json"
    pictures[0].save(animation, save_all=True, append_images=pictures[1:], duration=200, loop=0)
    rows = [{"code": one.code.name, "iou": one.iou, "now": one.now, "hidden": one.hidden} for one in frames]
    record.write_text(json.dumps({"command": text, "frames": rows}, indent=1) + "\n", encoding="utf-8")
    return [animation]
