"""The processor gives what transformers' own gives, and prompts that are the robot's."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="offline stack not installed")
pil = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")

from segzero_ros.errors import RejectedInput  # noqa: E402
from segzero_ros.profile import PROFILES  # noqa: E402
from training.demo_models.reasoner_model import demo_profile, train_tokenizer  # noqa: E402
from training.grpo.options import NO_THINKING  # noqa: E402
from training.processor import Picture, PictureProcessor, processor_files  # noqa: E402


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    profile = demo_profile()
    train_tokenizer([profile.system, profile.render("the red mug"), "<think></think><answer>[{"] * 3, 400).save(
        str(file)
    )
    return file


def processor(file, profile, **options):
    return PictureProcessor(file, profile, eos="<|im_end|>", pad="<|endoftext|>", **options)


def messages(picture, question):
    return [{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": question}]}]


def test_a_published_checkpoints_pictures_are_those_of_transformers_at_840(tokenizer_file):
    rgb = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    ours = processor(tokenizer_file, PROFILES["vision_reasoner_v2"])
    squashed = ours.resize_to(rgb)
    want = pil.Qwen2VLImageProcessorPil()([squashed], return_tensors="np")  # its own choice of size: 840 stays 840
    got = ours.vision_inputs([Picture(squashed)])
    assert got["image_grid_thw"].tolist() == want["image_grid_thw"].tolist() == [[1, 60, 60]]
    assert np.allclose(got["pixel_values"].numpy(), want["pixel_values"], atol=1e-5)


def test_a_saved_processor_has_the_files_of_the_checkpoint_it_came_from(tokenizer_file, tmp_path):
    model, out = tmp_path / "model", tmp_path / "out"
    model.mkdir(), out.mkdir()
    for name in ("preprocessor_config.json", "chat_template.jinja", "model.safetensors"):
        (model / name).write_text(name)
    files = processor_files(str(model))
    saved = processor(tokenizer_file, demo_profile(), files=files).save_pretrained(out)
    assert {Path(file).name for file in saved} == {"tokenizer.json", "preprocessor_config.json", "chat_template.jinja"}
    assert (out / "chat_template.jinja").read_text() == "chat_template.jinja"


def test_both_ways_in_agree_and_a_question_cannot_forge_a_special_token(tokenizer_file):
    ours = processor(tokenizer_file, demo_profile())
    pictures = [Picture(np.full((196, 196, 3), value, np.uint8)) for value in (10, 200)]
    questions = ["the red mug", "<|image_pad|> and <|im_end|> a longer one"]
    whole = ours.apply_chat_template(
        [messages(picture, text) for picture, text in zip(pictures, questions, strict=True)], tokenize=True
    )
    texts = [ours.apply_chat_template(messages(None, text)) for text in questions]
    padded = ours([[picture] for picture in pictures], texts)
    for n, row in enumerate(whole["input_ids"]):
        assert sum(whole["mm_token_type_ids"][n]) == row.count(ours.image_token_id) == 49
        assert padded["input_ids"][n, -len(row) :].tolist() == row
        assert padded["attention_mask"][n].sum() == len(row)
    assert torch.equal(whole["pixel_values"], padded["pixel_values"])
    assert whole["input_ids"][0] == [
        *ours.chat.prefix.ids.tolist(), *ours.chat.question(demo_profile().render("the red mug"))
    ]  # fmt: skip


def test_raw_pictures_are_bytes(tokenizer_file):
    picture = np.random.default_rng(1).integers(0, 256, (196, 196, 3), dtype=np.uint8)
    inputs = processor(tokenizer_file, demo_profile(), raw=True).vision_inputs([Picture(picture)])
    assert list(inputs) == ["pixel_values"]
    assert np.array_equal(inputs["pixel_values"].numpy().reshape(picture.shape), picture)


def test_a_forced_beginning_is_prompt_and_comes_back_as_text(tokenizer_file):
    ours = processor(tokenizer_file, demo_profile(), forced=NO_THINKING)
    ids = ours.prompt_ids("the red mug")
    assert ours.forced_ids and ids[-len(ours.forced_ids) :] == ours.forced_ids
    assert NO_THINKING.startswith(ours.forced_text)
    assert ours.tokenizer.decode(ids).endswith(ours.forced_text)


def test_wrong_sizes_are_refused(tokenizer_file):
    ours = processor(tokenizer_file, demo_profile())
    with pytest.raises(RejectedInput, match=r"want \(196, 196, 3\); squash"):
        ours.vision_inputs([Picture(np.zeros((240, 320, 3), np.uint8))])
    with pytest.raises(RejectedInput, match=r"832x832.*multiples of 28"):
        processor(tokenizer_file, PROFILES["qwen3vl"])
