"""A checkpoint directory is opened whole or refused: what transformers would fill with random numbers, or let pass.

Refused (``RejectedInput``, one line): weights that are missing, unexpected, of another shape or type, or not finite;
files that are cut short, Git LFS pointers or pickles; a quantised checkpoint where plain weights are wanted; a
tokenizer.json that is none; a KV cache too small for picture, prompt and answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from segzero_ros.backends.decoding.chat_prompt import ChatPrompt
from segzero_ros.backends.decoding.generation import ANSWER_RESERVE_TOKENS
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.profile import Profile

PIXELS_PER_TOKEN = 28  # of Qwen2.5-VL: patches of 14, two by two
QUESTION = "the red mug to the left of the green bowl"  # as long as most commands are
PLAIN = ("F64", "F32", "F16", "BF16")  # types of weights, as safetensors calls them
NAMED = 3  # tensors that a refusal names; of the rest it says how many
LFS_POINTER = b"version https://git-lfs"


def load_whole(model_class: Any, checkpoint: Path | str, **options: Any) -> Any:
    """Return ``model_class.from_pretrained`` of a directory (or a name on the hub), every weight of it from the files.

    ``options``: what ``from_pretrained`` takes. ``RejectedInput`` as the module says.
    """
    if Path(checkpoint).is_dir():
        check_files(Path(checkpoint))
    model, found = _from_pretrained(model_class, checkpoint, **options)
    _check_names(checkpoint, found)
    _check_finite(checkpoint, model.state_dict().items())
    return model


def check_whole(model_class: Any, checkpoint: Path | str, *, quantised: bool = False) -> None:
    """Refuse what ``load_whole`` would, one tensor in memory at a time. ``quantised``: such weights are welcome."""
    from transformers.utils import cached_file

    if Path(checkpoint).is_dir():
        check_files(Path(checkpoint), quantised=quantised)
    if quantised and _quantisation(Path(checkpoint)):
        _check_layers(Path(checkpoint))
    else:
        _, found = _from_pretrained(model_class, checkpoint, device_map="meta")
        _check_names(checkpoint, found)
    config = cached_file(str(checkpoint), "config.json")
    for file in sorted(Path(str(config)).parent.glob("*.safetensors")):
        _check_finite(file, _tensors(file))


def check_files(checkpoint: Path, *, quantised: bool = False) -> None:
    """Refuse a directory whose files cannot be a checkpoint, before anything of it is loaded."""
    for name in ("config.json", "model.safetensors.index.json"):
        if name == "config.json" or (checkpoint / name).exists():
            read_json(checkpoint / name)
    method = _quantisation(checkpoint)
    if method and not quantised:
        raise _refused(checkpoint, f"got weights quantised by {method}, want plain ones; give the model it was made of")
    files = sorted(checkpoint.glob("*.safetensors"))
    if not files:
        pickles = sorted(file.name for file in (*checkpoint.glob("*.bin"), *checkpoint.glob("*.pt*")))
        got = f"pickled weights ({pickles[0]}), which can run code" if pickles else "no weights"
        raise _refused(checkpoint, f"got {got}, want model.safetensors; save it with save_pretrained")
    for file in files:
        _refuse_pointer(file)
        odd = _not_plain(file)
        if odd and not method:
            mend = "give the model it was made of; a quantised one says so in its config.json"
            raise _refused(file, f"got {len(odd)} weights in {odd[0][1]} ({_few([name for name, _ in odd])}); {mend}")


def _not_plain(file: Path) -> list[tuple[str, str]]:
    """Return names and types of weights that are no plain numbers: transformers would take their codes for values."""
    try:
        with safe_open(file, "pt") as opened:
            types = [(name, str(opened.get_slice(name).get_dtype())) for name in opened.keys()]  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _refused(file, f"could not be opened ({error}); the file is cut short or no safetensors") from None
    return [(name, kind) for name, kind in types if kind not in PLAIN and name.endswith((".weight", ".bias"))]


def read_json(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file of a checkpoint."""
    _refuse_pointer(file)
    try:
        value = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _refused(file, f"could not be read ({error}); copy it again from where the checkpoint is whole") from None
    if not isinstance(value, dict):
        raise _refused(file, f"got {type(value).__name__}, want a JSON object as save_pretrained writes it")
    return value


def read_tokenizer(file: Path) -> Tokenizer:
    """Open a tokenizer.json."""
    _refuse_pointer(file)
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001 - tokenizers raises Exception itself
        said = str(error).partition("\n")[0][:200]
        raise _refused(file, f"is no tokenizer ({said}); save it with tokenizer.save_pretrained") from None


def check_cache(
    tokenizer: Path,
    image_size: tuple[int, int],
    max_length: int,
    profile: Profile | None = None,
    *,
    pixels_per_token: int = PIXELS_PER_TOKEN,
) -> None:
    """Refuse a KV cache of ``max_length`` tokens that holds no picture, prompt and answer of a few objects.

    ``image_size``: (width, height). Without ``profile`` the prompt is only what stands around every question.
    """
    columns, rows = (side // pixels_per_token for side in image_size)
    system, message = (profile.system, profile.render(QUESTION)) if profile else ("", "")
    read_tokenizer(tokenizer)
    try:
        prompt = ChatPrompt(tokenizer.read_text("utf-8"), token_grid=(rows, columns), system=system)
    except (ValueError, KeyError, TypeError) as error:
        raise _refused(tokenizer, f"is not Qwen2.5-VL's ({error}); give the checkpoint's own") from None
    picture = rows * columns
    words = len(prompt.prefix.ids) - picture + len(prompt.question(message))
    wanted = picture + words + ANSWER_RESERVE_TOKENS
    if max_length < wanted:
        raise RejectedInput(
            Code.CONFIG_VALUE,
            f"got --max-length {max_length}, want at least {wanted}: {picture} tokens of the picture of "
            f"{image_size[0]} x {image_size[1]}, {words} of the prompt, {ANSWER_RESERVE_TOKENS} of the answer, and "
            "more for thinking; or a smaller --image-size",
        )


def _from_pretrained(model_class: Any, checkpoint: Path | str, **options: Any) -> tuple[Any, Mapping[str, Any]]:
    from transformers.utils import logging

    before, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # its table of missing weights: they are refused here
    logging.disable_progress_bar()
    told: dict[str, Any] = {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
    try:
        return model_class.from_pretrained(checkpoint, **told, **options)  # type: ignore[no-any-return]
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - what a wrong config.json leads to has no type in common
        said = str(error).strip().partition("\n")[0][:300]
        raise _refused(checkpoint, f"could not be loaded as {model_class.__name__} ({said})") from None
    finally:
        logging.set_verbosity(before)
        if bar:
            logging.enable_progress_bar()


def _check_names(checkpoint: Path | str, found: Mapping[str, Any]) -> None:
    faults = {
        "missing": sorted(found["missing_keys"]),
        "unexpected": sorted(found["unexpected_keys"]),
        "of another shape": sorted(str(key[0] if isinstance(key, tuple) else key) for key in found["mismatched_keys"]),
    }
    said = [f"{len(names)} {what} ({_few(names)})" for what, names in faults.items() if names]
    if said:
        mend = "save the whole model with save_pretrained (adapters merged, torch.compile's wrapper taken off)"
        raise _refused(checkpoint, f"got weights that do not fit its config.json: {'; '.join(said)}; {mend}")


def _check_layers(checkpoint: Path) -> None:
    """Refuse a quantised checkpoint whose layers differ in their modules: transformers cannot name their tensors."""
    names = [name for file in sorted(checkpoint.glob("*.safetensors")) for name in _names(file)]
    config = read_json(checkpoint / "config.json")
    text, vision = config.get("text_config", config), config.get("vision_config", {})
    missing: list[str] = []
    for stem, count in (("layers", text.get("num_hidden_layers", 0)), ("blocks", vision.get("depth", 0))):
        placed = [found.groups() for name in names if (found := re.search(rf"\b{stem}\.(\d+)\.(.+)\.\w+$", name))]
        modules = {module for _, module in placed}
        missing += [f"{stem}.{n}.{m}" for n in range(count) for m in sorted(modules) if (str(n), m) not in placed]
        missing += [f"{stem}.0"] if count and not modules else []
    wrapped = [name for name in names if name.startswith(("base_model.", "_orig_mod."))]
    _check_names(checkpoint, {"missing_keys": missing, "unexpected_keys": wrapped, "mismatched_keys": []})


def _check_finite(source: Path | str, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    names = [name for name, tensor in tensors if not _finite(tensor)]
    if names:
        raise _refused(source, f"got NaN or infinity in {len(names)} weights ({_few(names)}); give an earlier one")


def _finite(tensor: torch.Tensor) -> bool:
    if not tensor.is_floating_point() or tensor.is_meta:
        return True
    values = tensor.detach()
    return bool(torch.isfinite(values.float() if values.element_size() == 1 else values).all())


def _names(file: Path) -> list[str]:
    with safe_open(file, "pt") as opened:
        return list(opened.keys())


def _tensors(file: Path) -> Iterable[tuple[str, torch.Tensor]]:
    with safe_open(file, "pt") as opened:
        for name in opened.keys():  # noqa: SIM118 - safe_open is no mapping
            yield name, opened.get_tensor(name)


def _quantisation(checkpoint: Path) -> str:
    config = read_json(checkpoint / "config.json") if (checkpoint / "config.json").is_file() else {}
    settings = config.get("quantization_config")
    return str(settings.get("quant_method", "an unknown method")) if isinstance(settings, dict) else ""


def _refuse_pointer(file: Path) -> None:
    try:
        with file.open("rb") as opened:
            begins = opened.read(len(LFS_POINTER))
    except OSError as error:
        raise _refused(file, f"could not be read ({error.strerror or error}); copy the checkpoint again") from None
    if begins == LFS_POINTER:
        raise _refused(file, "is a Git LFS pointer, not the file itself; run `git lfs pull` where it was cloned")


def _few(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _refused(place: Path | str, why: str) -> RejectedInput:
    return RejectedInput(Code.CONFIG_VALUE, f"{place}: {why}")
