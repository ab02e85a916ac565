"""Runs ``main``; see there."""

import sys

from training.evaluation.tracking.main import main

if __name__ == "__main__":
    sys.exit(main())
