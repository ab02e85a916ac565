"""Packed rollouts are the stock model's: the same log-probabilities and gradients, the same distribution of samples."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="offline stack not installed")

from segzero_ros.backends.decoding.chat_prompt import ChatPrompt  # noqa: E402
from segzero_ros.backends.decoding.preprocess import normalise, patchify  # noqa: E402
from training.demo_models.reasoner_model import (  # noqa: E402
    SIZE,
    build_model,
    demo_profile,
    train_tokenizer,
)
from training.grpo.packed import PackedPolicy  # noqa: E402
from training.grpo.vision import equal_pictures, share_vision  # noqa: E402
from training.packed_decoding import sample  # noqa: E402

PROFILE = demo_profile()
QUESTIONS = ("the red mug", "something to drink from, please")
GRID = (1, SIZE // 14, SIZE // 14)


@pytest.fixture(scope="module")
def chat():
    tokenizer = train_tokenizer([PROFILE.system, *map(PROFILE.render, QUESTIONS)] * 3, 400)
    return ChatPrompt(tokenizer.to_str(), token_grid=(SIZE // 28, SIZE // 28), system=PROFILE.system)


@pytest.fixture
def policy(chat):
    torch.manual_seed(5)
    model = build_model(chat.tokenizer).eval()
    return PackedPolicy(model, PROFILE.image_size, chat.prefix)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(3).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def rows(chat):
    """Question and a made-up completion of several lengths, and the picture each is about."""
    said = np.random.default_rng(7).integers(0, 256, 40).tolist()
    questions = [chat.question(PROFILE.render(text)) for text in QUESTIONS]
    pairs = [(questions[0], said[:9]), (questions[1], said[:31]), (questions[0], said[5:6]), (questions[1], said[:17])]
    return [q + s for q, s in pairs], [len(q) for q, _ in pairs], [0, 1, 1, 0]


def stock_log_probs(policy, chat, image, row, given):
    """Log-probabilities of a row's completion by the model's own forward pass, without padding."""
    ids = torch.tensor([[*chat.prefix.ids.tolist(), *row]])
    out = policy.packed.model(
        input_ids=ids,
        mm_token_type_ids=(ids == policy.image_token).long(),
        pixel_values=torch.from_numpy(patchify(normalise(image))),
        image_grid_thw=torch.tensor([GRID]),
    )
    scores = out.logits[0, policy.prefix_length + given - 1 : -1].log_softmax(-1)
    return scores.gather(1, torch.tensor(row[given:])[:, None])[:, 0]


def test_log_probabilities_and_gradients_are_the_stock_models(policy, chat, images, rows):
    model = policy.packed.model
    found, entropies = policy.log_probs(policy.encode_image(torch.from_numpy(images)), *rows, 1.0)
    torch.cat(found).sum().backward()
    got = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    want = [stock_log_probs(policy, chat, images[n], row, given) for row, given, n in zip(*rows, strict=True)]
    torch.cat(want).sum().backward()
    assert all(torch.allclose(a, b, atol=2e-4) for a, b in zip(found, want, strict=True))
    for name, parameter in model.named_parameters():
        assert torch.allclose(got[name], parameter.grad, atol=2e-3 * float(parameter.grad.abs().max())), name
    assert [len(e) for e in entropies] == [len(f) for f in found]


def stock_greedy(policy, chat, image, question, stop):
    """What transformers' generate says, the stop included where it came."""
    ids = torch.tensor([[*chat.prefix.ids.tolist(), *question]])
    out = policy.packed.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == policy.image_token).long(),
        pixel_values=torch.from_numpy(patchify(normalise(image))),
        image_grid_thw=torch.tensor([GRID]),
        max_new_tokens=12,
        do_sample=False,
        eos_token_id=stop,
    )
    return out[0, ids.shape[1] :].tolist()


def test_greedy_samples_are_those_of_the_stock_model(policy, images, chat):
    questions = [chat.question(PROFILE.render(text)) for text in QUESTIONS]
    visual = policy.encode_image(torch.from_numpy(images))
    stop = chat.tokenizer.token_to_id("<|im_end|>")
    want = [stock_greedy(policy, chat, image, q, stop) for image, q in zip(images, questions, strict=True)]
    got = sample(policy.packed, visual, questions, [0, 1], 2, 12, [stop], 0.0)
    assert got.ids == [want[0], want[0], want[1], want[1]]
    assert all(0 <= doubt <= 1 for doubt in got.uncertainty)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_samples_are_distributed_as_the_stock_model_says(policy, chat, images, temperature):
    """The first two tokens, whose chances the stock model gives: no token is off by more than five deviations."""
    with torch.no_grad():
        policy.packed.model.lm_head.weight *= 4  # some tokens likely, most not
        question, count = chat.question(PROFILE.render(QUESTIONS[0])), 4000
        visual, generator = policy.encode_image(torch.from_numpy(images[:1])), torch.Generator().manual_seed(11)
        samples = sample(policy.packed, visual, [question], [0], count, 2, [], temperature, generator)
        ids = torch.tensor([[*chat.prefix.ids.tolist(), *question]])
        likely = int(torch.tensor(samples.ids)[:, 0].mode().values)
        for token, place in ((None, 0), (likely, 1)):
            whole = ids if token is None else torch.cat([ids, torch.tensor([[token]])], dim=1)
            logits = policy.packed.model(
                input_ids=whole,
                mm_token_type_ids=(whole == policy.image_token).long(),
                pixel_values=torch.from_numpy(patchify(normalise(images[0]))),
                image_grid_thw=torch.tensor([GRID]),
            ).logits[0, -1]
            logits[policy.image_token] = -torch.inf
            chances = (logits / temperature).softmax(-1).double()
            drawn = torch.tensor([row[place] for row in samples.ids if token is None or row[0] == token])
            seen = torch.bincount(drawn, minlength=len(chances)).double()
            deviation = (len(drawn) * chances * (1 - chances)).sqrt() + 1
            assert len(drawn) > 100
            assert ((seen - len(drawn) * chances).abs() < 5 * deviation).all()


def test_the_same_seed_samples_the_same_and_finished_rows_do_not_disturb_others(policy, chat, images):
    visual, question = policy.encode_image(torch.from_numpy(images)), chat.question(PROFILE.render(QUESTIONS[0]))
    stops = list(range(0, 400, 3))  # a third of all tokens ends an answer: rows drop out all the time
    first, again = (
        sample(policy.packed, visual, [question] * 2, [0, 1], 8, 20, stops, 1.0, torch.Generator().manual_seed(2)).ids
        for _ in range(2)
    )
    assert first == again
    assert all(not set(ids[:-1]) & set(stops) and (ids[-1] in stops or len(ids) == 20) for ids in first)
    scored, _ = policy.log_probs(
        visual, [question + ids for ids in first], [len(question)] * 16, [0] * 8 + [1] * 8, 1.0
    )
    assert all(float(found.detach().min()) > -20 for found in scored)  # each token was possible where it was drawn


def test_the_vision_tower_reads_equal_pictures_once_with_the_same_gradients(policy, images):
    visual = policy.packed.model.model.visual
    patches = [torch.from_numpy(patchify(normalise(image))) for image in images]
    batch = torch.cat([patches[n] for n in (0, 1, 0, 0, 1)])
    grid = torch.tensor([GRID] * 5)
    weight = torch.randn(5 * 49, 128, generator=torch.Generator().manual_seed(1))
    reads = []
    visual.blocks[0].register_forward_hook(lambda module, inputs, output: reads.append(len(inputs[0])))

    def gradients():
        visual.zero_grad()
        tokens = visual(batch, grid_thw=grid).pooler_output
        (tokens * weight).sum().backward()
        return tokens.detach(), [parameter.grad.clone() for parameter in visual.parameters()]

    tokens, plain = gradients()
    share_vision(visual)
    shared_tokens, shared = gradients()
    assert reads == [5 * GRID[1] * GRID[2], 2 * GRID[1] * GRID[2]]
    assert torch.allclose(tokens, shared_tokens, atol=1e-5)
    for one, other in zip(plain, shared, strict=True):
        assert torch.allclose(one, other, atol=1e-3 * float(one.abs().max() + 1e-6))


def test_pictures_that_only_sum_alike_are_not_taken_for_equal():
    first = torch.arange(6.0).view(2, 3)
    pictures = (first, first.flip(0), first.clone())
    assert equal_pictures(pictures, torch.tensor([[1, 1, 2]] * 3)) == [0, 1, 0]
