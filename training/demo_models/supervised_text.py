"""From an instruction and its truth to the text the reasoner learns, marking tokens that name or locate an object."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenizers import Tokenizer

from segzero_ros.profile import Profile

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Thing:
    """One object of a training image, in the reasoner's pixels."""

    id: int
    kind: str
    colour: str
    box: Box
    """x0 y0 x1 y1, half-open, around the visible pixels."""
    point: tuple[float, float]
    """x y of the centre of the largest circle inside the visible pixels."""
    visible: float
    """Share of the object's pixels that can be seen, 0..1."""


@dataclass(slots=True)
class SupervisedText:
    """One question and its answer as token ids.

    `ids` holds prompt and answer; the first `prompt_length` of them are given, the rest are learned. `objects[i]` is
    the id of the object that
    the token at position i talks about, or 0: where the model should look when it *predicts* that token.
    """

    ids: list[int]
    prompt_length: int
    objects: list[int]
    type: str = ""
    text: str = ""
    targets: tuple[int, ...] = ()
    marks: dict[str, Any] = field(default_factory=dict)


class _Writer:
    """Text under construction, remembering which characters speak of which object."""

    def __init__(self) -> None:
        self.text = ""
        self.spans: list[tuple[int, int, int]] = []

    def add(self, text: str, thing: int = 0) -> None:
        if thing:
            self.spans.append((len(self.text), len(self.text) + len(text), thing))
        self.text += text


def _integers(values: Sequence[float], size: int) -> list[int]:
    return [int(min(max(round(v), 0), size)) for v in values]


def counted(targets: Sequence[int], things: Mapping[int, Thing]) -> list[Any]:
    """The thinking about a group as pieces: "2: 1 red mug (40,60), 2 blue mug (75,58)."; left to right as given."""
    pieces: list[Any] = [f"{len(targets)}: "]
    for number, target in enumerate(targets, 1):
        name = f"{things[target].colour} {things[target].kind}"
        pieces += [f"{', ' if number > 1 else ''}{number} ", {"say": name, "id": target}, " ", {"at": target}]
    return [*pieces, "."]


def listed(targets: Sequence[int], things: Mapping[int, Thing]) -> list[Any]:
    """The thinking about a group as the plain grammar writes it: "red mug (40,60), blue mug (75,58)."."""
    pieces: list[Any] = []
    for target in targets:
        name = f"{things[target].colour} {things[target].kind}"
        pieces += [", "] * bool(pieces) + [{"say": name, "id": target}, " ", {"at": target}]
    return [*pieces, "."]


def write_thinking(writer: _Writer, pieces: Sequence[Any], things: Mapping[int, Thing], size: int) -> None:
    """Append the thinking.

    Plain strings, names (`say`) and positions (`at`, written "(x,y)" in the reasoner's pixels).
    """
    for piece in pieces:
        if isinstance(piece, str):
            writer.add(piece)
        elif "say" in piece:
            writer.add(piece["say"], piece["id"])
        else:
            x, y = _integers(things[piece["at"]].point, size - 1)
            writer.add(f"({x},{y})", piece["at"])


def write_answer(writer: _Writer, targets: Sequence[int], things: Mapping[int, Thing], size: int) -> None:
    """Append the JSON list of `bbox_2d` and `point_2d`; only the numbers are marked as looking at the object."""
    writer.add("[")
    for n, target in enumerate(targets):
        thing = things[target]
        writer.add((", " if n else "") + '{"bbox_2d": [')
        writer.add(",".join(map(str, _integers(thing.box, size))), target)
        writer.add('], "point_2d": [')
        writer.add(",".join(map(str, _integers(thing.point, size - 1))), target)
        writer.add("]}")
    writer.add("]")


def write_supervised_text(
    tokenizer: Tokenizer, profile: Profile, instruction: Mapping[str, Any], things: Mapping[int, Thing]
) -> SupervisedText:
    """Tokenise one instruction of a shard: prompt as the runtime renders it, answer in the profile's grammar."""
    size = profile.image_size[0]
    prompt = profile.render(instruction["text"]) + "<|im_end|>\n<|im_start|>assistant\n"
    writer = _Writer()
    writer.add("<think>")
    write_thinking(writer, instruction["thinking"], things, size)
    writer.add("</think><answer>")
    write_answer(writer, instruction["targets"], things, size)
    writer.add("</answer><|im_end|>")
    given = tokenizer.encode(prompt, add_special_tokens=False).ids
    encoded = tokenizer.encode(writer.text, add_special_tokens=False)
    owner = [0] * (len(writer.text) + 1)
    for start, end, thing in writer.spans:
        owner[start:end] = [thing] * (end - start)
    objects = [0] * len(given) + [max(owner[start:end], default=0) for start, end in encoded.offsets]
    return SupervisedText(
        given + encoded.ids,
        len(given),
        objects,
        instruction["type"],
        instruction["text"],
        tuple(instruction["targets"]),
        dict(instruction),
    )


def prefix_text(profile: Profile) -> tuple[str, str]:
    """The text before and after the image placeholders, up to the question (Qwen2.5-VL's chat template)."""
    before = f"<|im_start|>system\n{profile.system}<|im_end|>\n<|im_start|>user\n<|vision_start|>"
    return before, "<|vision_end|>"
