"""`python -m segzero_ros.cli`: the command line where no executable `segzero` is installed."""

import sys

from segzero_ros.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
