"""`python -m bench.hearing.endless_node`: the node; its engine thinks until it is stopped and keeps a core busy."""

import sys
import time

from segzero_ros.backends.fake import PROFILE, FakeReasoner, FakeSegmenter, centre_answer
from segzero_ros.config import NodeConfig
from segzero_ros.pipeline import Pipeline
from segzero_ros.profile import get_profile
from segzero_ros.ros.executor.process import ShutdownSignals, finish_node, run

PIECE_S = 0.05


def work(_index: int) -> None:
    """Take a core for as long as a token of a large model takes."""
    end = time.monotonic() + PIECE_S
    while time.monotonic() < end:
        pass


def open_engines(_config: NodeConfig) -> tuple[str, Pipeline]:
    """Return engines that think for minutes."""
    reasoner = FakeReasoner("<think>" + "hm, " * 100_000 + centre_answer(), before_piece=work)
    return "endless", Pipeline(get_profile(PROFILE), reasoner, FakeSegmenter())


def main() -> int:
    """Run the node until a signal."""
    shutdown = ShutdownSignals()
    from segzero_ros.ros.node import GroundingNode

    return run(
        shutdown, lambda: GroundingNode(stopping=shutdown.requested, open_engines=open_engines), None, finish_node
    )


if __name__ == "__main__":
    sys.exit(main())
