#!/bin/sh
# The paper's settings with Qwen2.5-VL-7B on eight cards of 46 to 48 GB, ZeRO-3, vLLM over pairs of them. Not run here.
set -eu
accelerate launch --config_file training/recipes/zero3.yaml -m training.grpo \
    --profile vision_reasoner_v2 \
    --model Qwen/Qwen2.5-VL-7B-Instruct \
    --data "${DATA:-data}" \
    --val "${VAL-held-out}" \
    --micro-batch 2 \
    --rollouts vllm --vllm-memory 0.35 --vllm-tensor-parallel 2 \
    --out "${OUT:-runs/7b}" "$@"
