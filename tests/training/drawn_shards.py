"""Shards of drawn ellipses in the format of `demo_models/render_tabletop.py`: a world to train on for seconds."""

import json

import cv2
import numpy as np

from segzero_ros.matching import inner_point
from training.demo_models.segmenter_data import box_of

KINDS = ("ball", "bowl")


def write_shard(folder, count, seed, size=(96, 72)):
    """`count` pictures of two to four ellipses on a plain ground under noise."""
    rng = np.random.default_rng(seed)
    drawn = [_draw(rng, size) for _ in range(count)]
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", np.stack([image for image, _ in drawn]))
    np.save(folder / "labels.npy", np.stack([labels for _, labels in drawn]))
    lines = [json.dumps({"objects": _objects(labels)}) for _, labels in drawn]
    (folder / "scenes.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _draw(rng, size):
    width, height = size
    image = np.full((height, width, 3), rng.integers(90, 160, 3), np.uint8)
    labels = np.zeros((height, width), np.uint8)
    for number in range(1, int(rng.integers(3, 6))):
        centre = (int(rng.integers(12, width - 12)), int(rng.integers(12, height - 12)))
        axes, angle = tuple(int(v) for v in rng.integers(6, 16, 2)), int(rng.integers(180))
        colour = [int(v) for v in rng.choice([20, 230], 3)]
        cv2.ellipse(image, centre, axes, angle, 0, 360, colour, -1)
        cv2.ellipse(labels, centre, axes, angle, 0, 360, number, -1)
    return np.clip(image + rng.normal(0, 5, image.shape), 0, 255).astype(np.uint8), labels


def _objects(labels):
    height, width = labels.shape
    objects = []
    for number in (int(n) for n in np.unique(labels) if n):
        mask = labels == number
        box = (box_of(mask) / [width, height, width, height]).tolist()
        point = (np.subtract(inner_point(mask), 0.5) / [width, height]).tolist()
        what = {"kind": KINDS[number % 2], "colour": "red", "visible": 1.0}
        objects.append({"id": number, "box": box, "point": point, **what})
    return objects
