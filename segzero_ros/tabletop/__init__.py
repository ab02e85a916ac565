"""The demo world: a MuJoCo table with things on it, seen by a camera, and what one may ask about them with the truth.

    with Renderer(640, 480) as renderer:
        view = renderer.render(sample_scene(seed=3, split="test"), depth=True)
    for instruction in instructions(view, seed=3, split="test"):
        print(instruction.text, instruction.targets)

`samples` yields an evaluation's questions; `LiveWorld` is a scene that goes on, `demo_script` what to say to one,
`TruthLog` and `read_truth` carry its truth from the camera's process to the one that judges answers.

Two worlds: the simple one, of which the shipped demo models are, and `rich`, asked for by name (`world="rich"`).

Covered: upright things of ten kinds and eight colours on one table; in the rich world 26 kinds and eleven colours, in
five shapes each, patterned, of metal or glass, in, on and under each other.
Not covered: things that fall over, stacks of more than two, people.
"""

from segzero_ros.tabletop.gl import NoOpenGLError
from segzero_ros.tabletop.language.instructions import TYPES, Instruction, Type, instructions
from segzero_ros.tabletop.language.query import Query, meaning
from segzero_ros.tabletop.render import Renderer
from segzero_ros.tabletop.samples import Sample, samples
from segzero_ros.tabletop.sampling import sample_scene
from segzero_ros.tabletop.scenarios import SCENARIOS, DemoScript, LiveWorld, ScenarioName, demo_script
from segzero_ros.tabletop.scene import SPLITS, WORLDS, Camera, Scene, Split, Thing, World
from segzero_ros.tabletop.truth import TruthLog, read_truth
from segzero_ros.tabletop.view import SeenThing, View

__all__ = [
    "SCENARIOS",
    "SPLITS",
    "TYPES",
    "WORLDS",
    "Camera",
    "DemoScript",
    "Instruction",
    "LiveWorld",
    "NoOpenGLError",
    "Query",
    "Renderer",
    "Sample",
    "ScenarioName",
    "Scene",
    "SeenThing",
    "Split",
    "Thing",
    "TruthLog",
    "Type",
    "View",
    "World",
    "demo_script",
    "instructions",
    "meaning",
    "read_truth",
    "sample_scene",
    "samples",
]
