"""The words of a world: which kinds, colours and uses one may name there, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from segzero_ros.tabletop.language import rich_words, wordings
from segzero_ros.tabletop.language.uses import RICH_USES, USES, Use
from segzero_ros.tabletop.language.wordings import Wordings
from segzero_ros.tabletop.rich.forms import RICH_KINDS
from segzero_ros.tabletop.rich.palette import RICH_COLOURS
from segzero_ros.tabletop.scene import World
from segzero_ros.tabletop.things import COLOURS, KINDS, Colour, Kind


@dataclass(frozen=True, slots=True)
class Lexicon:
    """What may be named in one world; `purposes` is how the thinking names a use."""

    kinds: tuple[Kind, ...]
    colours: tuple[Colour, ...]
    kind_words: Mapping[Kind, Wordings]
    uses: Mapping[Use, frozenset[Kind]]
    use_wordings: Mapping[Use, Wordings]
    purposes: Mapping[Use, str]


_LEXICA: Mapping[World, Lexicon] = {
    "simple": Lexicon(KINDS, tuple(COLOURS), wordings.KIND_WORDS, USES, wordings.USE_WORDINGS, wordings.PURPOSES),
    "rich": Lexicon(
        RICH_KINDS,
        tuple(RICH_COLOURS),
        wordings.KIND_WORDS | rich_words.KIND_WORDS,
        RICH_USES,
        rich_words.USE_WORDINGS,
        wordings.PURPOSES | rich_words.PURPOSES,
    ),
}


def lexicon(world: World) -> Lexicon:
    """The words of this world."""
    return _LEXICA[world]
