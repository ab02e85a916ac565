"""See ``main``."""

import sys

from export.parent.main import main

sys.exit(main())
