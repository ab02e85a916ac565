"""A shard of drawn rectangles in the renderer's format: enough for a training to run without a renderer."""

import json
from pathlib import Path

import numpy as np

from segzero_ros.tabletop.things import COLOURS, KINDS


def draw_shard(folder: Path, seed: int, count: int) -> Path:
    """Write `count` pictures of two or three coloured rectangles; returns the shard's folder."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    scenes, images, labels = [], [], []
    for _ in range(count):
        image = np.full((240, 320, 3), rng.integers(90, 180, 3), np.uint8)
        label = np.zeros((240, 320), np.uint8)
        objects = [_draw(image, label, slot + 1, slot, rng) for slot in range(int(rng.integers(2, 4)))]
        scenes.append(json.dumps({"objects": objects, "instructions": _instructions(objects)}))
        images.append(image)
        labels.append(label)
    np.save(folder / "images.npy", np.stack(images))
    np.save(folder / "labels.npy", np.stack(labels))
    (folder / "scenes.jsonl").write_text("\n".join(scenes) + "\n")
    return folder


def _draw(image: np.ndarray, label: np.ndarray, number: int, slot: int, rng: np.random.Generator) -> dict:
    kind, colour = KINDS[rng.integers(len(KINDS))], list(COLOURS)[rng.integers(len(COLOURS))]
    width, height = rng.integers(40, 90, 2)
    x, y = 5 + slot * 105 + rng.integers(0, 10), rng.integers(5, 140)
    image[y : y + height, x : x + width] = np.array(COLOURS[colour]) * 255
    label[y : y + height, x : x + width] = number
    box = [x / 320, y / 240, (x + width) / 320, (y + height) / 240]
    point = [(x + width / 2) / 320, (y + height / 2) / 240]
    return {"id": number, "kind": kind, "colour": colour, "box": box, "point": point, "visible": 1.0}


def _instructions(objects: list[dict]) -> list[dict]:
    named = [
        {
            "type": "attribute",
            "text": f"the {thing['colour']} {thing['kind']}",
            "targets": [thing["id"]],
            "thinking": [{"say": f"{thing['colour']} {thing['kind']}", "id": thing["id"]}, " ", {"at": thing["id"]}],
        }
        for thing in objects
    ]
    return [*named, {"type": "absent", "text": "the car", "targets": [], "thinking": ["No car."]}]
