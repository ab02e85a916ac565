"""How wide and deep the demo reasoner is, and how large its pictures are; by name, since all of it belongs together."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """`size`: pixels a side, a multiple of 28. `width`, a multiple of 32, is that of text and vision tower.

    `layers`, `inner`: of the text; `vision_layers`, `vision_inner`: of the tower, whose blocks `whole` see all of it.
    """

    size: int
    width: int
    layers: int
    inner: int
    vision_layers: int
    vision_inner: int
    whole: tuple[int, ...]

    @property
    def heads(self) -> int:
        """Attention heads of 32."""
        return self.width // 32


DEMO = Shape(196, 128, 4, 352, 6, 256, (2, 5))
WIDE = Shape(224, 192, 6, 528, 8, 384, (3, 7))
"""For a GPU: 6.8 million parameters, 64 visual tokens; not trained yet."""
DEEP = Shape(196, 128, 6, 352, 6, 256, (2, 5))
"""The demo's with two more layers of text, which can begin with its weights."""
SHAPES: Mapping[str, Shape] = {"demo": DEMO, "deep": DEEP, "wide": WIDE}
