"""Torch against ONNX: every graph's largest difference, the greedy text, the masks' IoU; exit code 1 beyond the limits.

Two references keep the two causes of a difference apart. "stored": the stock model with its matrices rounded as the
bundle stores them, against which only the arithmetic differs and limits are tight. "checkpoint": the stock model as it
was saved. Both are the stock classes behind the stock image processor: nothing of our tower, prompt or preprocessing.

Run: python -m export.compare bundles/tabletop --reasoner CHECKPOINT --segmenter CHECKPOINT --count 20
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from PIL import Image
from tokenizers import Tokenizer
from transformers import GenerationConfig, Sam2Model
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from export.checks import Check, check_table, to_json
from export.families import family_of
from export.onnx_graph import Store, stored
from export.parity_check import check_parity, tabletop_examples
from export.queries import EvalQuery, drawn_questions, tabletop_questions
from export.reasoner_onnx import load_checkpoint
from export.segmenter_onnx import load_segmenter
from segzero_ros.answer import Target
from segzero_ros.backends import EngineOptions
from segzero_ros.backends.decoding.chat_prompt import IMAGE_TOKEN
from segzero_ros.backends.decoding.preprocess import IMAGENET_MEAN, IMAGENET_STD, normalise, resize_to
from segzero_ros.backends.onnx.reasoner import OnnxReasoner
from segzero_ros.backends.onnx.segmenter import OnnxSegmenter
from segzero_ros.backends.onnx.session import open_session
from segzero_ros.bundle import open_bundle
from segzero_ros.cli.parser import Parser, Renamed, at_least
from segzero_ros.frame import Frame
from segzero_ros.matching import mask_iou
from segzero_ros.profile import Profile
from segzero_ros.reasoner import Request

GRAPH_LIMIT = 1e-3  # of the largest magnitude: FP32 sums in another order
HALF_LIMIT = 1e-2  # the same where products are FP16, whose last bit is 1e-3 already
REPLY_TOKENS = 160  # compared per reply: thinking and an answer of a few objects
SAME_TEXT = 0.9  # of the replies, against the unrounded checkpoint: near ties may tip
MASK_IOU = 0.98  # FP16 matrices move a mask's edge by less than that; most masks are equal
SCORE_GAP = 0.02
TEMPLATE = (
    "<|im_start|>system\n{system}<|im_end|>\n"
    "<|im_start|>user\n<|vision_start|>{image}<|vision_end|>{prompt}<|im_end|>\n"
    "<|im_start|>assistant\n"
)


@dataclass(frozen=True, slots=True)
class Reply:
    """A greedy reply: ids, the logits (n, vocabulary) they were chosen from, the text up to the answer's end.

    `cut`: it ended because no more tokens were allowed.
    """

    ids: list[int]
    logits: NDArray[np.float32]
    text: str
    cut: bool


class StockReasoner:
    """The checkpoint as transformers runs it: stock tower, stock image processor, `generate`."""

    def __init__(self, model: Any, tokenizer: Tokenizer, profile: Profile) -> None:
        self.model, self._tokenizer, self._profile = model, tokenizer, profile
        self.facts = family_of([type(model).__name__]).facts
        self._processor = Qwen2VLImageProcessorPil(
            do_resize=False,
            patch_size=model.config.vision_config.patch_size,
            image_mean=list(self.facts.mean),
            image_std=list(self.facts.std),
        )

    def inputs(self, question: EvalQuery) -> dict[str, torch.Tensor]:
        """Everything `generate` wants for one question."""
        squashed = Image.fromarray(question.frame.rgb).resize(self._profile.image_size, Image.Resampling.BILINEAR)
        picture = self._processor([np.asarray(squashed)], return_tensors="pt")
        tokens = int(picture["image_grid_thw"].prod()) // self.model.config.vision_config.spatial_merge_size**2
        prompt = self._profile.render(question.command.text)
        text = TEMPLATE.format(system=self._profile.system, image=IMAGE_TOKEN * tokens, prompt=prompt)
        ids = torch.tensor([self._tokenizer.encode(text, add_special_tokens=False).ids])
        image = (ids == self.model.config.image_token_id).int()
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": image, **picture}

    def tokens(self, question: EvalQuery) -> NDArray[np.float32]:
        """Visual tokens (M, hidden), what a deepstack adds behind each."""
        inputs = self.inputs(question)
        with torch.inference_mode():
            out = self.model.model.visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"])
            added = getattr(out, "deepstack_features", None) or []
            tokens: NDArray[np.float32] = torch.cat([out.pooler_output, *added], dim=1).numpy()
        return tokens

    def reply(self, question: EvalQuery, tokens: int) -> Reply:
        """Greedy reply of at most `tokens` tokens."""
        inputs = self.inputs(question)
        stops = [self._tokenizer.token_to_id(stop) for stop in ("<|im_end|>", "<|endoftext|>")]
        greedy = GenerationConfig(
            do_sample=False, max_new_tokens=tokens, eos_token_id=stops, pad_token_id=stops[-1],
            output_logits=True, return_dict_in_generate=True,
        )  # fmt: skip
        with torch.inference_mode():
            out = self.model.generate(**inputs, generation_config=greedy)
        ids = out.sequences[0, inputs["input_ids"].shape[1] :].tolist()
        text = self._tokenizer.decode(ids, skip_special_tokens=True)
        end = text.find("</answer>")
        text = text if end < 0 else text[: end + len("</answer>")]
        return Reply(ids, torch.cat(out.logits).numpy(), text, cut=len(ids) == tokens)


def compare_reasoner(
    checkpoint: Path,
    files: Mapping[str, Path],
    profile: Profile,
    questions: Sequence[EvalQuery],
    *,
    tokens: int = REPLY_TOKENS,
) -> list[Check]:
    """Compare an exported reasoner with its checkpoint on `questions`, replies of up to `tokens` tokens."""
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    ours = OnnxReasoner(files, profile, EngineOptions(constrained=False))  # a checkpoint's own text, grammar or not
    checks = []
    model = load_checkpoint(checkpoint).float()
    as_saved = _replies(StockReasoner(model, tokenizer, profile), questions, tokens)
    same = _same_text(ours, questions, as_saved, tokens)
    checks.append(Check("greedy text: share identical", "checkpoint", same, SAME_TEXT, more=True))

    round_matrices(model, store_of(files["decoder"]))
    stock = StockReasoner(model, tokenizer, profile)
    as_stored = _replies(stock, questions, tokens)
    same = _same_text(ours, questions, as_stored, tokens)
    half = computes_in_half(files["decoder"])
    checks.append(Check("greedy text: share identical", "stored", same, SAME_TEXT if half else 1.0, more=True))
    limit = HALF_LIMIT if half else GRAPH_LIMIT
    decoder = max(map(partial(_decoder_difference, ours), questions, as_stored))
    checks.append(Check("decoder: largest relative difference", "stored", decoder, limit))
    vision = max(map(partial(_vision_difference, stock, open_session(files["vision"])), questions))
    checks.append(Check("vision: largest relative difference", "stored", vision, limit))
    checks.append(
        Check("embeddings: largest difference", "stored", _embedding_difference(files["embeddings"], model), 0.0)
    )
    return checks[::-1]


def computes_in_half(decoder: Path) -> bool:
    """Whether a decoder graph was exported with `arithmetic="half"`: its caches say so."""
    inputs = onnx.load(decoder, load_external_data=False).graph.input
    return any(value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16 for value in inputs)


def store_of(graph: Path) -> Store:
    """Return how a graph stores its matrices."""
    initializers = onnx.load(graph, load_external_data=False).graph.initializer
    return "half" if any(weight.data_type == onnx.TensorProto.FLOAT16 for weight in initializers) else "float"


def round_matrices(model: Any, store: Store) -> Any:
    """Round the model's matrices in place as the exporter does, all but those its family keeps exact."""
    exact = family_of([type(model).__name__]).exact_weights(model.model.visual)
    with torch.no_grad():
        for parameter in model.parameters():
            if not any(parameter is kept for kept in exact):
                parameter.copy_(stored(parameter, store))
    return model


def _embedding_difference(graph: Path, model: Any) -> float:
    table = model.model.language_model.embed_tokens.weight.detach().numpy()
    ids = np.unique(np.linspace(0, len(table) - 1, 512).astype(np.int64))
    rows = open_session(graph).run(None, {"ids": ids})[0]
    wanted = np.pad(table[ids], ((0, 0), (0, rows.shape[1] - table.shape[1])))  # a deepstack adds nothing to text
    return float(np.abs(rows - wanted).max())


def _vision_difference(stock: StockReasoner, session: InferenceSession, question: EvalQuery) -> float:
    _, _, height, width = session.get_inputs()[0].shape
    pixels = normalise(resize_to(question.frame.rgb, (width, height)), stock.facts.mean, stock.facts.std)[None]
    return _relative(session.run(None, {"pixels": pixels})[0], stock.tokens(question))


def _decoder_difference(ours: OnnxReasoner, question: EvalQuery, reply: Reply) -> float:
    """Logits of the prompt's end and of every step, the stock model's reply being put into our mouth."""
    return _relative(ours.score(question.frame, question.command, reply.ids[:-1]), reply.logits)


def _replies(stock: StockReasoner, questions: Sequence[EvalQuery], tokens: int) -> list[Reply]:
    return [stock.reply(question, tokens) for question in questions]


def _same_text(ours: OnnxReasoner, questions: Sequence[EvalQuery], replies: Sequence[Reply], tokens: int) -> float:
    same = [_says(ours, question, reply, tokens) for question, reply in zip(questions, replies, strict=True)]
    return float(np.mean(same))


def _says(ours: OnnxReasoner, question: EvalQuery, reply: Reply, tokens: int) -> bool:
    """Whether our text is the reply's; of a reply cut short we may say more, and it may end within a character."""
    answer = ours.reason(Request(question.frame, question.command, tokens))
    return answer.text.startswith(reply.text.rstrip("\ufffd")) if reply.cut else answer.text == reply.text


def _relative(ours: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    return float(np.abs(ours - reference).max() / np.abs(reference).max())


# ---- the segmenter ----


class StockSegmenter:
    """The checkpoint as transformers runs it, the picture squashed by Pillow, the best of three masks kept."""

    def __init__(self, model: Sam2Model) -> None:
        self._model = model
        self._side = int(model.config.prompt_encoder_config.image_size)

    def predict(self, frame: Frame, targets: tuple[Target, ...]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Masks (N, H, W) at the frame's size and predicted IoUs (N,)."""
        scale = np.array([self._side / side for side in frame.size])
        boxes = np.array([target.box for target in targets]) * np.tile(scale, 2)
        points = np.array([target.points for target in targets]) * scale
        with torch.inference_mode():
            out = self._model(
                pixel_values=self._pixels(frame),
                input_boxes=torch.from_numpy(boxes).float()[None],
                input_points=torch.from_numpy(points).float()[None],
                input_labels=torch.ones(1, *points.shape[:2], dtype=torch.int64),
                multimask_output=True,
            )
        best = out.iou_scores[0].argmax(1)
        chosen = out.pred_masks[0][torch.arange(len(best)), best][None]
        size = (frame.size[1], frame.size[0])
        masks = torch.nn.functional.interpolate(chosen, size, mode="bilinear", align_corners=False)[0] > 0
        return masks.numpy(), out.iou_scores[0].max(1).values.numpy()

    def _pixels(self, frame: Frame) -> torch.Tensor:
        squashed = Image.fromarray(frame.rgb).resize((self._side, self._side), Image.Resampling.BILINEAR)
        values = (np.asarray(squashed) / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
        return torch.from_numpy(values.transpose(2, 0, 1)[None]).float()


def compare_segmenter(
    checkpoint: Path,
    files: Mapping[str, Path],
    image_size: tuple[int, int],
    questions: Sequence[EvalQuery],
    seed: int = 0,
) -> list[Check]:
    """Compare an exported segmenter with its checkpoint on the questions' pictures, four drawn boxes each."""
    stock, ours = StockSegmenter(load_segmenter(checkpoint)), OnnxSegmenter(files, image_size)
    rng = np.random.default_rng(seed)
    overlaps, gaps = [], []
    for question in questions:
        targets = _drawn_targets(question.frame.size, rng)
        masks, scores = stock.predict(question.frame, targets)
        ours.set_image(question.frame)
        exported = ours.predict(targets)
        overlaps += [mask_iou(one, other) for one, other in zip(masks, exported.masks, strict=True)]
        gaps.append(float(np.abs(np.clip(scores, 0, 1) - exported.scores).max()))
    return [
        Check("masks: mean IoU", "checkpoint", float(np.mean(overlaps)), MASK_IOU, more=True),
        Check("mask scores: largest difference", "checkpoint", max(gaps), SCORE_GAP),
    ]


def _drawn_targets(size: tuple[int, int], rng: np.random.Generator, count: int = 4) -> tuple[Target, ...]:
    """Boxes of a tenth to half of the picture, the point in the middle."""
    extent = rng.uniform(0.1, 0.5, (count, 2)) * size
    corner = rng.uniform(0, 1, (count, 2)) * (np.array(size) - extent)
    boxes = np.concatenate([corner, corner + extent], axis=1)
    return tuple(
        Target((x0, y0, x1, y1), (((x0 + x1) / 2, (y0 + y1) / 2),)) for x0, y0, x1, y1 in boxes.astype(float).tolist()
    )


# ---- the table ----


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare a bundle with the checkpoints it was made from."""
    parser = Parser("python -m export.compare", __doc__ or "")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--reasoner", type=Path, help="checkpoint the bundle's reasoner was exported from")
    parser.add_argument("--segmenter", type=Path, help="checkpoint the bundle's segmenter was exported from")
    parser.add_argument("--data", choices=("drawn", "tabletop"), default="drawn", help="pictures to compare on")
    parser.add_argument("--count", type=at_least(1), default=10, help="pictures and prompts")
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the table here")
    parser.add_argument("--json", type=Path, dest="out", action=Renamed, new="--out")
    parser.add_argument("--parent", type=Path, help="of a quantised bundle: the one it was made from")
    options = parser.parse_args(arguments)
    if options.reasoner is None and options.segmenter is None and options.parent is None:
        parser.error("nothing to compare with: give --reasoner, --segmenter or --parent")
    bundle = open_bundle(options.bundle)
    questions = {"drawn": drawn_questions, "tabletop": tabletop_questions}[options.data](options.count, options.seed)
    checks: list[Check] = []
    if options.reasoner:
        checks += compare_reasoner(options.reasoner, bundle.reasoner.files, bundle.profile, questions)
    if options.segmenter:
        part = bundle.segmenter
        checks += compare_segmenter(options.segmenter, part.files, part.image_size, questions, options.seed)
    if options.parent:
        checks += check_parity(bundle, open_bundle(options.parent), tabletop_examples(options.count, options.seed))
    print(check_table(checks))
    if options.out:
        options.out.write_text(json.dumps(to_json(checks), indent=1) + "\n")
    return 0 if all(check.passed for check in checks) else 1


if __name__ == "__main__":
    raise SystemExit(main())
