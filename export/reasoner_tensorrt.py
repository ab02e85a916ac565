"""Qwen2.5-VL of a bundle -> TensorRT engines for vision, embeddings and decoder: that part of `segzero engine build`.

    python -m export.reasoner_tensorrt BUNDLE [--target NAME:CAPABILITY:DRIVER] [--engine-dir DIR] [--again]

The vision graph's shapes are fixed. The decoder has two profiles: 1 to 8 rows (best for one) for decoding and guessing
ahead, and any number up to the cache's capacity for picture and question. TensorScatter becomes KVCacheUpdate, whose
output is its input's memory. Attention is allowed to fall back to plain products, because there is no fused kernel for
FP32.
"""

from segzero_ros.backends.tensorrt.builder import run

if __name__ == "__main__":
    raise SystemExit(run(only="reasoner"))
