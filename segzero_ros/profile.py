"""A profile binds what a model family was trained with: prompt, coordinate space, image size and answer grammar.

Mixing them up gives garbage that looks like an answer (Seg-Zero issues 83 and 89), so a bundle names one profile and
nothing is chosen separately. Prompts: Seg-Zero (arXiv 2503.06520) and VisionReasoner (arXiv 2505.12081), whose
sentences are joined with no space between them because the checkpoints were trained so.
"""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from segzero_ros.errors import Code, RejectedInput, nearest

Size = tuple[int, int]

SYSTEM = "You are a helpful assistant."
_THINK_THEN_ANSWER = "Output the thinking process in <think> </think> and final answer in <answer> </answer> tags."
_V1 = (
    "Please find '{question}' with bbox and points."
    "Compare the difference between objects and find the most closely matched one."
    + _THINK_THEN_ANSWER
    + "Output the one bbox and points of two largest inscribed circles inside the interested object in JSON format."
    "i.e., <think> thinking process here </think>"
    "<answer>{{'bbox': [10,100,200,210], 'points_1': [30,110], 'points_2': [35,180]}}</answer>"
)
_V2 = (
    'Please find "{question}" with bboxs and points.'
    "Compare the difference between object(s) and find the most closely matched object(s)."
    + _THINK_THEN_ANSWER
    + "Output the bbox(es) and point(s) inside the interested object(s) in JSON format."
    "i.e., <think> thinking process here </think>"
    '<answer>[{{"bbox_2d": [10,100,200,210], "point_2d": [30,110]}}, '
    '{{"bbox_2d": [225,296,706,786], "point_2d": [302,410]}}]</answer>'
)
_ABSTAINING = _V2 + "If there is no such object, the answer is [], i.e., <answer>[]</answer>"
_ZERO_SHOT = (
    'Locate every object that matches "{question}" in the image. Output only a JSON list with one item per object: '
    '[{{"bbox_2d": [x1, y1, x2, y2], "point_2d": [x, y], "label": "..."}}], the point on the object; '
    "[] if there is none."
)


@dataclass(frozen=True, slots=True)
class Profile:
    """How to ask one family of checkpoints and how to read its answers.

    ``prompt``: a ``str.format`` template whose only field is ``{question}``. ``system``: the system message.
    ``image_size``: (width, height) the picture is resized to, aspect not kept. ``space``: "image" = coordinates are
    pixels of that resized picture, "relative_1000" = thousandths of its width and height. ``tags``: the answer stands
    in ``<answer>`` tags. ``abstains``: ``[]`` is an answer ("no such object"). ``stripped``: the question
    is lower-cased and loses these characters at either end, as upstream asks it; "" = it is asked as it was said. A
    bundle may bring its own prompt and image size: ``dataclasses.replace`` checks them again.
    """

    name: str
    system: str
    prompt: str
    grammar: Literal["v1", "v2"]
    space: Literal["image", "relative_1000"]
    image_size: Size
    stripped: str
    tags: bool
    abstains: bool

    def __post_init__(self) -> None:
        """Refuse (BUNDLE_PROFILE) a template that would not render or an image without area."""
        fields = _template_fields(self.prompt)
        if fields != [("question", "", None)]:
            raise RejectedInput(
                Code.BUNDLE_PROFILE,
                f"got a prompt with the fields {[name for name, _, _ in fields]}, want exactly one {{question}}; "
                "write literal braces as {{ and }}",
            )
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise RejectedInput(Code.BUNDLE_PROFILE, f"got image_size {self.image_size}, want (width, height)")

    def question(self, command_text: str) -> str:
        """Return the command as this family was trained to be asked it."""
        return (command_text.lower().strip(self.stripped) if self.stripped else "") or command_text

    def render(self, command_text: str) -> str:
        """Return the user message: the prompt around the question. Braces in the command stay what they are."""
        return self.prompt.format(question=self.question(command_text))

    def coordinate_size(self) -> Size:
        """Return (width, height) of the coordinates in which the answer is given."""
        return (1000, 1000) if self.space == "relative_1000" else self.image_size


def _template_fields(template: str) -> list[tuple[str, str | None, str | None]]:
    try:
        return [(name, spec, how) for _, name, spec, how in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise RejectedInput(
            Code.BUNDLE_PROFILE, f"got a prompt that is no template ({error}); write literal braces as {{{{ and }}}}"
        ) from None


def _tagged(
    name: str, prompt: str, grammar: Literal["v1", "v2"], *, stripped: str = ". ", abstains: bool = False
) -> Profile:
    return Profile(name, SYSTEM, prompt, grammar, "image", (840, 840), stripped, True, abstains)


def _zero_shot(name: str, space: Literal["image", "relative_1000"], side: int) -> Profile:
    return Profile(name, SYSTEM, _ZERO_SHOT, "v2", space, (side, side), "", False, True)


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            _tagged("seg_zero_v1", _V1, "v1"),
            _tagged("vision_reasoner_v2", _V2, "v2", stripped='."?! '),
            # full stops alone: the demo's models, which are of this profile, learned questions with their marks
            _tagged("abstaining_v2", _ABSTAINING, "v2", abstains=True),
            _zero_shot("qwen25vl_zero_shot", "image", 840),  # native coordinates: grid * 14 = 60 * 14
            _zero_shot("qwen3vl", "relative_1000", 832),  # 26 x 26 merged tokens of 32 pixels
            # what reinforcement makes of a Qwen3-VL: it thinks and may say that there is none, in its own thousandths
            Profile("qwen3vl_thinking", SYSTEM, _ABSTAINING, "v2", "relative_1000", (832, 832), ". ", True, True),
        )
    }
)


def get_profile(name: str) -> Profile:
    """Return the profile called ``name`` or raise ``RejectedInput`` BUNDLE_PROFILE with the nearest name."""
    try:
        return PROFILES[name]
    except KeyError:
        raise RejectedInput(Code.BUNDLE_PROFILE, f"got the profile {name[:100]!r}{nearest(name, PROFILES)}") from None
