"""RViz beside the node, as a process of the launch files: config/segzero.rviz with topics and frame of this robot."""

import os
from pathlib import Path
from typing import Any

from segzero_ros.bundle import package_paths
from segzero_ros.ros import processes
from segzero_ros.ros.processes import PACKAGE, TABLE_FRAME, Argument, Process

RVIZ = "rviz2"
CONFIG = "segzero.rviz"

RVIZ_ARGUMENT: Argument = ("false", "true = RViz, too, with config/segzero.rviz", ("true", "false"))
FRAME_ARGUMENT: Argument = (
    "",
    "RViz's fixed frame: the robot's, or the camera's optical one; empty = the demo's table",
    (),
)


def rviz(
    fixed_frame: str,
    *,
    namespace: str = "",
    image: str = "",
    camera_info: str = "",
    log_level: str = "info",
    use_sim_time: bool | str = "",
) -> Process:
    """RViz with our displays; their topics are relative, so ``namespace`` moves them. ValueError where it is missing.

    The Camera display alone looks for its camera matrix at ``/camera_info`` whatever the namespace.
    """
    if not is_installed(RVIZ):
        raise ValueError(
            "launch argument rviz: got 'true', but rviz2 is not installed; "
            "sudo apt install ros-$ROS_DISTRO-rviz2 ros-$ROS_DISTRO-image-transport-plugins"
        )
    remaps = {"/camera_info": camera_info or "camera_info"}
    if image and image != "image":
        remaps["image"] = image
    parameters = {"use_sim_time": use_sim_time} if use_sim_time != "" else {}
    words = ("-d", str(config_path(CONFIG)), "-f", fixed_frame)
    return Process(RVIZ, "rviz", namespace, parameters, remaps, "", log_level, arguments=words, package=RVIZ)


def demo(*, rviz: str = "false", fixed_frame: str = "", **options: Any) -> tuple[Process, ...]:
    """What launch/demo.launch.py starts; ``options``: of ``processes.demo``. ValueError: RViz without a frame."""
    if not fixed_frame and options.get("camera", "tabletop") == "tabletop":
        fixed_frame = TABLE_FRAME
    return (*processes.demo(**options), *_beside(rviz, fixed_frame, options))


def node(*, rviz: str = "false", fixed_frame: str = "", **options: Any) -> tuple[Process, ...]:
    """What launch/segzero.launch.py starts; ``options``: of ``processes.node``. ValueError: RViz without a frame."""
    return (processes.node(**options), *_beside(rviz, fixed_frame, options))


def _beside(wanted: str, fixed_frame: str, options: dict[str, Any]) -> tuple[Process, ...]:
    if wanted != "true":
        return ()
    if not fixed_frame:
        raise ValueError("launch argument fixed_frame: got '', want the robot's frame for RViz, as base_link")
    common = ("namespace", "image", "camera_info", "log_level", "use_sim_time")
    return (rviz(fixed_frame, **{name: options[name] for name in common if name in options}),)


def is_installed(package: str) -> bool:
    """Whether a sourced ROS installation has ``package``."""
    index = Path("share") / "ament_index" / "resource_index" / "packages" / package
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    return any((Path(prefix) / index).is_file() for prefix in prefixes if prefix)


def config_path(name: str) -> Path:
    """Find a file of ``config/``: where colcon installs it, else in the source tree."""
    candidates = package_paths(f"package://{PACKAGE}/config/{name}")
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"no {' or '.join(map(str, candidates))}; build the package again")
