"""A profile binds what a model family was trained with: prompt, coordinate space, image size and answer grammar."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Profile:
    """How to ask one family of checkpoints and how to read its answers.

    ``prompt``: a ``str.format`` template whose only field is ``{question}``. ``system``: the system message.
    ``image_size``: (width, height) the picture is squashed to. ``space``: "image" = coordinates are pixels of that
    squashed picture, "relative_1000" = thousandths of its width and height. ``tags``: the answer stands in
    ``<answer>`` tags. ``abstains``: ``[]`` is an answer ("no such object").
    """

    name: str
    system: str
    prompt: str
    grammar: Literal["v1", "v2"]
    space: Literal["image", "relative_1000"]
    image_size: tuple[int, int]
    normalise_question: bool
    tags: bool
    abstains: bool
