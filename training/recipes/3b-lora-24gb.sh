#!/bin/sh
# Qwen2.5-VL-3B with adapters on one card of 24 GB. DATA: what `segzero data check` takes. Not run here.
set -eu
accelerate launch --config_file training/recipes/one-gpu.yaml -m training.grpo \
    --profile vision_reasoner_v2 \
    --model Qwen/Qwen2.5-VL-3B-Instruct \
    --data "${DATA:-data}" \
    --val "${VAL-held-out}" \
    --reward vision_reasoner_v2 \
    --lora 32 --lr 1e-5 \
    --micro-batch 2 \
    --rollouts vllm --vllm-memory 0.42 \
    --response 1024 \
    --out "${OUT:-runs/3b-lora}" "$@"
