"""The words of the rich world: of its kinds and uses, and of what is in, on or under what."""

from __future__ import annotations

from segzero_ros.tabletop.language.uses import Use
from segzero_ros.tabletop.language.wordings import USE_WORDINGS as SIMPLE_USE_WORDINGS
from segzero_ros.tabletop.language.wordings import Wordings
from segzero_ros.tabletop.rich.parts import How
from segzero_ros.tabletop.things import Kind

KIND_WORDS: dict[Kind, Wordings] = {
    "jar": Wordings(("jar",), ("storage jar",)),
    "jug": Wordings(("jug", "jug", "pitcher"), ("water jug",)),
    "teapot": Wordings(("teapot",), ("china teapot",)),
    "vase": Wordings(("vase", "vase", "flower vase"), ("decorative vase",)),
    "candle": Wordings(("candle",), ("wax candle",)),
    "basket": Wordings(("basket",), ("wicker basket",)),
    "bucket": Wordings(("bucket", "bucket", "pail"), ("cleaning bucket",)),
    "pan": Wordings(("pan", "pan", "frying pan"), ("kitchen pan",)),
    "apple": Wordings(("apple",), ("ripe apple",)),
    "banana": Wordings(("banana",), ("ripe banana",)),
    "car": Wordings(("car", "toy car"), ("model car",)),
    "clock": Wordings(("clock",), ("table clock",)),
    "phone": Wordings(("phone", "phone", "mobile phone"), ("cell phone",)),
    "remote": Wordings(("remote control", "remote"), ("tv remote",)),
    "shelf": Wordings(("shelf",), ("side shelf",)),
    "bin": Wordings(("bin", "bin", "storage bin"), ("tidy bin",)),
}

PLACED: dict[How, Wordings] = {
    "in": Wordings(("{} in {}", "{} inside {}", "{} that is in {}", "{} lying in {}"), ("{} to be found in {}",)),
    "on": Wordings(("{} on {}", "{} on top of {}", "{} that is on {}", "{} standing on {}"), ("{} resting on {}",)),
    "under": Wordings(("{} under {}", "{} below {}", "{} underneath {}", "{} that is under {}"), ("{} beneath {}",)),
}
WHAT: dict[How, Wordings] = {
    "in": Wordings(
        ("what is in {}?", "what lies in {}?", "the thing in {}", "take what is in {}"), ("what can you see in {}?",)
    ),
    "on": Wordings(
        ("what is on {}?", "what stands on {}?", "the thing on top of {}", "take what is on {}"),
        ("what can you see on {}?",),
    ),
    "under": Wordings(
        ("what is under {}?", "what lies under {}?", "the thing below {}", "take what is under {}"),
        ("what can you see under {}?",),
    ),
}
EVERYTHING: dict[How, Wordings] = {
    "in": Wordings(
        ("everything in {}", "all things in {}", "all that is in {}", "whatever lies in {}"),
        ("each and everything in {}",),
    ),
    "on": Wordings(
        ("everything on {}", "all things on {}", "all that is on {}", "whatever stands on {}"),
        ("each and everything on {}",),
    ),
    "under": Wordings(
        ("everything under {}", "all things under {}", "all that is under {}", "whatever lies under {}"),
        ("each and everything under {}",),
    ),
}
HOLDING: dict[How, Wordings] = {
    "in": Wordings(("{} with {} in it", "{} that has {} in it", "{} that contains {}"), ("{} in which there is {}",)),
    "on": Wordings(("{} with {} on it", "{} that has {} on it", "{} that carries {}"), ("{} on which there is {}",)),
    "under": Wordings(
        ("{} with {} under it", "{} that has {} under it", "{} that stands over {}"), ("{} under which there is {}",)
    ),
}
HOW_NAMES: dict[How, str] = {"in": "In it", "on": "On it", "under": "Under it"}
"""How the thinking names them."""

USE_WORDINGS: dict[Use, Wordings] = {
    **{use: SIMPLE_USE_WORDINGS[use] for use in ("drink", "coffee", "read", "soup", "serve", "plant")},
    "light": Wordings(
        (
            "something that gives light",
            "it is too dark",
            "what can light the room?",
            "i need some light",
            "a thing that shines",
        ),
        ("i need more light here", "which thing gives light?"),
    ),
    "play": Wordings(
        ("something to play with", "i want to play", "a toy", "what can a child play with?"),
        (
            "give me something to play with",
            "which thing can i play with?",
        ),
    ),
    "store": Wordings(
        (
            "something to store things in",
            "what can i put my things in?",
            "where can i store my toys?",
            "i want to tidy up my things",
        ),
        (
            "give me something to store my things in",
            "which thing can i store toys in?",
        ),
    ),
    "pour": Wordings(
        ("something to pour from", "what can i pour from?", "i want to pour a drink"),
        (
            "i need something to pour from",
            "which thing can i pour from?",
        ),
    ),
    "switch": Wordings(
        ("turn on the light", "something with a bulb", "something i can switch on and off"),
        (
            "i need something with a bulb",
            "which thing has a bulb?",
        ),
    ),
    "throw": Wordings(
        ("something to throw", "what can i throw?", "i want to play catch"), ("give me something to throw",)
    ),
    "cap": Wordings(
        ("something with a cap", "i want to unscrew a cap"),
        (
            "i need something with a cap",
            "which thing has a cap?",
        ),
    ),
    "eat": Wordings(
        ("something to eat", "i am hungry", "what can i eat?", "some fruit", "something healthy to bite into"),
        ("i would like a fruit",),
    ),
    "fry": Wordings(
        ("something to fry an egg in", "i want to cook", "what can i cook in?", "something for the stove"),
        (
            "i have to cook something",
            "which thing belongs on the stove?",
        ),
    ),
    "time": Wordings(
        ("something that shows the time", "what time is it?", "i want to know how late it is", "something that ticks"),
        (
            "tell me the time",
            "which thing tells the time?",
        ),
    ),
    "call": Wordings(
        (
            "something to call someone with",
            "i want to call my mother",
            "what can i call with?",
            "something that rings when friends call",
        ),
        ("i have to make a call",),
    ),
    "channel": Wordings(
        ("change the channel", "something to switch channels with", "the film is too loud, turn it down"),
        (
            "i want another channel",
            "what changes the channel?",
        ),
    ),
    "flowers": Wordings(
        ("something for my flowers", "where can i put the roses?", "i got flowers, what do they go into?"),
        ("something for a bunch of tulips",),
    ),
    "mop": Wordings(
        ("i want to mop the floor", "something to carry water in", "what can i carry sand in?"),
        ("something for cleaning the floor",),
    ),
    "tea": Wordings(
        ("something to make tea in", "i want to brew tea", "what do i brew tea in?"),
        (
            "i need something to brew tea in",
            "which thing is for brewing tea?",
        ),
    ),
    "jam": Wordings(
        ("something to keep jam in", "where is the jam?", "what is honey kept in?", "something to keep pickles in"),
        (
            "give me something with jam",
            "which thing holds jam?",
        ),
    ),
    "wick": Wordings(
        ("something with a flame", "what can i blow out?", "something made of wax"),
        (
            "i need something with a flame",
            "which thing burns?",
        ),
    ),
    "wheels": Wordings(
        ("something with wheels", "what has wheels?", "a toy that drives"),
        (
            "give me something with wheels",
            "which thing drives?",
        ),
    ),
}
PURPOSES: dict[Use, str] = {
    "switch": "To switch on",
    "throw": "To throw",
    "cap": "With a cap",
    "eat": "To eat",
    "fry": "To cook",
    "time": "For the time",
    "call": "To call",
    "channel": "For television",
    "flowers": "For flowers",
    "mop": "To carry water",
    "tea": "For tea",
    "jam": "For jam",
    "wick": "To burn",
    "wheels": "With wheels",
}


def with_article(noun: str) -> str:
    """A noun phrase after "a" or "an"."""
    return f"{'an' if noun[0] in 'aeio' else 'a'} {noun}"
