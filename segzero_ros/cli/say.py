"""`segzero say`: one sentence to the running node, by its action; the reasoning appears as it is written."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from segzero_ros.cli.output import GrowingText, as_json, format_result
from segzero_ros.cli.parser import NOT_OK, OK, Parser, at_least, refuse
from segzero_ros.errors import Code

if TYPE_CHECKING:
    from segzero_ros.msg import Segmentation
    from segzero_ros.ros.client import Client

EXAMPLES = ('segzero say "something to drink from"', 'segzero say "all the books" --json --ros-args -r __ns:=/arm')
ABOUT = "Say a sentence to the running node and watch it reason. Ctrl-C cancels the command."
NO_ROS = "needs ROS 2: source your ROS's and this workspace's setup.bash, or use .venv/bin/segzero after `make demo`"
NO_NODE = "ros2 launch segzero_ros demo.launch.py starts one, with a camera to look through"

LOADING_S = 2.0  # between two tries while the engines are being opened
CANCEL_S = 2.0  # for the answer to a cancel; Ctrl-C ends the process within three seconds


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


class Interrupt:
    """Ctrl-C: asks for the end of the command, and ends the process where nothing comes of that."""

    def __init__(self) -> None:
        self.cancellable = False
        self._times: list[float] = []

    def __call__(self, *_: object) -> None:
        """Note one, as the handler of SIGINT."""
        self._times.append(time.monotonic())

    def __bool__(self) -> bool:
        """Whether there was one."""
        return bool(self._times)

    def check(self) -> None:
        """Raise KeyboardInterrupt where there is nothing to cancel, no answer to that in time, or a second one came."""
        if not self._times:
            return
        if not self.cancellable or len(self._times) > 1 or time.monotonic() > self._times[0] + CANCEL_S:
            raise KeyboardInterrupt


def run(options: argparse.Namespace) -> int:
    """Send the command; 1 when nothing was found or it was cancelled, 2 without ROS or node, 130 ended by Ctrl-C."""
    interrupt = Interrupt()
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        from segzero_ros.ros.client import Client
        from segzero_ros.ros.executor.process import StartError

        client = Client(arguments=["--ros-args", *options.ros_args], alive=interrupt.check)
    except ImportError as error:
        return refuse("segzero say", f"{NO_ROS} ({error})")
    except StartError as error:
        return refuse("segzero say", str(error))
    else:
        return send(client, options, interrupt)
    finally:
        signal.signal(signal.SIGINT, before)


def send(client: "Client", options: argparse.Namespace, interrupt: Interrupt) -> int:
    """Send the command, print its answer and leave the graph."""
    from segzero_ros.ros.client import NoAnswerError, read_answer

    reasoning = GrowingText()
    try:
        client.wait_for_action(options.wait)
        interrupt.cancellable = True
        on_text = (lambda _: None) if options.json else reasoning
        message = _ask(client, options, on_text, interrupt)
    except NoAnswerError as error:
        return refuse("segzero say", f"{error}; {NO_NODE}")
    except KeyboardInterrupt:
        if interrupt.cancellable:
            print("segzero say: no answer to the cancel; the command may still be at work", file=sys.stderr)
        raise
    finally:
        client.close()
    result = read_answer(message)
    reasoning.end()
    print(json.dumps(as_json(result)) if options.json else format_result(result))
    return OK if result.code is Code.OK else NOT_OK


def _ask(
    client: "Client", options: argparse.Namespace, on_text: Callable[[str], None], interrupt: Interrupt
) -> "Segmentation":
    """Send the command; again, while the node's engines are still being opened, as long as there is time."""
    until = time.monotonic() + options.timeout
    while True:
        left_s = max(1.0, until - time.monotonic())
        message = client.send_goal(options.command, timeout_s=left_s, on_text=on_text, stop=lambda: bool(interrupt))
        if message.code != Code.LOADING or interrupt or time.monotonic() + LOADING_S > until:
            return message
        print(f"segzero say: {message.detail.partition(';')[0]}", file=sys.stderr)
        client.wait(lambda: bool(interrupt), LOADING_S)
