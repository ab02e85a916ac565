"""GRPO as in Seg-Zero, from the demo model on a CPU to Qwen2.5-VL-7B on several nodes: one script, TRL's GRPOTrainer.

    segzero train grpo --out runs/grpo                     # the demo, on a CPU, from checkpoints/tabletop
    accelerate launch --config_file training/recipes/zero3.yaml -m training.grpo \
        --profile vision_reasoner_v2 --model Qwen/Qwen2.5-VL-7B-Instruct --data DATASET --out runs/7b

training/recipes/ has the whole commands. A run saves on Ctrl-C and SIGTERM, `--resume` goes on from the newest whole
checkpoint and ends with the very weights of a run that was never stopped (same seed, same machine). OUT/best holds the
weights of the best validation (the paper's runs peak, then fall), OUT/log.jsonl and OUT/tensorboard the curves.

With `--profile seg_zero_v1` or `vision_reasoner_v2` the defaults are the paper's (arXiv 2503.06520, 2505.12081):
8 samples of 16 questions a step, temperature 1, AdamW at a constant 1e-6, weight decay 0.01, KL 5e-3 in the loss
(low-variance estimator), entropy 1e-3, clip 0.2, prompt 1300 and response 2000 tokens, one epoch, vision tower trained
too. (VisionReasoner's own scripts take a KL of 1e-2: `--kl 1e-2`.) What still differs from it, and why:

- TRL in place of verl/EasyR1. The loss is averaged over the tokens of a forward pass (`--loss bnpo`), as verl's masked
  mean is; gradients are clipped at norm 1.
- Pictures are squashed by the runtime's filter (PIL's bilinear); upstream's training data came from cv2's INTER_AREA.
- The prompt is the runtime's, picture then text; upstream's training put a line feed between them.
- The prompt's length is not cut: one picture and one question of at most 500 characters stay below 1300 tokens.
- A question outside its profile's frame is refused before the first step; upstream trains on it.
- Validation answers greedily on held-out questions and keeps the best; upstream evaluates saved checkpoints by hand.
- vLLM's rollouts are corrected by importance sampling, truncated token by token; upstream's are not.
- `grounded_v3` is this project's own reward, with the segmenter in the loop: the published recipes leave SAM 2 out.
- The demo's profile has defaults of its own (`grpo_options.DEMO`): a model of 2 million parameters bears and needs
  a rate a hundred times higher.
- On a CPU, rollouts and log-probabilities are `training/grpo/packed.py`'s: the same arithmetic, each picture read once.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segzero_ros.backends.decoding.families import QWEN2_5_VL
from segzero_ros.cli.parser import refuse
from segzero_ros.errors import Code, RejectedInput, nearest
from segzero_ros.profile import Profile, get_profile
from training.grpo.options import DEMO, DEMO_PROFILE, HELD_OUT, NO_THINKING, parse

if TYPE_CHECKING:
    from training.grpo.questions import Questions
    from training.grpo.scoring import Scorer
    from training.grpo.trainer import Validation
    from training.rewards.grounded import Grounded

VLLM = (0, 22), (0, 31)  # the releases that the pinned TRL supports
Rescored: TypeAlias = "Callable[[Scorer], Scorer]"
PROMPT_TOKENS = 1300  # the paper's; a picture of 840 x 840 has 900, the longest question stays below the rest
INTERRUPTED = 130  # what a shell says of a process that Ctrl-C ended


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; refuses what cannot be trained on with one line."""
    args = parse(argv, __doc__ or "")
    try:
        return train(args)
    except RejectedInput as error:
        return refuse("segzero train grpo", str(error))
    except OSError as error:  # a full disk, a folder that may not be written
        return refuse("segzero train grpo", f"could not write or read ({error}); the checkpoints before are whole")
    except KeyboardInterrupt:
        return INTERRUPTED


def train(args: argparse.Namespace, rescored: Rescored | None = None) -> int:
    """The whole run; 128 and the signal's number when it was stopped by one, else 0.

    `rescored`: makes of the run's rewards the ones to train with; the validation keeps its own. Raises
    ``RejectedInput`` for options and data that do not go together.
    """
    _set_environment(args.out)
    import torch

    from training.grpo.callbacks import Stopped
    from training.grpo.resume import checkpoints, newest_whole
    from training.saving import stop_on_signals

    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    last = checkpoints(args.out)[-1:]
    if last and not args.resume:
        raise _unfit(f"--out {args.out}, which holds {last[0].name}", "--resume to go on, or another folder")
    if args.resume and not last:
        print(f"--resume: there is no checkpoint in {args.out}; the run begins at step 0", file=sys.stderr)
    with stop_on_signals() as stop:
        whole = newest_whole(args.out) if last else None
        trainer = build_trainer(args, stop)
        trainer.scorer = rescored(trainer.scorer) if rescored else trainer.scorer
        stop.saves = True
        try:
            trainer.train(resume_from_checkpoint=str(whole) if whole else None)
        except Stopped:
            trainer.save_stopped()
        if not stop.is_set():
            return 0
        saved = checkpoints(args.out)
        kept = f"{saved[-1].name} is saved; the same command with --resume goes on" if saved else "nothing to save yet"
        print(f"stopped at step {trainer.state.global_step}; {kept}")
        return 128 + stop.signal


def build_trainer(args: argparse.Namespace, stop: Any) -> Any:
    """The trainer with its data, rewards and rollouts, nothing started."""
    from datasets import Dataset

    from training.grpo.packed import PackedPolicy
    from training.grpo.questions import check_answers
    from training.grpo.trainer import GroundingTrainer
    from training.grpo.vision import share_vision

    profile = _profile(args.profile)
    if _vllm(args):
        check_vllm()
    _check_model(args)  # before DeepSpeed's configuration, which forbids to look without loading
    config = _config(args)  # before the model: DeepSpeed's ZeRO-3 decides how that is loaded
    packed = _packs(args, config)
    processor = _processor(args, profile, raw=packed)
    questions, held_out_questions = training_data(args, profile)
    settings = grounded_settings(f"{args.settings},{args.v3}", budget=args.length_budget)
    segmenter = _segmenter(args, config)
    scorer = _scorer(args.reward, profile, questions, settings, segmenter)
    order = question_order(args, questions)
    check_answers(questions, order, profile)
    config.max_steps = args.steps or len(order) // args.prompts_per_step * args.iterations
    model = _model(args)
    if packed:
        model.model.visual.requires_grad_(not args.freeze_vision)
    trainer = GroundingTrainer(
        scorer=scorer,
        validation=_validation(args, profile, held_out_questions, settings, segmenter),
        processor=processor,
        policy=PackedPolicy(model, profile.image_size, processor.chat.prefix) if packed else None,
        stop=stop,
        least_advantage=args.least_advantage,
        model=model,
        args=config,
        train_dataset=Dataset.from_dict({"number": order}).with_transform(_Rows(questions, pil=_vllm(args))),
        peft_config=_lora(args),
    )
    if not packed:
        whole = trainer.model.get_base_model() if args.lora else trainer.model
        whole.model.visual.requires_grad_(not (args.freeze_vision or args.lora))
        share_vision(whole.model.visual)
    return trainer


def grounded_settings(text: str, *, budget: bool = True) -> Grounded:
    """Read "mask=1,mask_grading=squared" as settings of grounded_v3; of a key given twice the last counts.

    Without `budget` thinking costs nothing, whatever the text says. CONFIG_VALUE for a key that it does not have.
    """
    from training.rewards.grounded import Grounded

    known = {field.name for field in fields(Grounded)}
    given: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name.strip() not in known:
            raise RejectedInput(Code.CONFIG_VALUE, f"got the setting {name!r} of --v3{nearest(name, known)}")
        given[name.strip()] = value.strip() if name.strip() == "mask_grading" else _number(value, f"--v3 {name}")
    return replace(Grounded(), **given | ({} if budget else {"length_slope": 0.0}))


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _unfit(f"{what} {text!r}", "a number") from None
    if not math.isfinite(value):
        raise _unfit(f"{what} {text!r}", "a number")
    return value


def _unfit(got: str, want: str) -> RejectedInput:
    return RejectedInput(Code.CONFIG_VALUE, f"got {got}, want {want}")


def _set_environment(out: Path) -> None:
    """Logs in OUT; nothing is reported to anybody outside; one bar, and no warning of what TRL calls what."""
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(out / "tensorboard")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def _profile(name: str) -> Profile:
    if name != DEMO_PROFILE:
        return get_profile(name)
    from training.demo_models.reasoner_model import demo_profile

    return demo_profile()


def _vllm(args: argparse.Namespace) -> bool:
    return bool(args.rollouts == "vllm")


def check_vllm() -> None:
    """Refuse a machine without vLLM, or with one that TRL's release does not know."""
    try:
        found = metadata.version("vllm")
    except metadata.PackageNotFoundError:
        found = ""
    release = tuple(int(part) for part in found.split("+")[0].split(".")[:2] if part.isdigit())
    if not VLLM[0] <= release <= VLLM[1]:
        least, most = (".".join(map(str, release)) for release in VLLM)
        raise _unfit(
            f"--rollouts vllm and {f'vLLM {found}' if found else 'no vLLM'}",
            f"{least} to {most}, which TRL can drive: pip install vllm==0.30.0",
        )


def _packs(args: argparse.Namespace, config: Any) -> bool:
    """Whether rollouts and log-probabilities are the packed ones: one process, the whole model in it."""
    alone = config.world_size == 1 and config.deepspeed_plugin is None
    if args.rollouts == "packed" and not (alone and config.device.type == "cpu" and not args.lora):
        raise _unfit("--rollouts packed", "one process on a CPU without --lora; or --rollouts transformers")
    from training.processor import family_of

    packable = args.profile == DEMO_PROFILE or family_of(args.model) is QWEN2_5_VL
    if args.rollouts == "packed" and not packable:
        raise _unfit(f"--rollouts packed for {args.model}", f"a {QWEN2_5_VL.name}; or --rollouts transformers")
    cpu = alone and config.device.type == "cpu" and not args.lora and packable
    return bool(args.rollouts == "packed" or (args.rollouts == "auto" and cpu))


def _config(args: argparse.Namespace) -> Any:
    """TRL's configuration. A step is `prompts_per_step` x `samples` answers, over all devices."""
    import torch
    from accelerate import PartialState
    from trl import GRPOConfig

    answers, gpu = args.prompts_per_step * args.samples, torch.cuda.is_available()
    world = PartialState().num_processes
    micro = args.micro_batch or answers // world
    if answers % (world * micro):
        raise _unfit(
            f"{args.prompts_per_step} x {args.samples} answers on {world} devices, {micro} at a time",
            "a multiple of devices x --micro-batch",
        )
    if micro * (answers // (world * micro)) % args.samples:
        raise _unfit(f"{world} devices for {args.prompts_per_step} questions", "whole groups on each device")
    if args.save_every % args.iterations:
        raise _unfit(f"--save-every {args.save_every}", "a multiple of --iterations, or a resumed run would differ")
    return GRPOConfig(
        output_dir=str(args.out),
        seed=args.seed,
        max_steps=max(1, args.steps),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=answers // (world * micro),
        num_generations=args.samples,
        num_iterations=args.iterations,
        max_completion_length=args.response,
        temperature=args.temperature,
        learning_rate=args.lr,
        lr_scheduler_type=args.schedule,
        warmup_steps=args.warmup,
        weight_decay=args.weight_decay,
        adam_beta2=args.beta2,
        max_grad_norm=1.0,
        beta=args.kl,
        entropy_coef=args.entropy,
        epsilon=args.clip,
        loss_type=args.loss,
        scale_rewards=args.scale_rewards,
        shuffle_dataset=False,  # the order is drawn here, by seed and mix
        use_cpu=not gpu,
        bf16=gpu,
        gradient_checkpointing=gpu,
        save_steps=args.save_every,
        logging_steps=1,
        report_to=["tensorboard"],
        use_vllm=_vllm(args),
        vllm_mode=args.vllm_mode,
        vllm_max_model_length=PROMPT_TOKENS + args.response,  # else a cache for 128,000 tokens
        vllm_importance_sampling_mode="token_truncate",
        vllm_gpu_memory_utilization=args.vllm_memory,
        vllm_tensor_parallel_size=args.vllm_tensor_parallel,
        vllm_server_host=args.vllm_host,
        vllm_server_port=args.vllm_port,
        vllm_enable_sleep_mode=args.vllm_mode == "colocate" and _vllm(args),
        model_init_kwargs=None if args.profile == DEMO_PROFILE else _loading(args, gpu=gpu),
    )


def _loading(args: argparse.Namespace, *, gpu: bool) -> dict[str, Any]:
    """Weights that are updated stay in 32 bits, or 1e-6 of them would round to nothing; a base under adapters not."""
    return {"dtype": "bfloat16" if gpu and args.lora else "float32", "attn_implementation": args.attention}


def _check_model(args: argparse.Namespace) -> None:
    """Refuse a checkpoint that TRL would load with random numbers in place of what its files lack."""
    from segzero_ros.backends.torch_cuda.weights import check_whole
    from training.processor import model_class

    if args.profile != DEMO_PROFILE:
        check_whole(model_class(args.model), args.model)


def _model(args: argparse.Namespace) -> Any:
    """A small model as it is; a name on the hub is left to TRL, which knows how DeepSpeed wants it loaded."""
    from segzero_ros.backends.torch_cuda.weights import load_whole
    from training.processor import model_class

    if args.profile != DEMO_PROFILE:
        return args.model
    if not (Path(args.model) / "config.json").exists():
        raise _unfit(f"--model {args.model}", "a folder with config.json, model.safetensors and tokenizer.json")
    return load_whole(model_class(args.model), args.model, dtype="float32")


def _processor(args: argparse.Namespace, profile: Profile, *, raw: bool) -> Any:
    from training.processor import PictureProcessor, family_of, processor_files, tokenizer_file

    file = tokenizer_file(args.model)
    forced = "" if args.thinking else NO_THINKING
    if args.prefix:
        forced = f"<think>{args.prefix}"
    return PictureProcessor(
        file,
        profile,
        eos="<|im_end|>",
        pad="<|endoftext|>",
        forced=forced,
        raw=raw,
        files=processor_files(args.model),
        family=family_of(args.model),
    )


def training_data(args: argparse.Namespace, profile: Profile) -> tuple[Questions, Questions | None]:
    """Questions to train on and, where there are any, held-out ones; of both a share has word noise."""
    from training.grpo.questions import NoisyQuestions

    questions, kept = _plain_data(args, profile)
    share = args.word_noise if args.val_word_noise is None else args.val_word_noise
    if args.word_noise:
        questions = NoisyQuestions(questions, args.word_noise, args.seed)
    return questions, NoisyQuestions(kept, share, 0) if kept and share else kept


def _plain_data(args: argparse.Namespace, profile: Profile) -> tuple[Questions, Questions | None]:
    from training.grpo.questions import HELD_OUT_PER_PICTURE, open_questions, split_off

    wanted = args.steps * args.prompts_per_step // args.per_picture
    questions = open_questions(args.data, args.split, profile, seed=args.seed, pictures=wanted, cache=args.out)
    val = args.val or ("tabletop" if args.data == "tabletop" else "")
    if not val or not args.evaluate_count:
        return questions, None
    if val == HELD_OUT:
        return split_off(questions, args.evaluate_count, seed=0)
    pictures = -(-args.evaluate_count // HELD_OUT_PER_PICTURE)
    return questions, open_questions(val, args.val_split, profile, seed=0, pictures=pictures, cache=args.out)


def question_order(args: argparse.Namespace, questions: Questions) -> list[int]:
    """Numbers of the questions in the order in which a run asks them: a function of its options alone."""
    from training.grpo.questions import draw_order, parse_mix

    groups = args.steps * args.prompts_per_step or len(questions) // args.prompts_per_step * args.prompts_per_step
    if not groups:
        raise _unfit(f"{len(questions)} questions", f"at least --prompts-per-step {args.prompts_per_step}")
    mix = parse_mix(args.mix)
    if args.mix == DEMO["mix"]:  # not asked for: other data than the demo world has other kinds, or none
        mix = {kind: weight for kind, weight in mix.items() if kind in questions.kinds}
    return draw_order(questions, groups, mix, args.per_picture, np.random.default_rng((args.seed, 1)))


def _segmenter(args: argparse.Namespace, config: Any) -> Any:
    from training.grpo.masks import open_segmenter

    return open_segmenter(args.segmenter, str(config.device), args.threads) if args.segmenter else None


def _scorer(rule: str, profile: Profile, questions: Questions, settings: Grounded, segmenter: Any) -> Scorer:
    from training.grpo.scoring import Scorer

    wanted = rule == "grounded_v3" and settings.mask > 0
    return Scorer(rule, profile, questions, settings, segmenter if wanted else None)


def _validation(
    args: argparse.Namespace, profile: Profile, questions: Questions | None, settings: Grounded, segmenter: Any
) -> Validation | None:
    from training.grpo.questions import held_out
    from training.grpo.scoring import Scorer
    from training.grpo.trainer import Validation

    if questions is None:
        return None
    scorer = Scorer(args.reward, profile, questions, settings, segmenter)
    numbers = held_out(questions, args.evaluate_count, seed=0)
    masks = segmenter is not None and questions.source(numbers[0])[1] is not None
    return Validation(questions, numbers, scorer, args.evaluate_every, args.best_by or ("mask" if masks else "iou"))


class _Rows:
    """The data set's transform: numbers -> prompts and pictures, one and the same object for equal pictures."""

    def __init__(self, questions: Questions, *, pil: bool) -> None:
        self.questions, self.pil = questions, pil
        self.kept: dict[str, Any] = {}

    def __call__(self, batch: Mapping[str, list[int]]) -> dict[str, list[Any]]:
        asked = [self.questions[number] for number in batch["number"]]
        if len(self.kept) > 256:  # a step's worth and more; older ones are not asked again soon
            self.kept.clear()
        pictures = [self.kept.setdefault(one.picture, self._picture(one.rgb)) for one in asked]
        prompts = [[{"role": "user", "content": one.text}] for one in asked]
        return {"prompt": prompts, "image": pictures, "number": batch["number"]}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: `datasets` pickles a transform to name its cache, which would take a minute and serve nobody."""
        return {}

    def _picture(self, rgb: NDArray[np.uint8]) -> Any:
        from training.processor import Picture

        return _pil(rgb) if self.pil else Picture(rgb)


def _pil(rgb: NDArray[np.uint8]) -> Any:
    from PIL import Image

    return Image.fromarray(rgb)


def _lora(args: argparse.Namespace) -> Any:
    if not args.lora:
        return None
    try:
        from peft import LoraConfig
    except ModuleNotFoundError:
        raise _unfit("--lora without the package peft", "it: pip install peft") from None
    projections = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
    return LoraConfig(r=args.lora, lora_alpha=2 * args.lora, target_modules=projections, task_type="CAUSAL_LM")


if __name__ == "__main__":
    raise SystemExit(main())
