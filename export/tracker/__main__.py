"""python -m export.tracker: see graphs.py."""

from export.tracker.graphs import main

raise SystemExit(main())
