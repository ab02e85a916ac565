"""What viewers see, kept and drawn from the messages: `python -m bench.views OUT [--scenario pushed] [--words ...]`.

OUT gets `session.mcap`, all that the node and its camera published, and `tracks.jpg`: the overlay of six moments while
a thing is followed, and below each what `tracks` said of the very same picture.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.views.session import Heard, seen
from segzero_ros.errors import Code
from segzero_ros.ros.convert import stamp_ns
from segzero_ros.tabletop import SCENARIOS

ANSWER_S = 30.0
ROWS, COLUMNS = 2, 3
WIDTH = 360  # pixels of one moment
QUALITY = 88
LINE_HEIGHT = 22
_DARK, _LIGHT = (27, 24, 24), (235, 235, 235)
Picture = NDArray[np.uint8]


def main(arguments: Sequence[str] | None = None) -> int:
    """Watch a session; return 1 where nothing was found to follow."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--scenario", choices=SCENARIOS, default="moving_camera")
    parser.add_argument("--seed", type=int, default=44)
    parser.add_argument("--words", default="the white mug", help="what is followed")
    parser.add_argument("--then", default="all the plates", help="what is asked afterwards")
    parser.add_argument("--seconds", type=float, default=9.0, help="that it is followed")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    with seen(options.scenario, options.seed, options.out / "logs", gripper_width=0.14) as (client, heard):
        answer = client.send_goal(options.words, timeout_s=ANSWER_S, track=True)
        client.wait(lambda: False, options.seconds)
        client.stop_following("")
        client.publish_command(options.then, timeout_s=ANSWER_S)
        client.wait(lambda: False, 1.0)
    heard.write(options.out / "session.mcap")
    for topic, messages in sorted(heard.by_topic.items()):
        print(f"{topic}: {len(messages)}")
    if answer.code != Code.OK:
        print(f"nothing to follow: {Code(answer.code).name} {answer.detail}", file=sys.stderr)
        return 1
    strip = draw_strip(heard, answer.command_id)
    cv2.imwrite(str(options.out / "tracks.jpg"), strip, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return 0


def draw_strip(heard: Heard, command_id: str) -> Picture:
    """Return the moments, BGR: evenly spaced among those of which both overlay and track have come."""
    overlays = {stamp_ns(message.header.stamp): message for message in heard.by_topic["overlay/compressed"]}
    tracks = [one for one in heard.by_topic["tracks"] if one.command_id == command_id]
    both = [one for one in tracks if stamp_ns(one.header.stamp) in overlays and one.mask.height]
    chosen = [both[k] for k in np.linspace(0, len(both) - 1, ROWS * COLUMNS).round().astype(int)]
    began = stamp_ns(chosen[0].header.stamp)
    moments = [_moment(overlays[stamp_ns(one.header.stamp)], one, began) for one in chosen]
    rows = [np.hstack(moments[k : k + COLUMNS]) for k in range(0, len(moments), COLUMNS)]
    return np.asarray(np.vstack(rows), np.uint8)


def _moment(overlay: Any, track: Any, began: int) -> Picture:
    """The overlay's picture without its caption, and below it what `tracks` says."""
    picture = cv2.imdecode(np.frombuffer(overlay.data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    picture = picture[: track.mask.height * picture.shape[1] // track.mask.width]
    small = cv2.resize(picture, (WIDTH, WIDTH * picture.shape[0] // picture.shape[1]), interpolation=cv2.INTER_AREA)
    text = np.full((LINE_HEIGHT, WIDTH, 3), _DARK, np.uint8)
    cv2.putText(text, said(track, began), (6, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _LIGHT, 1, cv2.LINE_AA)
    return np.asarray(np.vstack([small, text]), np.uint8)


def said(track: Any, began: int) -> str:
    """What a message on `tracks` says, in a line: when, how, and of which object."""
    seconds = (stamp_ns(track.header.stamp) - began) / 1e9
    things = [f"#{one.track_id} {one.label} {one.score:.2f}" for one in track.instances]
    return f"{seconds:4.1f} s  {Code(track.code).name}  {', '.join(things)}"


if __name__ == "__main__":
    sys.exit(main())
