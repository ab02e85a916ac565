"""Runs ``main``; see there."""

import sys

from bench.gpu.main import main

if __name__ == "__main__":
    sys.exit(main())
