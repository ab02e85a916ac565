"""Pictures as a browser takes them: JPEG of what a camera sees, PNG of label images."""

import base64
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

MOST_SIDE = 1280  # of a picture that is sent live; a phone shows less
LIVE_QUALITY, KEPT_QUALITY = 75, 92


def live_jpeg(rgb: NDArray[np.uint8]) -> bytes:
    """Encode a picture (H, W, 3) for looking at, made smaller where it is larger than MOST_SIDE."""
    factor = MOST_SIDE / max(rgb.shape[:2])
    if factor < 1:
        rgb = np.asarray(cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
    return _encoded(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, LIVE_QUALITY])


def kept_jpeg(rgb: NDArray[np.uint8]) -> bytes:
    """Encode a picture (H, W, 3) at its own size."""
    return _encoded(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, KEPT_QUALITY])


def labels_png(labels: NDArray[Any]) -> bytes:
    """Encode a label image (H, W) with the object's number in each pixel, up to 255; "" of bytes for an empty one."""
    if not labels.size:
        return b""
    return _encoded(".png", np.minimum(labels, 255).astype(np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 1])


def as_text(content: bytes) -> str:
    """Return bytes as JSON can carry them."""
    return base64.b64encode(content).decode("ascii")


def _encoded(kind: str, pixels: NDArray[Any], options: list[int]) -> bytes:
    done, content = cv2.imencode(kind, pixels, options)
    if not done:
        raise ValueError(f"no {kind} of pixels of shape {pixels.shape}")
    return content.tobytes()
