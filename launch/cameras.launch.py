"""`ros2 launch segzero_ros cameras.launch.py cameras:=front,left`: several cameras, one set of engines.

A `segzero host` has the engines; each camera has a grounding node in a namespace of its name, which listens to `image`
there and is spoken to as /front/command or by the action /front/segment. The nodes take turns.
"""

from launch import LaunchDescription
from segzero_ros.ros import processes

ARGUMENTS = {
    "cameras": ("front,left", "the cameras' namespaces, with commas", ()),
    "depth": ("depth", "the depth image topic, registered to the image", ()),
    "camera_info": ("camera_info", "the camera matrix' topic", ()),
    "image_transport": ("", "raw or compressed; empty = as in the parameter file", ("", "raw", "compressed")),
    "use_depth": ("", "place objects in 3-D with `depth` and `camera_info`; empty = as in the parameter file", ()),
    "respawn": ("true", "start the nodes again when they end", ()),
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start host and nodes."""
    return processes.launch_description(ARGUMENTS, processes.cameras)
