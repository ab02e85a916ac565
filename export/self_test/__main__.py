"""See ``main``."""

import sys

from export.self_test.main import main

sys.exit(main())
