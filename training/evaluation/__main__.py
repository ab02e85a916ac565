"""Runs ``main``; see there."""

import sys

from training.evaluation.main import main

if __name__ == "__main__":
    sys.exit(main())
