"""SAM 2 of a bundle -> TensorRT engines for encoder and mask decoder: the segmenter's part of `segzero engine build`.

    python -m export.segmenter_tensorrt BUNDLE [--target NAME:CAPABILITY:DRIVER] [--engine-dir DIR] [--again]

The encoder's shapes are fixed. The decoder takes 1 to 16 objects (best for 2) with 1 to 4 points each in one batch;
more objects go in several batches. FP32 and FP16 both build, from opset 18, whose attention is plain products: as one
operator, FP32 attention of head size 256 does not build.
"""

from segzero_ros.backends.tensorrt.builder import run

if __name__ == "__main__":
    raise SystemExit(run(only="segmenter"))
