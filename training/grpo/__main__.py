"""Runs ``main``; see there."""

import sys

from training.grpo.main import main

if __name__ == "__main__":
    sys.exit(main())
