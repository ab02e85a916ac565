#!/bin/sh
# This project's reward, SAM 2 in its loop, on eight cards of 80 GB with FSDP in place of DeepSpeed. Not run here.
set -eu
accelerate launch --config_file training/recipes/fsdp.yaml -m training.grpo \
    --profile abstaining_v2 \
    --model Qwen/Qwen2.5-VL-7B-Instruct \
    --data "${DATA:-data}" \
    --val "${VAL-held-out}" \
    --reward grounded_v3 --v3 mask_grading=squared \
    --segmenter facebook/sam2.1-hiera-large \
    --micro-batch 4 \
    --rollouts vllm --vllm-memory 0.3 \
    --out "${OUT:-runs/7b-v3}" "$@"
