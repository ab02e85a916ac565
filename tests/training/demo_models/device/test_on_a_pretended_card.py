"""Every tensor of a step is on the card: no GPU is needed to find one that was left on the CPU."""

import pytest

torch = pytest.importorskip("torch", reason="offline stack not installed")

from tests.training.demo_models.device.pretended_card import CARD, OnCard, PretendedCard, moved, on_card  # noqa: E402
from tests.training.drawn_rectangles import draw_shard  # noqa: E402
from tests.training.drawn_shards import write_shard  # noqa: E402
from training.demo_models import pretrain_segmenter  # noqa: E402
from training.demo_models.device.clock import Schedule  # noqa: E402
from training.demo_models.device.looks import changed  # noqa: E402
from training.demo_models.device.store import AnnouncedFolder, PictureStore  # noqa: E402
from training.demo_models.evaluate_segmenter import score_objects  # noqa: E402
from training.demo_models.pretrain_reasoner import Batches  # noqa: E402
from training.demo_models.reasoner import evaluation  # noqa: E402
from training.demo_models.reasoner.batch import Batch, converted  # noqa: E402
from training.demo_models.reasoner.learner import Learner, Optimiser  # noqa: E402
from training.demo_models.reasoner_model import build_model, demo_profile, train_tokenizer  # noqa: E402
from training.demo_models.recipes.reasoner import Recipe  # noqa: E402
from training.demo_models.recipes.shapes import Shape  # noqa: E402
from training.demo_models.segmenter_data import Shards  # noqa: E402
from training.demo_models.segmenter_model import demo_config  # noqa: E402
from training.demo_models.shards import ShardFolder  # noqa: E402

SMALL = Shape(196, 64, 3, 64, 2, 64, (1,))
RECIPE = Recipe(vision_steps=1, steps=2, vision_images=2, images=2, questions=1, recoloured=1.0)


def test_a_card_and_the_cpu_do_not_meet_unseen():
    there, here = on_card(torch.ones(3)), torch.arange(3)
    with PretendedCard():
        assert there.device == CARD and torch.ones(2, device=there.device).is_cuda
        assert isinstance(there[here] + torch.tensor(1.0), OnCard) and not here.is_cuda
        for mixed in (lambda: there + here, lambda: here[there.long()], lambda: torch.stack([there, here.float()])):
            with pytest.raises(RuntimeError, match="on the CPU meets one on the card"):
                mixed()
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()
        assert there.cpu().numpy().sum() == 3


def test_a_step_of_the_reasoner_and_its_evaluation_are_all_on_the_card(tmp_path, monkeypatch):
    draw_shard(tmp_path / "shard-00000", 5, 3)
    store = PictureStore(tmp_path, 196, 10, torch.device("cpu")).open()
    folder = AnnouncedFolder(tmp_path, 196, store.announced)
    tokenizer, profile = train_tokenizer([], 400), demo_profile()
    batches = Batches(folder, tokenizer, profile, RECIPE, Schedule(RECIPE.steps))
    model = moved(build_model(tokenizer, SMALL))
    monkeypatch.setattr(Learner, "to", lambda self, _: moved(self))  # nn.Module's sets the weights' data
    pictures, labels = on_card(store._pictures), on_card(store._labels)
    with PretendedCard():
        learner = Learner(model, tokenizer, profile)
        optimiser = Optimiser(learner, RECIPE)
        for step in range(RECIPE.steps):
            made = converted(batches.prepare(step), on_card)
            batch = Batch(changed(pictures[made.slot], labels[made.slot], made.looks), made.things, made.words)
            losses = learner.losses(batch)
            assert all(loss.is_cuda for loss in losses.values()) and ("speak" in losses) == (step == 1)
            losses["total"].backward()
            optimiser.step(step)
        monkeypatch.setattr(evaluation, "sample", lambda *a, real=evaluation.sample: real(*a[:5], 3, *a[6:]))
        assert evaluation.evaluate(learner, tokenizer, profile, ShardFolder(tmp_path, 196), 2)["all"]["count"] >= 2


@pytest.mark.parametrize("blind", [1.0, 0.0])
def test_a_step_of_the_segmenter_and_its_evaluation_are_all_on_the_card(tmp_path, blind):
    write_shard(tmp_path / "shard-00000", 4, seed=0)
    recipe = pretrain_segmenter.Recipe(None, 20, images_per_step=2, prompts_per_image=2, blind=blind)
    training = pretrain_segmenter.Training(recipe, tmp_path, config=demo_config(64), bfloat16=False)
    moved(training.model), moved(training.heads)
    training.optimizers = pretrain_segmenter.make_optimizers(training.model, training.heads, recipe)
    training.device = CARD
    with PretendedCard():
        assert training.step()["mask"] > 0
        training.steps_done = 7  # the single mask's turn
        assert training.step()["mask"] > 0
        assert list(score_objects(training.model, Shards(tmp_path), jitter=0.0, most=1))
