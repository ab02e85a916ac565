"""Views without a renderer: every thing a rectangle around its corners. The same on every machine."""

from hashlib import sha256

import numpy as np

from segzero_ros.tabletop import Split, View, instructions, sample_scene
from segzero_ros.tabletop.scene import Grammar, Scene, corners
from segzero_ros.tabletop.view import see_things

SIZE = (320, 240)


def drawn_view(scene: Scene) -> View:
    """The scene's things as rectangles, what is nearer before what is farther."""
    width, height = SIZE
    labels = np.zeros((height, width), np.uint8)
    for thing in sorted(scene.things, key=lambda t: -scene.camera.to_camera(np.array(t.position))[2]):
        pixels = scene.camera.project(corners(thing), width, height)
        (x0, y0), (x1, y1) = np.floor(pixels.min(axis=0)).astype(int), np.ceil(pixels.max(axis=0)).astype(int)
        labels[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = thing.id
    return View(np.zeros((height, width, 3), np.uint8), labels, None, scene, see_things(scene, labels))


def asked_of_drawn(split: Split, grammar: Grammar = "plain", count: int = 80) -> str:
    """A hash of all that is asked about the first scenes of a split: words, truth and thinking."""
    digest = sha256()
    for seed in range(count):
        view = drawn_view(sample_scene(seed, split, grammar=grammar))
        for i in instructions(view, seed, split, grammar=grammar):
            thinking = [str(piece).replace("Mention(", "Say(") for piece in i.thinking]  # its name in the first hashes
            said = [i.type, i.text, i.targets, thinking, i.unseen_pair, i.unseen_wording]
            digest.update(repr(said).encode())
    return digest.hexdigest()[:16]
