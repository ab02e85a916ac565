"""The runtime's resize equals the Hugging Face processor's bit for bit, its patches within rounding."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from segzero_ros.backends.decoding.preprocess import IMAGENET_MEAN, IMAGENET_STD, normalise, patchify, resize_to

Image = pytest.importorskip("PIL.Image")


def picture(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Noise over a gradient: both flat regions and the hardest edges."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(0, 255, width)[None, :, None] * np.ones((height, 1, 3))
    noise = rng.integers(0, 256, (height, width, 3))
    return np.where(rng.random((height, width, 1)) < 0.5, slope, noise).astype(np.uint8)


@pytest.mark.parametrize("source", [(320, 240), (640, 480), (1280, 720), (168, 300), (1, 1), (1001, 333)])
def test_a_resized_picture_is_what_the_hugging_face_processor_makes_of_it(source: tuple[int, int]) -> None:
    backend = pytest.importorskip("transformers.image_processing_backends").PilBackend
    size = pytest.importorskip("transformers.image_utils").SizeDict(height=168, width=252)
    resized = backend.resize(backend(), picture(*source).transpose(2, 0, 1), size, Image.BILINEAR)
    assert np.array_equal(resize_to(picture(*source), (252, 168)), resized.transpose(1, 2, 0))


def test_resizing_keeps_black_white_and_the_picture_given() -> None:
    rgb = picture(300, 200)
    rgb.flags.writeable = False
    before = rgb.copy()
    resize_to(rgb, (168, 168))
    assert np.array_equal(rgb, before)
    for level in (0, 255):
        flat = np.full((97, 301, 3), level, np.uint8)
        assert (resize_to(flat, (168, 140)) == level).all()


def test_resizing_to_the_same_size_is_the_picture() -> None:
    rgb = picture(168, 168)
    assert np.array_equal(resize_to(rgb, (168, 168)), rgb)


def test_patches_equal_the_hugging_face_processor() -> None:
    processor = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    for width, height in ((168, 168), (252, 140), (840, 840)):
        rgb = picture(width, height, seed=width)
        expected = processor.Qwen2VLImageProcessorPil(do_resize=False)([rgb], return_tensors="np")
        ours = patchify(normalise(rgb))
        assert expected["image_grid_thw"].tolist() == [[1, height // 14, width // 14]]
        assert np.abs(ours - expected["pixel_values"]).max() < 1e-5


def test_patches_of_a_large_frame_equal_pillow_then_hugging_face() -> None:
    processor = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    rgb = picture(640, 480)
    resized = np.asarray(Image.fromarray(rgb).resize((168, 168), Image.BILINEAR))
    expected = processor.Qwen2VLImageProcessorPil(do_resize=False)([resized], return_tensors="np")["pixel_values"]
    assert np.abs(patchify(normalise(resize_to(rgb, (168, 168)))) - expected).max() < 1e-5


def test_imagenet_normalisation_is_the_formula() -> None:
    rgb = picture(40, 30)
    expected = (rgb / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    ours = normalise(rgb, IMAGENET_MEAN, IMAGENET_STD)
    assert ours.dtype == np.float32
    assert np.abs(ours - expected.transpose(2, 0, 1)).max() < 1e-6
