"""TRL's GRPOTrainer plus packed rollouts, rewards by part, validation with the best kept, and saves that are whole."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, gather_object, is_peft_model
from torch import Tensor
from transformers import (
    GenerationConfig,
    PrinterCallback,
    ProgressCallback,
)
from trl import GRPOTrainer
from trl.models import unwrap_model_for_generation

from segzero_ros.backends.torch_cuda.weights import load_whole
from segzero_ros.errors import Code, RejectedInput
from training.evaluation.match_answer import match_answer
from training.grpo.callbacks import Bar, Log, StepGuard, Stopped, ValidationCallback
from training.grpo.packed import PackedPolicy
from training.grpo.questions import Questions
from training.grpo.resume import checkpoints
from training.grpo.scoring import Scorer, summarise
from training.packed_decoding import sample
from training.processor import Picture, PictureProcessor
from training.rewards.truth import Reward
from training.saving import Stop, recover_folder, replace_folder, score_in, written

FREE = "make room or name another --out; the checkpoints before are whole, --resume goes on from them"
_BATCH = 64  # greedy answers at once


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """Held-out questions, asked greedily every `every` steps; `best_by` is a key of the summary's "all"."""

    questions: Questions
    numbers: Sequence[int]
    scorer: Scorer
    every: int
    best_by: str


class GroundingTrainer(GRPOTrainer):
    """GRPO on pictures and questions. `policy`: packed rollouts; None leaves generation to TRL (transformers, vLLM)."""

    def __init__(
        self,
        *,
        scorer: Scorer,
        validation: Validation | None,
        processor: PictureProcessor,
        policy: PackedPolicy | None,
        stop: Stop,
        least_advantage: float = 0.0,
        **options: Any,
    ) -> None:
        self.scorer, self.validation, self.processor, self.policy = scorer, validation, processor, policy
        self.least_advantage = least_advantage
        self._encoded: dict[bytes, Tensor] = {}
        self._uncertainty: list[float] = []
        self._saving, self._stop, self._guard = False, stop, StepGuard(self)
        super().__init__(reward_funcs=[self._reward], processing_class=processor, **options)
        self.out = Path(self.args.output_dir)
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)
        self.add_callback(Bar())
        self.add_callback(Log(self.out))
        self.add_callback(self._guard)
        self.add_callback(ValidationCallback(self, stop))

    # ---- steps ----

    def training_step(self, *args: Any, **named: Any) -> Tensor:
        """TRL's; a loss that is no number is remembered until the update, which it forbids."""
        self._go_on()
        loss: Tensor = super().training_step(*args, **named)
        self._guard.sick |= not bool(torch.isfinite(loss).all())
        return loss

    def anywhere(self, value: bool) -> bool:
        """Whether it is so on any device."""
        told = torch.tensor(float(value), device=self.accelerator.device)
        return float(self.accelerator.reduce(told, "sum")) > 0

    def count_skipped(self) -> None:
        """Into the log: this step changed nothing."""
        self._metrics["train"]["skipped"].append(1.0)

    def _go_on(self) -> None:
        """Raise ``Stopped`` when asked to end; several processes end together, after the step."""
        if self._stop.is_set() and self.accelerator.num_processes == 1:
            raise Stopped

    def save_stopped(self) -> None:
        """Save what the last whole step left, if nothing did, for a run that was stopped within the next one."""
        step = self.state.global_step
        if step and step % self.num_iterations == 0 and not (self.out / f"checkpoint-{step}").exists():
            self._save_checkpoint(self.model, None)

    # ---- rollouts ----

    def _generate_single_turn(
        self, prompt_ids: Any, images: Any, multimodal_fields: Any, num_generations: int, has_tool_images: bool = False
    ) -> tuple[list[list[int]], Any]:
        if self.policy is None:
            if self.use_vllm and self.args.vllm_mode == "colocate":  # a server is told where the pictures stand instead
                prompt_ids = [self.processor.one_placeholder(ids) for ids in prompt_ids]
            return super()._generate_single_turn(
                prompt_ids, images, multimodal_fields, num_generations, has_tool_images
            )
        place = {id(one[0]): one[0] for one in images}
        order = {key: n for n, key in enumerate(place)}
        firsts = range(0, len(prompt_ids), num_generations)
        self._encoded.clear()
        pixels = torch.from_numpy(np.stack([picture.rgb.reshape(-1) for picture in place.values()]))
        samples = sample(
            self.policy.packed,
            self._visual_tokens(self.policy, pixels),
            [prompt_ids[n][self.policy.prefix_length :] for n in firsts],
            [order[id(images[n][0])] for n in firsts],
            num_generations,
            self.max_completion_length,
            self.eos_token_ids,
            self.temperature,
            self._generator(),
            self._go_on,
        )
        self._uncertainty = samples.uncertainty
        return samples.ids, None

    def _generator(self) -> torch.Generator:
        """The rollouts' randomness: a function of the seed and the step, so a resumed run samples the same."""
        seed = np.random.SeedSequence((self.args.seed, self.state.global_step, self.accelerator.process_index))
        return torch.Generator().manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, *args: Any, **fields: Any
    ) -> Any:
        if self.policy is None:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **fields
            )
        policy = self.policy if model is not self.ref_model else self._reference
        said = attention_mask[:, -logits_to_keep:].sum(1)
        learnt = said.nonzero()[:, 0]  # an answer that is not learned from has nothing said
        if not len(learnt):
            return (
                torch.zeros(len(said), logits_to_keep, requires_grad=True),
                torch.zeros(len(said), logits_to_keep),
                None,
            )
        pictures, images = _distinct(fields["pixel_values"][learnt])
        chosen = zip(input_ids[learnt], attention_mask[learnt].bool(), strict=True)
        rows = [ids[mask][policy.prefix_length :].tolist() for ids, mask in chosen]
        given = [len(row) - count for row, count in zip(rows, said[learnt].tolist(), strict=True)]
        scores = policy.log_probs(
            self._visual_tokens(policy, pictures),
            rows,
            given,
            images,
            self.temperature,
            entropy_gradient=self._entropy_bonus_enabled,
        )
        whole = torch.zeros(len(said), logits_to_keep)
        log_probs, entropies = (whole.index_copy(0, learnt, _right_pad(part, logits_to_keep)) for part in scores)
        return log_probs, entropies, None

    def _visual_tokens(self, policy: PackedPolicy, pictures: Tensor) -> Tensor:
        """Visual tokens of distinct pictures (B, bytes). A frozen tower reads each once per step, for all purposes."""
        width, height = self.processor.profile.image_size
        shape = (-1, height, width, 3)
        if any(parameter.requires_grad for parameter in self.model.model.visual.parameters()):
            return policy.encode_image(pictures.view(shape))
        keys = [picture.numpy().tobytes() for picture in pictures]
        fresh = [n for n, key in enumerate(keys) if key not in self._encoded]
        if fresh:
            with torch.no_grad():
                tokens = policy.encode_image(pictures[fresh].view(shape))
            self._encoded |= dict(zip([keys[n] for n in fresh], tokens, strict=True))
        return torch.stack([self._encoded[key] for key in keys])

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        """TRL's, but answers with less than `least_advantage` are not learned from (never all of them)."""
        output = super()._generate_and_score_completions(inputs)
        if self.least_advantage:
            strength = output["advantages"].abs()
            kept = strength >= min(self.least_advantage, float(strength.max()))
            output["completion_mask"] = output["completion_mask"] * kept[:, None]
            self._metrics["train" if self.model.training else "eval"]["learned_from"].append(float(kept.float().mean()))
        return output

    @property
    def _reference(self) -> PackedPolicy:
        if getattr(self, "_reference_policy", None) is None:
            profile = self.processor.profile
            self._reference_policy = PackedPolicy(self.ref_model, profile.image_size, self.processor.chat.prefix)
        return self._reference_policy

    # ---- rewards ----

    def _reward(self, completion_ids: Sequence[Sequence[int]], number: Sequence[int], **named: Any) -> list[float]:
        texts = self._texts(completion_ids)
        group = self.num_generations if self.model.training else 1
        doubts = self._uncertainty if len(self._uncertainty) == len(texts) else [0.0] * len(texts)
        thinking = self._thinking_tokens(texts)
        rewards = self.scorer.score(texts, number, thinking, doubts, group)
        log = named["log_metric"]
        for part in rewards[0].parts:
            values = np.array([reward.parts[part] for reward in rewards]).reshape(-1, group)
            log(f"reward/{part}", float(values.mean()))
            log(f"groups_with_advantage/{part}", float((np.ptp(values, axis=1) > 1e-6).mean()))
        for kind, earned in _by_kind(self.scorer.questions.kinds, number, rewards).items():
            log(f"reward_by_kind/{kind}", earned)
        log("tokens/thinking", float(np.mean(thinking)))
        log("tokens/uncertainty", float(np.mean(doubts)))
        return [reward.total for reward in rewards]

    _reward.__name__ = "grounding"

    def _texts(self, completion_ids: Sequence[Sequence[int]]) -> list[str]:
        forced = self.processor.forced_text
        return [forced + text for text in self.processor.batch_decode(completion_ids, skip_special_tokens=True)]

    def _thinking_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of all that stands before the answer's tag, as the tokenizer cuts that text when it stands alone."""
        return [len(self.processor.chat.plain(text.partition("<answer>")[0])) for text in texts]

    # ---- validation ----

    def validate(self) -> dict[str, Any]:
        """Greedy answers to the held-out questions: the summary, on every process. No question is dropped."""
        validation = self.validation
        assert validation is not None
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        mine = [number for n, number in enumerate(validation.numbers) if n % world == rank]
        rounds = -(-len(validation.numbers) // (world * _BATCH))
        rows: list[dict[str, Any]] = []
        for n in range(rounds):  # as many rounds on every process: sharded weights are gathered together
            numbers = mine[n * _BATCH : (n + 1) * _BATCH]
            answers = self._greedy(numbers or list(validation.numbers[:1]))
            rows += self._match(numbers, answers[: len(numbers)])
        everyone = sorted(gather_object(rows), key=lambda row: row["number"])
        summary = [None]
        if self.accelerator.is_main_process:
            self._keep(everyone)
            summary = [summarise(everyone)]
        broadcast_object_list(summary)
        return summary[0]

    def _keep(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """OUT/held_out/STEP.jsonl: every held-out question with its answer and match, to be read and compared."""
        folder = self.out / "held_out"
        folder.mkdir(exist_ok=True)
        lines = "".join(json.dumps({k: v for k, v in row.items() if v == v}) + "\n" for row in rows)  # no NaN
        (folder / f"{self.state.global_step:06}.jsonl").write_text(lines, encoding="utf-8")

    def _match(self, numbers: Sequence[int], answers: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
        validation = self.validation
        texts = self._texts(answers)
        masks = validation.scorer.mask_ious(texts, numbers)
        thinking = self._thinking_tokens(texts)
        rows = []
        for number, text, ids, count, ious in zip(numbers, texts, answers, thinking, masks, strict=True):
            question = validation.questions[number]
            match = match_answer(text, question.truth, self.processor.profile, ious)
            about = {"number": number, "kind": question.kind, "objects": len(question.truth.boxes)}
            said = {"tokens": len(ids), "thinking": count, "question": question.text, "answer": text}
            rows.append(match | about | said)
        return rows

    @torch.no_grad()
    def _greedy(self, numbers: Sequence[int]) -> list[list[int]]:
        asked = [self.validation.questions[number] for number in numbers]
        if self.policy is not None:
            distinct = {question.picture: question.rgb for question in asked}
            order = {name: n for n, name in enumerate(distinct)}
            visual = self.policy.encode_image(torch.from_numpy(np.stack(list(distinct.values()))))
            questions = [self.processor.question_ids(question.text) for question in asked]
            images = [order[question.picture] for question in asked]
            most, stops = self.max_completion_length, self.eos_token_ids
            return sample(self.policy.packed, visual, questions, images, 1, most, stops, 0.0, between=self._go_on).ids
        inputs = self.processor([Picture(one.rgb) for one in asked], [one.text for one in asked])
        inputs = {name: value.to(self.accelerator.device) for name, value in inputs.items()}
        config = GenerationConfig(
            max_new_tokens=self.max_completion_length,
            do_sample=False,
            eos_token_id=self.eos_token_ids,
            pad_token_id=self._tokenizer.pad_token_id,
            disable_compile=True,
        )
        with unwrap_model_for_generation(
            self.model_wrapped, self.accelerator, gather_deepspeed3_params=self.args.ds3_gather_for_generation
        ) as model:
            out = model.generate(**inputs, generation_config=config)
        return [_until(ids.tolist(), self.eos_token_ids) for ids in out[:, inputs["input_ids"].shape[1] :]]

    # ---- checkpoints ----

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.out / ".partial") if self._saving else super()._get_output_dir(trial)

    def create_model_card(self, *args: Any, **named: Any) -> None:
        """No card: a checkpoint holds what a run needs to go on, nothing else."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """As TRL does, but in a folder that gets its name only once it is whole; the two newest are kept.

        ``RejectedInput`` for weights that are no numbers, which are not saved.
        """
        self._check_weights()
        self._saving = True
        name = f"checkpoint-{self.state.global_step}"
        try:
            with written(self.out / name, FREE):
                super()._save_checkpoint(model, trial)
        except RejectedInput:
            shutil.rmtree(self.out / ".partial", ignore_errors=True)
            raise
        finally:
            self._saving = False
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            replace_folder(self.out / ".partial" / name, self.out / name)
            for old in checkpoints(self.out)[:-2]:
                shutil.rmtree(old)
        self.accelerator.wait_for_everyone()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Weights as `from_pretrained` reads them: a checkpoint's names are not those of the model's modules.

        transformers 5.23 loads them by the modules' names here, finds none, and goes on with the weights at hand.
        """
        if self.is_fsdp_enabled or is_peft_model(self.model):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        saved = load_whole(type(self.model), resume_from_checkpoint, dtype=self.model.dtype)
        self.model.load_state_dict(saved.state_dict())

    def keep_best(self, summary: Mapping[str, Any]) -> None:
        """Copy the weights to OUT/best when `summary` beats what is there; config, safetensors and tokenizer only."""
        file = recover_folder(self.out / "best") / "validation.json"
        score = summary["all"][self.validation.best_by]
        if score_in(file) >= score:
            return
        self._check_weights()
        partial = self.out / ".best"
        if self.args.should_save:
            shutil.rmtree(partial, ignore_errors=True)
        try:
            with written(self.out / "best", FREE):
                self.save_model(str(partial), _internal_call=True)
        except RejectedInput:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        if self.args.should_save:
            (partial / "training_args.bin").unlink(missing_ok=True)
            record = {"step": self.state.global_step, "by": self.validation.best_by, "score": score, **summary}
            (partial / "validation.json").write_text(json.dumps(record, indent=1))
            replace_folder(partial, self.out / "best")
        self.accelerator.wait_for_everyone()

    def _check_weights(self) -> None:
        """Refuse to save weights that are no numbers; every process learns it."""
        if self.anywhere(not all(bool(torch.isfinite(weight).all()) for weight in self.model.parameters())):
            raise RejectedInput(
                Code.CONFIG_VALUE,
                f"got weights that are no numbers after step {self.state.global_step}, which were not saved; "
                "--resume with a smaller --lr goes on from the checkpoint before",
            )


def _distinct(pixels: Tensor) -> tuple[Tensor, list[int]]:
    """Distinct rows of (N, bytes) and the one of them that each row equals."""
    known: dict[bytes, int] = {}
    images = [known.setdefault(row.numpy().tobytes(), len(known)) for row in pixels]
    firsts = [images.index(n) for n in range(len(known))]
    return pixels[firsts], images


def _by_kind(kinds: Sequence[str], numbers: Sequence[int], rewards: Sequence[Reward]) -> dict[str, float]:
    """Mean reward of each kind of question that was asked."""
    earned: dict[str, list[float]] = defaultdict(list)
    for number, reward in zip(numbers, rewards, strict=True):
        earned[kinds[number]].append(reward.total)
    return {kind: float(np.mean(totals)) for kind, totals in sorted(earned.items()) if kind}


def _right_pad(rows: Sequence[Tensor], length: int) -> Tensor:
    return torch.stack([torch.nn.functional.pad(row, (0, length - len(row))) for row in rows])


def _until(ids: list[int], stops: Sequence[int]) -> list[int]:
    end = next((n for n, token in enumerate(ids) if token in stops), len(ids) - 1)
    return ids[: end + 1]
