"""`ros2 launch segzero_ros demo.launch.py`: the demo world's camera, the grounding node and, if given, one command.

Try `command:="something to drink from"`.
With `rviz:=true` RViz shows what the node sees and says.
With `camera:=none` the node listens to a camera of your own on the topic `image`.
"""

from launch import LaunchDescription
from segzero_ros.ros import processes, views

ARGUMENTS = {
    "command": ("", "a sentence to say once, for example 'the white mug'; empty = none", ()),
    "camera": ("tabletop", "tabletop = the demo world's, none = your own", processes.CAMERAS),
    "use_depth": (
        "",
        "place objects in 3-D with `depth` and `camera_info`; empty = as in the file, else true",
        (),
    ),
    "rviz": views.RVIZ_ARGUMENT,
    "fixed_frame": views.FRAME_ARGUMENT,
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the demo's processes."""
    return processes.launch_description(ARGUMENTS, views.demo)
