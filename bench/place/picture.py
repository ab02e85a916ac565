"""The picture of docs/three-d.md, drawn from the messages: `python -m bench.place.picture OUT.png`; needs ROS.

Left, the boxes in the camera's picture, by the pose of `target`; right, `cloud`, boxes and the first grasp of each
thing in the frame of the table, which is reached by way of the buffer for `/tf`.
"""

import itertools
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
from geometry_msgs.msg import Pose, TransformStamped
from std_msgs.msg import Header

from bench.place.accuracy import intrinsics_of, sensed
from segzero_ros.config import NodeConfig
from segzero_ros.ros.place import Placer, messages
from segzero_ros.ros.place.frames import Transform, rotation_of, transform_message
from segzero_ros.ros.place.placement import Placement
from segzero_ros.tabletop import Renderer, View, sample_scene

mpl.use("Agg")
import matplotlib.pyplot as plt

SEED = 107
EDGES = [(a, b) for a, b in itertools.combinations(range(8), 2) if (a ^ b).bit_count() == 1]


def main() -> None:
    """Render, place, draw."""
    with Renderer(640, 480) as renderer:
        view = renderer.render(sample_scene(SEED, "test"), depth=True)
    assert view.depth_m is not None
    depth = sensed(view.depth_m, "noisy", np.random.default_rng(0))
    header = Header(frame_id="camera")
    header.stamp.sec = 1
    placer = Placer(_node(), NodeConfig(target_frame="table", gripper_width=0.14))
    placer.transforms.add([_camera_on_table(view)], fixed=True)
    placement = placer.place(view.labels, len(view.scene.things), depth, intrinsics_of(view), header)
    figure = plt.figure(figsize=(11, 4.4), dpi=80)
    _draw_picture(figure.add_subplot(1, 2, 1), view, placement)
    _draw_space(figure.add_subplot(1, 2, 2, projection="3d"), placement)
    figure.tight_layout()
    figure.savefig(Path(sys.argv[1]))


def _node() -> Any:
    return SimpleNamespace(
        get_logger=lambda: SimpleNamespace(warning=print, error=print),
        create_subscription=lambda *_: None,
        destroy_subscription=lambda _: None,
    )


def _camera_on_table(view: View) -> TransformStamped:
    way = Transform(np.asarray(view.camera.rotation), np.asarray(view.camera.position))
    return transform_message(Header(frame_id="table"), "camera", way)


def _corners(pose: Pose, size: Any) -> Any:
    """The eight corners (8, 3) of a box whose pose is that of a message."""
    unit = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))[:, ::-1]
    turn = pose.orientation
    rotation = rotation_of(np.array([turn.x, turn.y, turn.z, turn.w]))
    return unit * size @ rotation.T + [pose.position.x, pose.position.y, pose.position.z]


def _draw_picture(axes: Any, view: View, placement: Placement) -> None:
    axes.imshow(view.rgb)
    for number, placed in placement.placed:
        pose = messages.target_message(placement, placed).pose
        pixels = view.camera.project(_corners(pose, placed.box.size), *view.size)
        colour = messages.COLOURS[(number - 1) % len(messages.COLOURS)]
        for a, b in EDGES:
            axes.plot(*zip(pixels[a], pixels[b], strict=True), color=colour, linewidth=1.6)
    axes.set_xlim(0, view.size[0])
    axes.set_ylim(view.size[1], 0)
    axes.axis("off")
    axes.set_title("boxes of the placed instances")


def _draw_space(axes: Any, placement: Placement) -> None:
    points = np.frombuffer(messages.cloud_message(placement).data, messages.POINT)
    colours = [messages.COLOURS[(int(label) - 1) % len(messages.COLOURS)] for label in points["label"]]
    axes.scatter(points["x"], points["y"], points["z"], c=colours, s=1.0)
    for _, placed in placement.placed:
        corners = _corners(messages.target_message(placement, placed).pose, placed.box.size)
        for a, b in EDGES:
            axes.plot(*zip(corners[a], corners[b], strict=True), color="0.4", linewidth=0.8)
        for pose in messages.grasps_message(placement, placed.grasps[:1]).poses:
            turn = pose.orientation
            approach = rotation_of(np.array([turn.x, turn.y, turn.z, turn.w]))[:, 2]
            tip = np.array([pose.position.x, pose.position.y, pose.position.z])
            axes.quiver(*(tip - 0.12 * approach), *(0.12 * approach), color="black", linewidth=1.6)
    axes.set_aspect("equal")
    axes.set_title(f"cloud, boxes, first grasp; frame `{placement.header.frame_id}`, metres")


if __name__ == "__main__":
    main()
