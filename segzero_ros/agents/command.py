"""The command `segzero mcp`."""

import argparse

from segzero_ros.cli.parser import OK, Parser, at_least, missing, refuse

ABOUT = (
    "Serve the running node to an agent by the Model Context Protocol, on standard input and output: tools ground, "
    "track, stop, status. It listens on no port, and ends when its input does."
)
EXAMPLES = ("claude mcp add segzero -- segzero mcp", "segzero mcp --ros-args -r __ns:=/arm")
INSTALL = "python3 -m pip install 'mcp>=2'"
NO_ROS = "needs ROS 2: source your ROS's and this workspace's setup.bash"


def configure(parser: Parser) -> None:
    """Add the options; what follows --ros-args is ROS's."""
    parser.describe(ABOUT, EXAMPLES)
    parser.add_argument(
        "--wait", type=at_least(1), default=5, metavar="S", help="seconds for the node to appear at each call (5)"
    )
    ros = "arguments of ROS, say -r __ns:=/arm"
    parser.add_argument("--ros-args", nargs=argparse.REMAINDER, default=[], metavar="...", help=ros)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until the input ends; 2 without ROS or the SDK."""
    if missing(["mcp"]):
        return refuse("segzero mcp", f"needs the package mcp: {INSTALL}")
    try:
        from segzero_ros.ros.client import Client, NoAnswerError
        from segzero_ros.ros.executor.process import StartError

        client = Client(arguments=["--ros-args", *options.ros_args])
    except ImportError as error:
        return refuse("segzero mcp", f"{NO_ROS} ({error})")
    except StartError as error:
        return refuse("segzero mcp", str(error))
    from segzero_ros.agents.robot import Robot
    from segzero_ros.agents.tools import make_server

    robot = Robot(client, NoAnswerError, wait_s=options.wait)
    try:
        make_server(robot).run("stdio")
    finally:
        robot.stop()
        client.close()
    return OK
