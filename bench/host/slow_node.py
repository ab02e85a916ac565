"""`python -m bench.host.slow_node SECONDS`: the node, with engines that take so long to open."""

import sys

from bench.host.ends import TROUBLE
from segzero_ros.host import start
from segzero_ros.ros.executor.process import main

if __name__ == "__main__":
    start.command_line = lambda _: TROUBLE
    start.resolve_bundle = lambda name: name  # type: ignore[assignment,return-value]
    sys.exit(main([sys.argv[0], "--ros-args", "-p", f"bundle:=slow:{sys.argv[1]}", *sys.argv[2:]]))
