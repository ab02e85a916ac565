#!/bin/sh
# The paper's settings with Qwen2.5-VL-7B on four cards of 80 GB, ZeRO-3, vLLM beside the training. Not run here.
set -eu
accelerate launch --config_file training/recipes/zero3.yaml --num_processes 4 -m training.grpo \
    --profile vision_reasoner_v2 \
    --model Qwen/Qwen2.5-VL-7B-Instruct \
    --data "${DATA:-data}" \
    --val "${VAL-held-out}" \
    --micro-batch 4 \
    --rollouts vllm --vllm-memory 0.3 \
    --out "${OUT:-runs/7b}" "$@"
