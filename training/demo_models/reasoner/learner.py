"""The demo reasoner while it learns: the model, the heads it throws away later, its losses and its optimisers."""

from __future__ import annotations

from collections import defaultdict

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen2_5_VLForConditionalGeneration

from segzero_ros.profile import Profile
from segzero_ros.tabletop.language.lexicon import lexicon
from segzero_ros.tabletop.scene import World
from training.demo_models.colour_augmentation import COLOUR_NAMES
from training.demo_models.grounding_losses import DenseHeads, Grid, WordAlignment, dense_targets
from training.demo_models.reasoner.batch import Batch, Words
from training.demo_models.reasoner_model import CELL
from training.demo_models.recipes.reasoner import Recipe
from training.demo_models.supervised_text import prefix_text
from training.muon import Muon
from training.packed import PackedReasoner, Watch

GUIDED_LAYERS = (1, 2)
WEIGHTS = {"dense": 0.3, "guide": 0.4, "align": 0.3}


class Learner(nn.Module):
    """The reasoner with its throw-away heads; `losses` is one step's forward pass.

    Made where the model is, and moved with it before, not after. `world`: whose kinds the heads tell apart.
    """

    def __init__(
        self,
        model: Qwen2_5_VLForConditionalGeneration,
        tokenizer: Tokenizer,
        profile: Profile,
        world: World = "simple",
    ) -> None:
        super().__init__()
        self.world = world
        kinds = lexicon(world).kinds
        self.nothing = len(kinds)  # the class of visual tokens that lie on no thing

        def encode(text: str) -> list[int]:
            return list(tokenizer.encode(text, add_special_tokens=False).ids)

        before, after = map(encode, prefix_text(profile))
        size, width = profile.image_size[0], model.config.text_config.hidden_size
        self.grid = Grid(size // CELL, CELL)
        self.reasoner = PackedReasoner(model, profile.image_size, before, after)
        self.heads = DenseHeads(width, len(kinds), len(COLOUR_NAMES), size, self.grid.side)
        self.kind_words = WordAlignment([encode(f" {kind}") for kind in kinds])
        self.colour_words = WordAlignment([encode(f" {colour}") for colour in COLOUR_NAMES])
        self.to(model.device)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.reasoner.model.device

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses and accuracies of a batch; "total" is what is minimised."""
        visual = self.reasoner.encode_image(batch.rgb)
        result = self._vision_losses(visual, batch)
        if batch.words is None:
            result["total"] = result["dense"] + result["align"]
            return result
        result |= self._text_losses(visual, batch, batch.words)
        result["total"] = result["speak"] + sum(weight * result[name] for name, weight in WEIGHTS.items())
        return result

    def _vision_losses(self, visual: Tensor, batch: Batch) -> dict[str, Tensor]:
        kind, colour, place = dense_targets(batch.things, self.nothing, self.grid)
        result = self.heads(visual, kind, colour, place)
        result["dense"] = result["kind"] + result["colour"] + result["place"] + result["own"]
        on = kind < self.nothing
        embeddings = self.reasoner.text.embed_tokens.weight
        result["align"] = self.kind_words(visual[on], embeddings, kind[on])
        result["align"] = result["align"] + self.colour_words(visual[on], embeddings, colour[on])
        return result

    def _text_losses(self, visual: Tensor, batch: Batch, words: Words) -> dict[str, Tensor]:
        cover = self.grid.cover(batch.things.box, batch.things.point)[words.at_image, words.at_thing]
        watch = Watch(GUIDED_LAYERS, words.at, cover, self.reasoner.visual_from)
        hidden = self.reasoner(visual, words.sequences, watch)[words.learned]
        logits = functional.linear(hidden, self.reasoner.model.lm_head.weight)
        right = (logits.argmax(-1) == words.target).float().mean()
        return {"speak": functional.cross_entropy(logits, words.target), "guide": watch.loss(), "token_right": right}


class Optimiser:
    """Muon for the matrices of the transformer blocks, AdamW for the rest.

    The vision tower slower once the model speaks.
    """

    def __init__(self, learner: Learner, recipe: Recipe) -> None:
        self.recipe = recipe
        matrices: dict[str, list[nn.Parameter]] = defaultdict(list)
        others: dict[str, list[nn.Parameter]] = defaultdict(list)
        for name, parameter in learner.named_parameters():
            part = "vision" if ".visual." in name else "text"
            hidden = parameter.ndim == 2 and (".blocks." in name or ".layers." in name)
            (matrices if hidden else others)[part].append(parameter)
        self.muon = Muon(
            [{"params": p, "part": part} for part, p in matrices.items()], lr=recipe.muon, weight_decay=0.01
        )
        self.adam = torch.optim.AdamW(
            [{"params": p, "part": part} for part, p in others.items()],
            lr=recipe.adam,
            betas=(0.9, 0.98),
            weight_decay=0.0,
        )

    def step(self, step: int) -> None:
        """One update at the learning rate of `step`, gradients cleared."""
        scale = learning_rate(step, self.recipe)
        slow = self.recipe.vision_rate if step >= self.recipe.vision_steps else 1.0
        for optimiser, rate in ((self.muon, self.recipe.muon), (self.adam, self.recipe.adam)):
            for group in optimiser.param_groups:
                group["lr"] = rate * scale * (slow if group["part"] == "vision" else 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)


def learning_rate(step: int, recipe: Recipe) -> float:
    """Share of the full rate: each stage warms up and stays flat.

    The second falls linearly to zero in its last part.
    """
    if step < recipe.vision_steps:
        return min(1.0, (step + 1) / 50)
    spoken = step - recipe.vision_steps
    total = max(1, recipe.steps - recipe.vision_steps)
    left = (total - spoken) / max(1.0, total * (1 - recipe.decay_from))
    return min(1.0, (spoken + 1) / 100, max(0.0, left))
