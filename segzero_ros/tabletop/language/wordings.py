"""The words of the instructions.

For each meaning several ways to say it, of which some occur only in the test split.
"""

from __future__ import annotations

from dataclasses import dataclass

from segzero_ros.tabletop.language.query import Extreme, Side, Size
from segzero_ros.tabletop.language.uses import Use
from segzero_ros.tabletop.things import Kind


@dataclass(frozen=True, slots=True)
class Wordings:
    """Templates every split may use, and those only the test split uses."""

    seen: tuple[str, ...]
    unseen: tuple[str, ...]


FRAMES = Wordings(
    (
        "{}",
        "pick up {}",
        "point at {}",
        "show me {}",
        "where is {}?",
        "find {}",
        "grab {}",
        "give me {}",
        "i need {}",
        "look for {}",
        "bring me {}",
        "take {}",
        "please hand me {}",
        "can you see {}?",
        "go to {}",
    ),
    ("would you pass me {}?", "segment {}", "i would like to have {}", "fetch {}", "which one is {}?"),
)
FRAMES_PLURAL = Wordings(
    (
        "{}",
        "pick up {}",
        "point at {}",
        "show me {}",
        "where are {}?",
        "find {}",
        "collect {}",
        "give me {}",
        "i need {}",
        "mark {}",
        "take {}",
        "clear away {}",
    ),
    ("would you pass me {}?", "segment {}", "gather {}", "which ones are {}?"),
)
KIND_WORDS: dict[Kind, Wordings] = {
    "mug": Wordings(("mug", "mug", "cup"), ("coffee mug",)),
    "bottle": Wordings(("bottle",), ("water bottle",)),
    "can": Wordings(("can", "can", "tin"), ("drinks can",)),
    "bowl": Wordings(("bowl",), ("soup bowl",)),
    "plate": Wordings(("plate", "plate", "dish"), ("dinner plate",)),
    "ball": Wordings(("ball",), ("rubber ball",)),
    "book": Wordings(("book",), ("paperback book",)),
    "box": Wordings(("box",), ("cardboard box",)),
    "plant": Wordings(("plant", "plant", "potted plant"), ("pot plant",)),
    "lamp": Wordings(("lamp",), ("table lamp",)),
}
PLURALS = {"box": "boxes", "shelf": "shelves", "dish": "dishes", "cardboard box": "cardboard boxes"}
ANYTHING = Wordings(("thing", "object", "one"), ("item",))
COLOURED_PLANT = Wordings(
    ("plant in the {} pot", "plant with the {} pot", "{} pot plant"), ("plant that stands in a {} pot",)
)

SIDES: dict[Side, Wordings] = {
    "left": Wordings(
        ("{} left of {}", "{} to the left of {}", "{} on the left of {}", "{} on the left side of {}"),
        ("{} that is left of {}",),
    ),
    "right": Wordings(
        ("{} right of {}", "{} to the right of {}", "{} on the right of {}", "{} on the right side of {}"),
        ("{} that is right of {}",),
    ),
    "behind": Wordings(
        ("{} behind {}", "{} that is behind {}", "{} standing behind {}", "{} farther away than {}"),
        ("{} to be found behind {}",),
    ),
    "front": Wordings(
        ("{} in front of {}", "{} that is in front of {}", "{} standing in front of {}", "{} closer to me than {}"),
        ("{} to be found in front of {}",),
    ),
}
SIDE_NAMES: dict[Side, str] = {"left": "Left", "right": "Right", "behind": "Behind", "front": "In front"}
"""How the thinking names them."""
EXTREMES: dict[Extreme, Wordings] = {
    "leftmost": Wordings(
        ("leftmost {}", "{} on the far left", "{} furthest to the left", "{} on the left"), ("{} that is leftmost",)
    ),
    "rightmost": Wordings(
        ("rightmost {}", "{} on the far right", "{} furthest to the right", "{} on the right"),
        ("{} that is rightmost",),
    ),
    "frontmost": Wordings(
        ("frontmost {}", "{} closest to me", "{} at the front", "{} closest to the camera"), ("{} closest to us",)
    ),
    "rearmost": Wordings(
        ("rearmost {}", "{} farthest away", "{} at the back", "{} farthest from the camera"), ("{} farthest from us",)
    ),
}
NEAREST = Wordings(
    ("{} nearest to {}", "{} closest to {}", "{} next to {}", "{} beside {}"), ("{} that is nearest to {}",)
)
SIZES: dict[Size, Wordings] = {
    "biggest": Wordings(("biggest {}", "largest {}", "big {}", "large {}"), ("{} that is the biggest",)),
    "smallest": Wordings(("smallest {}", "tiniest {}", "small {}", "little {}"), ("{} that is the smallest",)),
}
SIZES_OF_TWO: dict[Size, Wordings] = {
    "biggest": Wordings(
        ("bigger {}", "larger {}", "bigger of the two {s}", "larger of the two {s}"), ("bigger one of the two {s}",)
    ),
    "smallest": Wordings(
        ("smaller {}", "smaller of the two {s}", "smaller one of the {s}"), ("smaller one of the two {s}",)
    ),
}
EVERY = Wordings(("all the {s}", "all {s}", "every {}", "each {}", "the {s}"), ("every single {}", "all of the {s}"))
COUNTED = Wordings(("the {n} {s}", "both {s}", "all {n} {s}"), ("the group of {n} {s}",))
NUMBERS = {2: "two", 3: "three", 4: "four"}

USE_WORDINGS: dict[Use, Wordings] = {
    "drink": Wordings(
        (
            "something to drink from",
            "i am thirsty",
            "what can i drink from?",
            "i want to drink",
            "a thing one can drink from",
            "something for a drink",
            "find me something to drink from",
        ),
        ("i would like to drink something", "which thing can i drink from?"),
    ),
    "coffee": Wordings(
        (
            "something for my coffee",
            "what can i drink coffee from?",
            "i want a hot coffee",
            "where can i put my tea?",
            "i would like some tea",
            "pour the coffee into it",
        ),
        ("something for a hot tea", "i want to drink my coffee"),
    ),
    "read": Wordings(
        (
            "something to read",
            "i want to read",
            "what can i read?",
            "i am bored and want to read",
            "a thing one can read",
            "i would like to read a story",
        ),
        ("give me something i can read", "which thing has pages to read?"),
    ),
    "light": Wordings(
        (
            "something that gives light",
            "it is too dark",
            "what can light the room?",
            "i need some light",
            "turn on the light",
            "a thing that shines",
        ),
        ("i need more light here", "which thing gives light?"),
    ),
    "play": Wordings(
        (
            "something to play with",
            "i want to play",
            "what can i throw?",
            "something that rolls",
            "a toy to throw",
            "i want to play catch",
        ),
        ("give me something to throw", "which thing can i play with?"),
    ),
    "soup": Wordings(
        (
            "something to eat soup from",
            "what can i put my soup in?",
            "i want to eat soup",
            "where does the salad go?",
            "something for my cereal",
            "i want to eat my cereal",
        ),
        ("something for a hot soup", "which thing can hold soup?"),
    ),
    "serve": Wordings(
        (
            "something to serve food on",
            "what can i put a pizza on?",
            "i want to serve a slice of cake",
            "where can i put my sandwich?",
            "something flat for my food",
            "serve the cake on it",
        ),
        ("something to put my cake on", "which thing do i serve food on?"),
    ),
    "plant": Wordings(
        (
            "something that needs water",
            "what has leaves?",
            "i want to water something",
            "something that grows",
            "what should i water?",
            "a living thing",
        ),
        ("which thing has green leaves?", "i want to see something that grows"),
    ),
    "store": Wordings(
        (
            "something to store things in",
            "what can i put my things in?",
            "i want to pack a present",
            "a container with a lid",
            "something to pack things in",
            "where can i store my toys?",
        ),
        ("give me something to pack my things in", "which thing can i store toys in?"),
    ),
    "pour": Wordings(
        (
            "something with a cap",
            "what can i pour water from?",
            "i want to unscrew a cap",
            "something to pour from",
            "pour me some water",
            "a thing with a narrow neck",
        ),
        ("something i can pour water from", "which thing has a cap?"),
    ),
}
PURPOSES: dict[Use, str] = {
    "drink": "To drink",
    "coffee": "For coffee",
    "read": "To read",
    "light": "For light",
    "play": "To play",
    "soup": "For soup",
    "serve": "To serve",
    "plant": "To water",
    "store": "To store",
    "pour": "To pour",
}


def plural(noun: str) -> str:
    """The plural of a noun or noun phrase that ends with its noun."""
    before, space, last = noun.rpartition(" ")
    return PLURALS.get(noun, f"{before}{space}{PLURALS.get(last, last + 's')}")
