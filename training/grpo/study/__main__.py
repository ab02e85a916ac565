"""One command per stage and arm of the study (docs/reinforcement.md); see `--help`."""

from training.grpo.study.main import main

raise SystemExit(main())
