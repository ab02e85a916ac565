"""The clips that trackers are judged on: of the test split, each motion as often as the others.

A clip whose motion is to put identities at risk does so for one of its things that can be asked for; of the seeds that
a clip has, the first that gives this is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from segzero_ros.tabletop.render import Renderer
from segzero_ros.tabletop.scene import Split
from training.clips.script import MOTIONS, Motion, Script, clip_seed, write_script
from training.clips.truth import Clip, draw
from training.evaluation.tracking.events import looks, startable

CAMERA = (640, 480)
SKETCH = (160, 120)  # what is drawn to see whether a seed will do
SEEDS_PER_CLIP = 100
RISKY: frozenset[Motion] = frozenset({"rod", "carried", "alike", "leaving", "glance"})
MOST_CLIPS = 1000


def evaluation_clips(
    count: int,
    set_number: int,
    *,
    split: Split = "test",
    frames: int = 60,
    step_s: float = 0.1,
    motions: Sequence[Motion] = MOTIONS,
    size: tuple[int, int] = CAMERA,
) -> Iterator[Clip]:
    """`count` clips, their motions in turn. RuntimeError when none of a clip's seeds will do."""
    if not 0 < count <= MOST_CLIPS:
        raise ValueError(f"got {count} clips, want 1..{MOST_CLIPS}")
    with Renderer(*SKETCH) as sketch, Renderer(*size) as camera:
        for number in range(count):
            motion = motions[number % len(motions)]
            yield draw(_first_that_will_do(sketch, set_number, number, split, frames, step_s, motion), camera)


def _first_that_will_do(
    sketch: Renderer, set_number: int, number: int, split: Split, frames: int, step_s: float, motion: Motion
) -> Script:
    for index in range(number * SEEDS_PER_CLIP, (number + 1) * SEEDS_PER_CLIP):
        script = write_script(clip_seed(set_number, index), split, frames, step_s=step_s, motion=motion)
        clip = draw(script, sketch, rgb=False)
        rows = startable(clip)
        if rows and (motion not in RISKY or any(any(looks(clip, row).values()) for row in rows)):
            return script
    raise RuntimeError(f"none of the {SEEDS_PER_CLIP} seeds of clip {number} shows {motion!r}; take another --seed")
