"""`ros2 launch segzero_ros segzero.launch.py image:=/camera/image_raw`: the grounding node for a camera of your own."""

from launch import LaunchDescription
from segzero_ros.ros import processes, views

ARGUMENTS = {
    "depth": ("depth", "the depth image topic, registered to the image", ()),
    "camera_info": ("camera_info", "the camera matrix' topic", ()),
    "image_transport": ("", "raw or compressed; empty = as in the parameter file", ("", "raw", "compressed")),
    "use_depth": ("", "place objects in 3-D with `depth` and `camera_info`; empty = as in the parameter file", ()),
    "respawn": ("true", "start the node again when it ends", ()),
    "rviz": views.RVIZ_ARGUMENT,
    "fixed_frame": views.FRAME_ARGUMENT,
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the node."""
    return processes.launch_description(ARGUMENTS, views.node)
