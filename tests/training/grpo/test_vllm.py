"""What TRL hands to vLLM: with one placeholder per picture, since vLLM expands each that it finds.

TRL's own functions run here, around an engine that expands as vLLM does; with vLLM installed (it is not in a set-up
of this repository) the last test asks vLLM's own function too.
"""

import inspect
import re
import types
from importlib import metadata

import numpy as np
import pytest

trl = pytest.importorskip("trl", reason="offline stack not installed")
from trl.generation import vllm_generation  # noqa: E402

from segzero_ros.errors import RejectedInput  # noqa: E402
from segzero_ros.profile import PROFILES  # noqa: E402
from training.demo_models.reasoner_model import train_tokenizer  # noqa: E402
from training.grpo.main import check_vllm  # noqa: E402
from training.grpo.trainer import GroundingTrainer  # noqa: E402
from training.processor import Picture, PictureProcessor  # noqa: E402

PROFILE = PROFILES["vision_reasoner_v2"]
TOKENS = 900  # of a picture of 840 x 840: 30 x 30 cells of 28 pixels


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer([PROFILE.system, PROFILE.render("the red mug")] * 3, 400).save(str(file))
    return PictureProcessor(file, PROFILE, eos="<|im_end|>", pad="<|endoftext|>")


class Llm:
    """vLLM as far as it matters here: a picture's placeholder becomes as many as the picture has tokens."""

    def __init__(self, image_token):
        self.image_token, self.read, self.pictures = image_token, [], []

    def generate(self, prompts, **_):
        outputs = []
        for prompt in prompts:
            self.pictures.append(prompt["multi_modal_data"]["image"])
            ids = prompt["prompt_token_ids"]
            place = ids.index(self.image_token)
            read = [*ids[:place], *[self.image_token] * TOKENS, *ids[place + 1 :]]
            self.read.append(read)
            said = types.SimpleNamespace(token_ids=[5, 6], logprobs=[{5: _logprob()}, {6: _logprob()}])
            outputs.append(types.SimpleNamespace(prompt_token_ids=read, outputs=[said]))
        return outputs


def _logprob():
    return types.SimpleNamespace(logprob=-0.5, rank=1)


def generation(llm):
    made = vllm_generation.VLLMGeneration.__new__(vllm_generation.VLLMGeneration)
    for name, value in {
        "mode": "colocate", "llm": llm, "tensor_parallel_size": 1, "enable_sleep_mode": False,
        "temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0,
        "max_completion_length": 8, "logprobs": 0, "generation_kwargs": {}, "structured_outputs_regex": None,
        "accelerator": None, "model": None, "_llm_weights_sleeping": False,
    }.items():  # fmt: skip
        setattr(made, name, value)
    return made


def trainer(processor, engine, mode="colocate"):
    made = GroundingTrainer.__new__(GroundingTrainer)
    made.policy, made.processor, made.use_vllm = None, processor, True
    made.args = types.SimpleNamespace(vllm_mode=mode, report_to=[])
    made.accelerator = types.SimpleNamespace(device="cpu", is_main_process=False)
    made.state, made._last_loaded_step = types.SimpleNamespace(global_step=3), 3
    made.vllm_generation = engine
    return made


@pytest.fixture
def vllm_names(monkeypatch):
    """The two names that TRL imports of vLLM where it is installed."""
    monkeypatch.setattr(vllm_generation, "SamplingParams", lambda **named: named, raising=False)
    monkeypatch.setattr(vllm_generation, "is_peft_model", lambda _: False)


def test_a_colocated_vllm_reads_the_prompt_that_is_trained_on(processor, vllm_names):
    llm = Llm(processor.image_token_id)
    prompts = [processor.prompt_ids(question) for question in ("the red mug", "something to drink from")]
    pictures = [Picture(np.zeros((840, 840, 3), np.uint8)) for _ in prompts]
    asked = trainer(processor, generation(llm))
    said, _ = asked._generate_single_turn(prompts, [[one] for one in pictures], {}, 1)
    assert llm.read == prompts and all(prompt.count(processor.image_token_id) == TOKENS for prompt in prompts)
    assert llm.pictures == pictures
    assert said == [[5, 6], [5, 6]]


def test_without_that_it_would_read_twice_as_many(processor, vllm_names):
    """The fault itself, in TRL's own hands: the day this fails, TRL has mended it and ours must go."""
    llm = Llm(processor.image_token_id)
    prompt = processor.prompt_ids("the red mug")
    generation(llm).generate(prompts=[prompt], images=[[Picture(np.zeros((840, 840, 3), np.uint8))]], num_generations=1)
    assert llm.read[0].count(processor.image_token_id) == 2 * TOKENS - 1


def test_a_server_is_given_the_prompt_as_it_is_and_told_where_the_picture_stands(processor):
    seen = []

    class Server:
        def generate(self, prompts, **_):
            seen.extend(prompts)
            return None, [[5]] * len(prompts), [[[-0.5]]] * len(prompts), None

    prompt = processor.prompt_ids("the red mug")
    trainer(processor, Server(), "server")._generate_single_turn([prompt], None, {}, 1)
    assert seen == [prompt]
    engine = generation(None)
    engine.processing_class = processor
    placed = engine._place_features({"mm_placeholders": {"image": [{}]}}, prompt)
    assert placed["mm_placeholders"]["image"] == [{"offset": prompt.index(processor.image_token_id), "length": TOKENS}]


def test_only_a_vllm_that_trl_can_drive_is_taken(monkeypatch):
    from trl import import_utils

    for found in ("0.22.0", "0.30.0+cu129", "0.31.2"):
        monkeypatch.setattr(metadata, "version", lambda _, found=found: found)
        check_vllm()
    for found in ("0.21.3", "0.33.0", "1.0.0"):
        monkeypatch.setattr(metadata, "version", lambda _, found=found: found)
        with pytest.raises(RejectedInput, match=f"vLLM {re.escape(found)}, want 0.22 to 0.31"):
            check_vllm()
    says = inspect.getsource(import_utils.is_vllm_available)
    assert '"0.22.0"' in says and '"0.31.0"' in says, "TRL supports other releases now"


def test_a_machine_without_vllm_is_told_what_to_install(monkeypatch):
    def version(_):
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(RejectedInput, match=r"no vLLM.*pip install vllm=="):
        check_vllm()


def test_two_pictures_apart_stay_two(processor):
    image = processor.image_token_id
    assert processor.one_placeholder([1, image, image, 2, image, image, image, 3]) == [1, image, 2, image, 3]
    assert processor.one_placeholder([image]) == [image] and processor.one_placeholder([]) == []


def test_vllms_own_function_expands_each_placeholder_that_it_finds(processor):
    processing = pytest.importorskip("vllm.multimodal.processing.processor", reason="needs vLLM")
    image = processor.image_token_id
    update = processing.PromptReplacement("image", [image], lambda _: [image] * TOKENS).resolve(0)
    whole = processor.prompt_ids("the red mug")

    def expanded(ids):
        return processing.apply_token_matches(ids, {"image": [[update]]})[0]

    assert expanded(processor.one_placeholder(whole)) == whole
    assert len(expanded(whole)) == len(whole) + TOKENS - 1, "vLLM makes 900 of the first placeholder, 899 follow"
