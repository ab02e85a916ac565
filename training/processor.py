"""A family's processor without torchvision, as the robot prepares its input: the trainer sees what the runtime sees.

`Qwen2_5_VLProcessor` of transformers needs torchvision, for which there is no CPU build. Pictures are squashed to the
profile's size and normalised by the code of the runtime, prompts are written by the runtime's `ChatPrompt`, so there is
no second copy of either (upstream resized with one filter in training and another in inference).

Covered: one picture and one question per prompt; equal to transformers' PIL image processor of Qwen2-VL on a squashed
picture up to rounding (tests/training/test_processor.py). Not covered: several pictures or turns, video, tools.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerFast, ProcessorMixin

from segzero_ros.backends.decoding.chat_prompt import IMAGE_TOKEN, ChatPrompt
from segzero_ros.backends.decoding.families import FAMILIES, QWEN2_5_VL, Family
from segzero_ros.backends.decoding.preprocess import normalise, patchify, resize_to
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.profile import Profile

MERGE = 2
FILES = (
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.json",
    "chat_template.jinja",
)
"""What a published checkpoint may have for its processor, beside tokenizer.json."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """uint8 RGB (H, W, 3) of the profile's size. Never copied: a group's samples hold one and the same."""

    rgb: NDArray[np.uint8]

    def __deepcopy__(self, _: dict[int, Any]) -> Picture:
        return self


class PictureProcessor(ProcessorMixin):
    """What TRL asks of a processor: prompts and pictures -> token ids and what the vision tower wants.

    `raw`: hand on uint8 pixels (N, H * W * 3) instead of patches, for the packed rollouts. `forced`: text that every
    answer begins with; its tokens count as prompt. `files`: those of the checkpoint's own processor (``FILES``), saved
    beside tokenizer.json, so that transformers and vLLM open what was saved.

    Raises ``RejectedInput`` BUNDLE_PROFILE when the profile's size is
    no multiple of 28 (32 for Qwen3-VL).
    """

    def __init__(
        self,
        tokenizer_file: Path,
        profile: Profile,
        *,
        eos: str,
        pad: str,
        forced: str = "",
        raw: bool = False,
        files: Sequence[Path] = (),
        family: Family = QWEN2_5_VL,
    ) -> None:
        width, height = profile.image_size
        unit = family.patch * MERGE
        if width % unit or height % unit:
            raise RejectedInput(
                Code.BUNDLE_PROFILE, f"got pictures of {width}x{height}, want multiples of {unit}; choose such a size"
            )
        self.profile, self.family, self.raw = profile, family, raw
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_file), eos_token=eos, pad_token=pad)
        self.tokenizer.padding_side = "left"
        self.grid = (1, height // family.patch, width // family.patch)
        token_grid = (self.grid[1] // MERGE, self.grid[2] // MERGE)
        self.chat = ChatPrompt(tokenizer_file.read_text(), token_grid=token_grid, system=profile.system)
        self.image_token_id = self.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
        self.forced_ids = self.chat.forced(forced) if forced else []
        self.chat_template = None
        self.files = tuple(files)

    @property
    def forced_text(self) -> str:
        """What the forced ids spell: the beginning of every answer."""
        return str(self.tokenizer.decode(self.forced_ids))

    def question_ids(self, question: str) -> list[int]:
        """What stands between the picture and the first sampled token."""
        return [*self.chat.question(self.profile.render(question)), *self.forced_ids]

    def prompt_ids(self, question: str) -> list[int]:
        """The whole prompt, one placeholder per visual token."""
        return [*self.chat.prefix.ids.tolist(), *self.question_ids(question)]

    def one_placeholder(self, ids: Sequence[int]) -> list[int]:
        """The prompt with one placeholder per picture, as vLLM wants it: it puts in one per visual token itself.

        Given `prompt_ids` as they are it would do so with each of them, and the model would read twice as many.
        """
        return [
            token
            for n, token in enumerate(ids)
            if token != self.image_token_id or n == 0 or ids[n - 1] != self.image_token_id
        ]

    def apply_chat_template(self, conversation: Any, *, tokenize: bool = False, **_: Any) -> Any:
        """TRL's way in: messages -> text, or (`tokenize`) a mapping of ids and vision inputs per conversation.

        A conversation is one user message with a picture and the bare question; the profile writes the rest.
        """
        if not tokenize:
            return _parts(conversation)[1]
        pictures, questions = zip(*map(_parts, conversation), strict=True)
        ids = [self.prompt_ids(question) for question in questions]
        return {"input_ids": ids, **self.vision_inputs(pictures), "mm_token_type_ids": self._types(ids)}

    def __call__(self, images: Any = None, text: Any = None, **_: Any) -> dict[str, Any]:
        """TRL's second way in: questions and their pictures -> padded ids and vision inputs, as tensors."""
        questions = [text] if isinstance(text, str) else list(text)
        ids = [self.prompt_ids(question) for question in questions]
        pictures = [of_one[0] if isinstance(of_one, list) else of_one for of_one in images or []]
        types = self._types(ids)
        padded = {"input_ids": _left_pad(ids, self.tokenizer.pad_token_id), "mm_token_type_ids": _left_pad(types, 0)}
        padded["attention_mask"] = _left_pad([[1] * len(row) for row in ids], 0)
        return {**padded, **(self.vision_inputs(pictures) if pictures else {})}

    def vision_inputs(self, pictures: Sequence[Any]) -> dict[str, Tensor]:
        """`pixel_values` (patches of all pictures, 6 * patch^2) and `image_grid_thw` (N, 3); with `raw` bytes only."""
        arrays = [as_rgb(picture) for picture in pictures]
        self._check(arrays)
        if self.raw:
            return {"pixel_values": torch.from_numpy(np.stack([array.reshape(-1) for array in arrays]))}
        once = {id(array): None for array in arrays}
        patches = {id(array): self._patches(array) for array in arrays if once.pop(id(array), 0) is None}
        values = torch.from_numpy(np.concatenate([patches[id(array)] for array in arrays]))
        return {"pixel_values": values, "image_grid_thw": torch.tensor([self.grid] * len(arrays))}

    def resize_to(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A source picture at the profile's size."""
        return resize_to(rgb, self.profile.image_size)

    def batch_decode(self, ids: Sequence[Sequence[int]], **options: Any) -> list[str]:
        """Texts of completions, without what was forced."""
        return list(self.tokenizer.batch_decode(ids, **options))

    def decode(self, ids: Sequence[int], **options: Any) -> str:
        """Text of one completion."""
        return str(self.tokenizer.decode(ids, **options))

    def save_pretrained(self, save_directory: str | Path, **_: Any) -> list[str]:
        """Write tokenizer.json, which the exporter and this class need, and the checkpoint's own files."""
        folder = Path(save_directory)
        self.tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
        for file in self.files:
            shutil.copyfile(file, folder / file.name)
        return [str(folder / "tokenizer.json"), *(str(folder / file.name) for file in self.files)]

    def _types(self, ids: Sequence[Sequence[int]]) -> list[list[int]]:
        return [[int(token == self.image_token_id) for token in row] for row in ids]

    def _patches(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        return patchify(normalise(rgb, self.family.mean, self.family.std), patch=self.family.patch)

    def _check(self, arrays: Sequence[NDArray[np.uint8]]) -> None:
        width, height = self.profile.image_size
        wrong = next((array.shape for array in arrays if array.shape != (height, width, 3)), None)
        if wrong is not None:
            raise RejectedInput(
                Code.IMAGE_SIZE,
                f"got a picture of {wrong}, want ({height}, {width}, 3); squash it to the profile's size",
            )


def family_of(model: str | Path) -> Family:
    """Return the family of a folder or of a checkpoint on the hub; RejectedInput CONFIG_VALUE for another."""
    from transformers import AutoConfig

    try:
        architectures = AutoConfig.from_pretrained(model).architectures
    except Exception as error:  # noqa: BLE001 - what a wrong config.json leads to has no type in common
        said = str(error).strip().partition("\n")[0][:200]
        raise RejectedInput(Code.CONFIG_VALUE, f"got the model {model} ({said}), want one with a config.json") from None
    for family in FAMILIES.values():
        if architectures == [family.model_class]:
            return family
    raise RejectedInput(
        Code.CONFIG_VALUE, f"got the model {model} of {architectures}, want one of {', '.join(FAMILIES)}"
    )


def model_class(model: str | Path) -> Any:
    """Return the class in transformers of a folder or of a checkpoint on the hub."""
    import transformers

    return getattr(transformers, family_of(model).model_class)


def tokenizer_file(model: str) -> Path:
    """tokenizer.json of a folder, or of a checkpoint on the hub; `RejectedInput` CONFIG_VALUE where there is none."""
    from huggingface_hub import hf_hub_download

    file = Path(model) / "tokenizer.json"
    if file.exists():
        return file
    try:
        return Path(hf_hub_download(model, "tokenizer.json"))
    except (OSError, ValueError) as error:
        said = str(error).strip().partition("\n")[0][:200]
        raise RejectedInput(
            Code.CONFIG_VALUE,
            f"got --model {model} ({said}), want a folder with tokenizer.json, or a checkpoint on the hub",
        ) from None


def processor_files(model: str) -> list[Path]:
    """Which of ``FILES`` a folder has, or a checkpoint on the hub."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    if Path(model).is_dir():
        return [file for name in FILES if (file := Path(model) / name).is_file()]
    found = []
    for name in FILES:
        with suppress(EntryNotFoundError):
            found.append(Path(hf_hub_download(model, name)))
    return found


def as_rgb(picture: Any) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) of a `Picture`, an array or a PIL image."""
    if isinstance(picture, Picture):
        return picture.rgb
    return picture if isinstance(picture, np.ndarray) else np.asarray(picture.convert("RGB"))


def _parts(conversation: Sequence[Mapping[str, Any]]) -> tuple[Any, str]:
    """(picture or None, question) of a conversation of one user message."""
    content = conversation[-1]["content"]
    if isinstance(content, str):
        return None, content
    picture = next((part["image"] for part in content if part["type"] == "image"), None)
    return picture, "".join(part["text"] for part in content if part["type"] == "text")


def _left_pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    length = max(map(len, rows))
    return torch.tensor([[value] * (length - len(row)) + list(row) for row in rows])
