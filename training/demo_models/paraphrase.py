"""More ways to say what the demo world's templates say, for training only: carriers, synonyms, turns of phrase.

A command that somebody speaks has words that no template has. A model that has only ever read fifteen carriers and two
words for a mug takes each as a password; one that has read many learns which words to look past. None of these
wordings is one of the test split's, and none of them, with the templates, makes one of the commands that the
evaluation has from hand; tests hold both.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from segzero_ros.tabletop.language import composed_wordings as composed
from segzero_ros.tabletop.language import wordings as words
from segzero_ros.tabletop.language.query import Extreme, Side, Size
from segzero_ros.tabletop.language.uses import Use
from segzero_ros.tabletop.things import COLOURS, Kind

CARRIERS: tuple[str, ...] = (
    "could you get {}",
    "can i have {}",
    "hand over {}",
    "pass {} to me",
    "robot, {}",
    "please get {}",
    "get me {}",
    "i want {}",
    "let me have {}",
    "reach for {}",
    "hold {}",
    "touch {}",
    "select {}",
    "locate {}",
    "highlight {}",
    "do you see {}?",
    "move to {}",
    "look at {}",
    "lift {}",
    "put {} away",
    "{} please",
    "i am looking for {}",
    "what about {}",
    "now {}",
    "go and get {}",
    "show where {} is",
    "tell me where {} is",
    "point out {}",
    "can you hand me {}?",
    "could you pick up {}?",
    "push {}",
    "move {}",
    "detect {}",
    "identify {}",
    "carry {} over here",
    "please bring {} to the kitchen",
    "ok, {} next",
    "i think i need {}",
    "try to grab {}",
    "have you found {}?",
)
NOUNS: Mapping[Kind, tuple[str, ...]] = {
    "mug": ("teacup", "beaker", "tankard", "drinking cup", "tea mug"),
    "bottle": ("flask", "wine bottle", "glass bottle", "juice bottle"),
    "can": ("soda can", "tin can", "beer can", "metal can"),
    "bowl": ("basin", "salad bowl", "cereal bowl", "mixing bowl"),
    "plate": ("saucer", "platter", "flat plate", "cake plate"),
    "ball": ("toy ball", "sphere", "round ball", "tennis ball"),
    "book": ("novel", "notebook", "textbook", "story book"),
    "box": ("carton", "crate", "cube", "package"),
    "plant": ("houseplant", "flower", "leafy plant", "fern"),
    "lamp": ("desk lamp", "light", "reading lamp", "bedside lamp"),
}
ADJECTIVES: tuple[str, ...] = ("nice", "shiny", "lovely", "old", "new", "plain", "pretty", "empty", "clean", "dusty")
DETERMINERS: tuple[str, ...] = ("that", "my", "this", "our", "a", "")
SIDES: Mapping[Side, tuple[str, ...]] = {
    "left": ("{} on the left hand side of {}", "{} just left of {}", "{} standing left of {}"),
    "right": ("{} on the right hand side of {}", "{} just right of {}", "{} standing right of {}"),
    "behind": ("{} at the back of {}", "{} beyond {}", "{} further back than {}", "{} right behind {}"),
    "front": ("{} before {}", "{} nearer to me than {}", "{} nearer than {}", "{} right in front of {}"),
}
EXTREMES: Mapping[Extreme, tuple[str, ...]] = {
    "leftmost": ("{} most to the left", "left {}", "{} at the left end", "{} on the left side", "{} at the very left"),
    "rightmost": (
        "{} most to the right",
        "right {}",
        "{} at the right end",
        "{} on the right side",
        "{} at the very right",
    ),
    "frontmost": ("front {}", "{} nearest to me", "{} in the front", "closest {}", "{} at the very front"),
    "rearmost": ("back {}", "{} in the back", "{} furthest away", "most distant {}", "{} at the very back"),
}
NEAREST: tuple[str, ...] = ("{} near {}", "{} right by {}", "{} close to {}", "{} by {}", "{} alongside {}")
SIZES: Mapping[Size, tuple[str, ...]] = {
    "biggest": ("huge {}", "greatest {}", "most enormous {}", "giant {}", "biggest of the {s}"),
    "smallest": ("tiny {}", "littlest {}", "mini {}", "teeny {}", "smallest of the {s}"),
}
EVERY: tuple[str, ...] = ("all these {s}", "each and every {}", "each of the {s}", "those {s}", "{s}", "my {s}")
USES: Mapping[Use, tuple[str, ...]] = {
    "drink": (
        "i need a drink",
        "my throat is dry",
        "give me something for drinking",
        "i could use a drink",
        "what holds a drink?",
    ),
    "coffee": (
        "i could use a coffee",
        "where do i pour the tea?",
        "make me a coffee",
        "time for a hot chocolate",
        "something for an espresso",
    ),
    "read": (
        "i need a good story",
        "let me study a bit",
        "what do i read tonight?",
        "something with pages",
        "i want to learn something new",
    ),
    "light": (
        "i can not see a thing in this room",
        "make it brighter",
        "something that shines at night",
        "what do i switch on?",
        "light up the table",
    ),
    "play": (
        "the dog wants to play",
        "something that bounces",
        "what can we kick around?",
        "let us play a game of catch",
        "a round toy",
    ),
    "soup": (
        "where do i put my porridge?",
        "i want to have some stew",
        "something deep to eat from",
        "what holds a salad?",
        "time for some cornflakes",
    ),
    "serve": (
        "where does my steak go?",
        "i want to eat a pancake",
        "something to put a cookie on",
        "what do i serve the fish on?",
        "dinner is ready, what do i put it on?",
    ),
    "plant": (
        "what is alive here?",
        "the thing that grows in a pot",
        "give some water to it, it has leaves",
        "what needs sun and water?",
        "something from the garden",
    ),
    "store": (
        "where do i keep my letters?",
        "i have to send a parcel",
        "something with a lid to close",
        "what can i pack this in?",
        "put the toys into it",
    ),
    "pour": (
        "something with a screw cap",
        "fill my glass",
        "what has a long neck?",
        "pour me some wine",
        "open the cap",
    ),
}

_BLANK = r"(.+?)"


def pattern_of(template: str) -> re.Pattern[str]:
    """What the template makes; its blanks are the groups."""
    return re.compile(re.escape(template).replace(r"\{\}", _BLANK).replace(r"\{s\}", _BLANK))


def _longest_first(templates: Sequence[str]) -> list[str]:
    return sorted(templates, key=len, reverse=True)


CLAUSES = {*composed.CLAUSES.seen, *composed.CLAUSES_PLURAL.seen}
_FRAMES = [
    (frame, pattern_of(frame)) for frame in _longest_first({*words.FRAMES.seen, *words.FRAMES_PLURAL.seen, *CLAUSES})
]
_RELATIONS = [
    (pattern_of(template), more)
    for table, more in (*((words.SIDES[side], SIDES[side]) for side in SIDES), (words.NEAREST, NEAREST))
    for template in table.seen
]
_ONE = [
    (pattern_of(f"the {template}"), more)
    for table, more in (
        *((words.EXTREMES[which], EXTREMES[which]) for which in EXTREMES),
        *((words.SIZES[which], SIZES[which]) for which in SIZES),
    )
    for template in _longest_first(table.seen)
]
_EVERY = [pattern_of(template) for template in _longest_first([t for t in words.EVERY.seen if "{s}" in t])]
_PLAIN_USES = [text for table in words.USE_WORDINGS.values() for text in table.seen if "?" not in text]
USE_THAT = re.compile(rf"({'|'.join(map(re.escape, _longest_first(_PLAIN_USES)))})((?:,| and) .+)")
USE_OF = {text: use for use, table in words.USE_WORDINGS.items() for text in table.seen}
SINGULAR = {
    words.plural(word): word for kind in words.KIND_WORDS for word in words.KIND_WORDS[kind].seen + NOUNS[kind]
} | {words.plural(word): word for word in words.ANYTHING.seen}
KIND_OF = {word: kind for kind, table in words.KIND_WORDS.items() for word in table.seen}
NOUN = re.compile(rf"\b({'|'.join(_longest_first([*KIND_OF, *map(words.plural, KIND_OF)]))})\b")


def paraphrased(text: str, kind: str, rng: np.random.Generator) -> str:
    """A command of a template in other words of the same meaning. `kind` is the instruction's type."""
    if text in USE_OF:
        return pick(USES[USE_OF[text]], rng)
    if match := USE_THAT.fullmatch(text):
        return pick(USES[USE_OF[match[1]]], rng).rstrip("?") + match[2]
    frame, phrase = unframe(text)
    if rng.random() < 0.6:
        phrase = rephrase(phrase, kind, rng)
    if rng.random() < 0.6:
        phrase = NOUN.sub(lambda noun: _renamed(noun[0], rng), phrase)
    if kind in ("attribute", "absent") and rng.random() < 0.3:
        phrase = _determined(phrase, rng)
    if rng.random() < 0.2:
        phrase = re.sub(r"^the ", f"the {pick(ADJECTIVES, rng)} ", phrase)
    carrier = rng.random() < (0.3 if frame in CLAUSES else 0.7)
    return (pick(CARRIERS, rng) if carrier else frame).format(phrase)


def pick(options: Sequence[str], rng: np.random.Generator) -> str:
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def unframe(text: str) -> tuple[str, str]:
    """The template's frame, "{}" where there is none, and the phrase in it."""
    for frame, pattern in _FRAMES:
        if frame != "{}" and (match := pattern.fullmatch(text)):
            return frame, match[1]
    return "{}", text


def rephrase(phrase: str, kind: str, rng: np.random.Generator) -> str:
    """The phrase with its side, place, size or number of things in other words, where they are a template's."""
    if kind == "several":
        for pattern in _EVERY:
            if (match := pattern.fullmatch(phrase)) and _bare(match[1]) in SINGULAR:
                single = match[1].removesuffix(_bare(match[1])) + SINGULAR[_bare(match[1])]
                return pick(EVERY, rng).format(single, s=match[1])
        return phrase
    for pattern, more in _RELATIONS if kind == "spatial" else ():
        if (match := pattern.fullmatch(phrase)) and match[2] not in ("me", "the camera"):
            return pick(more, rng).format(match[1], match[2])
    for pattern, more in _ONE if kind in ("spatial", "comparison") else ():
        if (match := pattern.fullmatch(phrase)) and _bare(match[1]) in KIND_OF:
            return "the " + pick(more, rng).format(match[1], s=words.plural(match[1]))
    return phrase


def _bare(noun: str) -> str:
    """The noun without its colour, if it has one: of "red tins" the tins."""
    first, _, rest = noun.partition(" ")
    return rest if first in COLOURS else noun


def _renamed(noun: str, rng: np.random.Generator) -> str:
    kind = KIND_OF.get(noun)
    if kind is not None:
        return pick(NOUNS[kind], rng)
    return words.plural(pick(NOUNS[KIND_OF[SINGULAR[noun]]], rng))


def _determined(phrase: str, rng: np.random.Generator) -> str:
    return re.sub(r"^the ", f"{pick(DETERMINERS, rng)} ".lstrip(), phrase)
