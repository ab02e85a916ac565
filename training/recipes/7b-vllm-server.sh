#!/bin/sh
# Eight cards of 80 GB, four of them a vLLM server. First: 7b-vllm-server.sh serve; then, beside it, 7b-vllm-server.sh.
# Not run here.
set -eu
if [ "${1:-}" = serve ]; then
    export CUDA_VISIBLE_DEVICES=4,5,6,7 VLLM_SERVER_DEV_MODE=1
    exec vllm serve Qwen/Qwen2.5-VL-7B-Instruct \
        --host 127.0.0.1 --port 8000 \
        --tensor-parallel-size 4 \
        --max-model-len 3300 \
        --enable-scale-out \
        --weight-transfer-config '{"backend": "nccl"}' \
        --logprobs-mode processed_logprobs --max-logprobs -1
fi
CUDA_VISIBLE_DEVICES=0,1,2,3 accelerate launch --config_file training/recipes/zero3.yaml --num_processes 4 -m training.grpo \
    --profile vision_reasoner_v2 \
    --model Qwen/Qwen2.5-VL-7B-Instruct \
    --data "${DATA:-data}" \
    --val "${VAL-held-out}" \
    --micro-batch 4 \
    --rollouts vllm --vllm-mode server --vllm-host 127.0.0.1 --vllm-port 8000 \
    --out "${OUT:-runs/7b}" "$@"
