"""The words of questions that join several things: counted from a side, between two, of any colour but one, in clauses.

As in `wordings`, some occur only in the test split; so do whole patterns (`phrases.KEPT_APART`).
"""

from __future__ import annotations

from segzero_ros.tabletop.language.query import Extreme, Rank
from segzero_ros.tabletop.language.wordings import Wordings

ORDINALS: dict[Rank, str] = {2: "second", 3: "third"}
NTH: dict[Extreme, Wordings] = {
    "leftmost": Wordings(
        ("{n} {} from the left", "{} that is {n} from the left", "{n} {} counted from the left", "{n} leftmost {}"),
        ("{n} {} if one counts from the left",),
    ),
    "rightmost": Wordings(
        ("{n} {} from the right", "{} that is {n} from the right", "{n} {} counted from the right", "{n} rightmost {}"),
        ("{n} {} if one counts from the right",),
    ),
    "frontmost": Wordings(
        ("{n} {} from the front", "{n} closest {}", "{n} {} counted from the front", "{n} nearest {}"),
        ("{n} {} if one counts from the front",),
    ),
    "rearmost": Wordings(
        ("{n} {} from the back", "{n} farthest {}", "{n} {} counted from the back", "{n} most distant {}"),
        ("{n} {} if one counts from the back",),
    ),
}
BETWEEN = Wordings(
    (
        "{} between {} and {}",
        "{} that is between {} and {}",
        "{} in between {} and {}",
        "{} standing between {} and {}",
    ),
    ("{} with {} on one side and {} on the other",),
)
WITHOUT = Wordings(
    ("{} that is not {c}", "{} which is not {c}", "{} but not the {c} one", "other {}, not the {c} one", "non {c} {}"),
    ("{} of another colour than {c}",),
)
JOINED_WITHOUT = Wordings(("{} that is not {c}", "{} which is not {c}", "non {c} {}"), ("{} that is anything but {c}",))
"""As `WITHOUT`, where more is said about the thing."""
EVERY_WITHOUT = Wordings(
    (
        "all {s} that are not {c}",
        "all the {s} that are not {c}",
        "every {} that is not {c}",
        "all {s} except the {c} ones",
        "the {s} which are not {c}",
        "each {} but not the {c} ones",
    ),
    ("all {s} of other colours than {c}",),
)
USED = Wordings(
    (
        "{}, one that is {c}",
        "{}, the {c} one",
        "{} and it should be {c}",
        "{}, but it must be {c}",
        "{}, something {c}",
    ),
    ("{}, preferably {c}",),
)
CLAUSES = Wordings(
    (
        "{}, throw it away",
        "throw away {}",
        "{}, i want to wash it",
        "wash {} with water",
        "i am done reading, take {}",
        "before i drink my coffee, bring me {}",
        "{} is in my light, move it",
        "after the soup, clear away {}",
        "i was thirsty, now i need {}",
        "stop playing and hand me {}",
        "i do not want to read, show me {}",
        "no coffee for me, only {}",
        "first water the garden, then find {}",
        "i want to eat later, so move {}",
        "{}, somebody left it here",
        "it is too dark to see {}",
        "you must not throw {}",
        "nobody drinks from {}",
    ),
    ("no more soup, just {}", "hold {} up to the light", "i read enough, where is {}?", "roll {} over to me"),
)
"""Sentences whose other words speak of what one does with other things."""
CLAUSES_PLURAL = Wordings(
    (
        "{}, throw them away",
        "throw away {}",
        "wash {} with water",
        "i am done reading, take {}",
        "before i drink my coffee, bring me {}",
        "after the soup, clear away {}",
        "stop playing and hand me {}",
        "i want to eat later, so move {}",
        "it is too dark to see {}",
    ),
    ("no more soup, just {}", "i read enough, where are {}?"),
)
