"""The truth of published frames, by stamp, in a directory.

The camera process writes it, whoever judges the answers reads it.

One small file per frame (label image and scene, about 4 KB); the oldest are removed so that a camera left running does
not fill the disk.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from segzero_ros.tabletop.rich.shot import Shot
from segzero_ros.tabletop.scene import Camera, Light, Prop, Relation, Rod, Room, Scene, Sensor, Thing
from segzero_ros.tabletop.view import View, see_things

KEPT_FRAMES = 3000  # five minutes at 10 pictures per second, about 12 MB


class TruthLog:
    """Writes the truth of frames as they are published."""

    def __init__(self, directory: Path) -> None:
        """The directory is made when missing; what earlier runs left in it is removed."""
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        for old in directory.glob("*.npz"):
            old.unlink()
        self._written: deque[Path] = deque()

    def write(self, stamp_ns: int, view: View) -> None:
        """Keep the truth of the frame with this stamp. It appears at once, never half written."""
        path = _path(self._directory, stamp_ns)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez_compressed(file, labels=view.labels, scene=np.array(json.dumps(asdict(view.scene))))
        partial.replace(path)
        self._written.append(path)
        if len(self._written) > KEPT_FRAMES:
            self._written.popleft().unlink(missing_ok=True)


def read_truth(directory: Path, stamp_ns: int) -> View:
    """The view of the frame with this stamp, without its picture and depth (`rgb` is black).

    FileNotFoundError when the frame was not logged.
    """
    with np.load(_path(directory, stamp_ns), allow_pickle=False) as file:
        labels, scene = file["labels"], scene_from_record(json.loads(str(file["scene"])))
    return View(np.zeros((*labels.shape, 3), dtype=np.uint8), labels, None, scene, see_things(scene, labels))


def _path(directory: Path, stamp_ns: int) -> Path:
    return directory / f"{stamp_ns}.npz"


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _fields(record: dict[str, Any]) -> dict[str, Any]:
    return {name: _tuples(value) for name, value in record.items()}


def scene_from_record(record: dict[str, Any]) -> Scene:
    """The inverse of `dataclasses.asdict(scene)` after a trip through JSON."""
    room = dict(record["room"])
    room["lights"] = tuple(Light(**_fields(light)) for light in room["lights"])
    return Scene(
        things=tuple(Thing(**_fields(thing)) for thing in record["things"]),
        camera=Camera(**_fields(record["camera"])),
        room=Room(**_fields(room)),
        sensor=Sensor(**_fields(record["sensor"])),
        rods=tuple(Rod(**_fields(rod)) for rod in record.get("rods", ())),
        world=record.get("world", "simple"),
        relations=tuple(Relation(**_fields(relation)) for relation in record.get("relations", ())),
        clutter=tuple(Prop(**_fields(prop)) for prop in record.get("clutter", ())),
        shot=Shot(**_fields(shot)) if (shot := record.get("shot")) else None,
    )
