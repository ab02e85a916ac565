"""python -m export.tracker: see graphs.py."""

from export.tracker.main import main

raise SystemExit(main())
