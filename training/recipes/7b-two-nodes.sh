#!/bin/sh
# Two machines of eight cards of 48 GB or more. On each: MASTER=address NODE=0 (or 1) 7b-two-nodes.sh; OUT on a disk that
# both see. Not run here.
set -eu
accelerate launch --config_file training/recipes/zero3-two-nodes.yaml \
    --machine_rank "${NODE:-0}" --main_process_ip "${MASTER:-127.0.0.1}" --main_process_port 29500 -m training.grpo \
    --profile vision_reasoner_v2 \
    --model Qwen/Qwen2.5-VL-7B-Instruct \
    --data "${DATA:-data}" \
    --val "${VAL-held-out}" \
    --micro-batch 4 \
    --rollouts vllm --vllm-memory 0.35 --vllm-tensor-parallel 2 \
    --out "${OUT:-runs/7b}" "$@"
