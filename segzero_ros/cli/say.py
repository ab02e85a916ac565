"""`segzero say`: one sentence to the running node, by its action; the reasoning appears as it is written."""

import argparse
import json
import signal
from typing import TYPE_CHECKING

from segzero_ros.cli.output import GrowingText, as_json, format_result
from segzero_ros.cli.parser import NOT_OK, OK, Parser, at_least, refuse
from segzero_ros.errors import Code

if TYPE_CHECKING:
    from segzero_ros.ros.client import Client

EXAMPLES = ('segzero say "something to drink from"', 'segzero say "all the books" --json --ros-args -r __ns:=/arm')
ABOUT = "Say a sentence to the running node and watch it reason. Ctrl-C cancels the command."
NO_ROS = "needs ROS 2: source your ROS's and this workspace's setup.bash, or use .venv/bin/segzero after `make demo`"
NO_NODE = "ros2 launch segzero_ros demo.launch.py starts one, with a camera to look through"


def configure(parser: Parser) -> None:
    """Add the options; what follows --ros-args is ROS's."""
    parser.describe(ABOUT, EXAMPLES)
    parser.add_argument("command", metavar="COMMAND", help='what to find, in quotes: "the red mug"')
    parser.add_argument(
        "--timeout", type=at_least(1), default=30, metavar="S", help="seconds for an answer (default 30)"
    )
    parser.add_argument(
        "--wait", type=at_least(1), default=5, metavar="S", help="seconds for the node to appear (default 5)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    ros = "arguments of ROS, say -r __ns:=/arm"
    parser.add_argument("--ros-args", nargs=argparse.REMAINDER, default=[], metavar="...", help=ros)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Send the command; 1 when nothing was found or it was cancelled, 2 without ROS or node."""
    try:
        from segzero_ros.ros.client import Client
    except ImportError as error:
        return refuse("segzero say", f"{NO_ROS} ({error})")
    client = Client(arguments=["--ros-args", *options.ros_args])
    try:
        return send(client, options)
    finally:
        client.close()


def send(client: "Client", options: argparse.Namespace) -> int:
    """Send the command and print its answer."""
    from segzero_ros.ros.client import NoAnswerError, read_answer

    interrupted: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: interrupted.append(number))
    reasoning = GrowingText()
    try:
        client.wait_for_node(options.wait)
        on_text = (lambda _: None) if options.json else reasoning
        message = client.send_goal(
            options.command, timeout_s=options.timeout, on_text=on_text, stop=lambda: bool(interrupted)
        )
    except NoAnswerError as error:
        return refuse("segzero say", f"{error}; {NO_NODE}")
    finally:
        signal.signal(signal.SIGINT, before)
    result = read_answer(message)
    reasoning.end()
    print(json.dumps(as_json(result)) if options.json else format_result(result))
    return OK if result.code is Code.OK else NOT_OK
