#!/bin/sh
# The demo model on one CPU thread, from checkpoints/tabletop; renders its own pictures. Run: see README.md here.
set -eu
OMP_NUM_THREADS=1 python -m training.grpo \
    --profile demo \
    --model checkpoints/tabletop \
    --data tabletop \
    --steps 150 \
    --seed "${SEED:-0}" \
    --out "${OUT:-runs/grpo-demo}" "$@"
