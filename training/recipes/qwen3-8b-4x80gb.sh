#!/bin/sh
# Qwen3-VL-8B learns to think before it answers, in its own thousandths, on four cards of 80 GB. Not run here.
set -eu
accelerate launch --config_file training/recipes/zero3.yaml --num_processes 4 -m training.grpo \
    --profile qwen3vl_thinking \
    --model Qwen/Qwen3-VL-8B-Instruct \
    --data "${DATA:-data}" \
    --val "${VAL-held-out}" \
    --reward grounded_v3 --v3 mask=0 \
    --micro-batch 2 \
    --rollouts vllm --vllm-memory 0.35 \
    --response 1024 \
    --out "${OUT:-runs/qwen3-8b}" "$@"
