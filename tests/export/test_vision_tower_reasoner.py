"""The fixed-grid vision tower is the stock tower: same tokens, same gradients, same positions."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration  # noqa: E402
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil  # noqa: E402

from export.vision_tower import checkpoint_tower, normalise, prefix_positions  # noqa: E402

IMAGE_TOKEN = 7


def small_model() -> Qwen2_5_VLForConditionalGeneration:
    """A Qwen2.5-VL of a few thousand parameters with random weights and non-trivial norms and biases."""
    torch.manual_seed(0)
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3]}
    language = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "rope_parameters": rope}
    tower = {"depth": 3, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32}
    config = Qwen2_5_VLConfig(
        text_config={**language, **heads, "bos_token_id": None, "eos_token_id": None},
        vision_config={**tower, "fullatt_block_indexes": [1]},
        image_token_id=IMAGE_TOKEN,
    )
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def stock_tokens(visual: torch.nn.Module, rgb: torch.Tensor) -> torch.Tensor:
    """Visual tokens (B, M, hidden) by the stock image processor and the stock tower."""
    processed = Qwen2VLImageProcessorPil(do_resize=False)(list(rgb.numpy()), return_tensors="pt")
    tokens = visual(processed["pixel_values"], grid_thw=processed["image_grid_thw"]).pooler_output
    return tokens.view(len(rgb), -1, tokens.shape[-1])


@pytest.mark.parametrize("size", [(168, 168), (112, 112), (252, 140), (308, 364), (840, 840)])
def test_tokens_equal_the_stock_tower(size: tuple[int, int]) -> None:
    visual = small_model().model.visual
    tower = checkpoint_tower(visual, size)
    rgb = torch.randint(0, 256, (2, size[1], size[0], 3), dtype=torch.uint8)
    with torch.no_grad():
        assert (tower(normalise(rgb)) - stock_tokens(visual, rgb)).abs().max() < 1e-5


@pytest.mark.parametrize("dense", [True, False])
def test_gradients_reach_the_checkpoint_and_equal_the_stock_tower(dense: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.vision_tower.DENSE_WINDOW_PATCHES", 512 if dense else 0)
    visual = small_model().model.visual
    tower = checkpoint_tower(visual, (168, 168))
    rgb = torch.randint(0, 256, (3, 168, 168, 3), dtype=torch.uint8)
    (tower(normalise(rgb)) ** 2).mean().backward()
    ours = {name: parameter.grad.clone() for name, parameter in visual.named_parameters()}
    visual.zero_grad()
    (stock_tokens(visual, rgb) ** 2).mean().backward()
    for name, parameter in visual.named_parameters():
        assert torch.allclose(ours[name], parameter.grad, atol=1e-5, rtol=1e-3), name


def test_an_image_size_off_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 28"):
        checkpoint_tower(small_model().model.visual, (170, 168))


@pytest.mark.parametrize("grid", [(6, 6), (5, 9), (9, 5)])
def test_positions_equal_get_rope_index(grid: tuple[int, int]) -> None:
    rows, columns = grid
    ids = torch.tensor([[1] * 15 + [IMAGE_TOKEN] * (rows * columns) + [1] * 8])
    expected, _ = small_model().model.get_rope_index(
        ids, (ids == IMAGE_TOKEN).int(), image_grid_thw=torch.tensor([[1, rows * 2, columns * 2]])
    )
    assert torch.equal(prefix_positions(15, grid, 8), expected[:, 0])
