"""The packed pass is the stock Qwen2.5-VL: same hidden states, same greedy text, whatever else is in the batch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="offline stack not installed")

from export.vision_tower import normalise  # noqa: E402
from training.demo_models.reasoner_model import (  # noqa: E402
    CELL,
    SIZE,
    SPECIAL_TOKENS,
    build_model,
    demo_profile,
    train_tokenizer,
)
from training.demo_models.supervised_text import prefix_text  # noqa: E402
from training.packed import PackedReasoner, pack_sequences  # noqa: E402
from training.packed_decoding import sample  # noqa: E402

PROFILE = demo_profile()
QUESTIONS = ("the red mug", "something to drink from, please", "all the balls")


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([PROFILE.system, *map(PROFILE.render, QUESTIONS)] * 3, 400)


@pytest.fixture(scope="module")
def packed(tokenizer):
    torch.manual_seed(5)
    model = build_model(tokenizer).eval()
    before, after = (tokenizer.encode(text, add_special_tokens=False).ids for text in prefix_text(PROFILE))
    return PackedReasoner(model, PROFILE.image_size, before, after)


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(np.random.default_rng(3).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8))


def prompt(tokenizer, question):
    return tokenizer.encode(
        PROFILE.render(question) + "<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False
    ).ids


def stock_inputs(packed, image, turn):
    """What a user of transformers passes for one image and one turn."""
    pad = packed.model.config.image_token_id
    ids = [*packed.before.tolist(), *[pad] * packed.vision.grid.tokens, *packed.after.tolist(), *turn]
    pixels = normalise(image[None])[0]
    side = SIZE // CELL
    patches = pixels.reshape(1, 3, side, 2, 14, side, 2, 14).permute(0, 2, 5, 3, 6, 1, 4, 7)
    patches = patches.reshape(4 * side**2, 3, 1, 14, 14).expand(-1, -1, 2, -1, -1).reshape(4 * side**2, -1)
    return {
        "input_ids": torch.tensor([ids]),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
        "mm_token_type_ids": torch.tensor([[int(i == pad) for i in ids]]),
        "pixel_values": patches,
        "image_grid_thw": torch.tensor([[1, 2 * side, 2 * side]]),
    }


def test_special_tokens_are_qwens_and_single(tokenizer):
    assert all(len(tokenizer.encode(text, add_special_tokens=False).ids) == 1 for text in SPECIAL_TOKENS)


def test_a_digit_is_a_token(tokenizer):
    assert len(tokenizer.encode("168", add_special_tokens=False).ids) == 3


def test_hidden_states_equal_the_stock_model(packed, tokenizer, images):
    asked = [prompt(tokenizer, question) for question in QUESTIONS]
    where = [0, 1, 1]
    with torch.no_grad():
        flat = packed(packed.encode_image(images), pack_sequences(asked, where))
        start = 0
        for turn, image in zip(asked, where, strict=True):
            stock = packed.model.model(**stock_inputs(packed, images[image], turn)).last_hidden_state[0]
            ours = flat[start : start + len(turn)]
            assert torch.allclose(stock[-len(turn) :], ours, atol=2e-4), (stock[-len(turn) :] - ours).abs().max()
            start += len(turn)


def test_greedy_text_equals_the_stock_generate(packed, tokenizer, images):
    asked = [prompt(tokenizer, question) for question in QUESTIONS]
    ours = sample(packed, packed.encode_image(images), asked, [0, 1, 1], 1, 12, [], 0.0).ids
    for turn, image, answer in zip(asked, [0, 1, 1], ours, strict=True):
        stock = packed.model.generate(
            **stock_inputs(packed, images[image], turn), max_new_tokens=12, min_new_tokens=12, do_sample=False
        )
        assert stock[0, -12:].tolist() == answer
