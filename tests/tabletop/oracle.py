"""A second opinion on what an instruction means: from its words and the labels alone, sharing no code with `query`."""

import re

import numpy as np

from segzero_ros.tabletop import View
from segzero_ros.tabletop.rich.palette import RICH_COLOURS as COLOURS

NAMES = {
    "mug": ("mug", "cup"),
    "bottle": ("bottle",),
    "can": ("can", "tin"),
    "bowl": ("bowl",),
    "plate": ("plate", "dish"),
    "ball": ("ball",),
    "book": ("book",),
    "box": ("box",),
    "plant": ("plant",),
    "lamp": ("lamp",),
    "jar": ("jar",),
    "jug": ("jug", "pitcher"),
    "teapot": ("teapot",),
    "vase": ("vase",),
    "candle": ("candle",),
    "basket": ("basket",),
    "bucket": ("bucket", "pail"),
    "pan": ("pan",),
    "apple": ("apple",),
    "banana": ("banana",),
    "car": ("car",),
    "clock": ("clock",),
    "phone": ("phone",),
    "remote": ("remote",),
    "shelf": ("shelf",),
    "bin": ("bin",),
}
PURPOSES = {
    "drink": ({"mug", "bottle", "can"}, r"drink from|thirsty|to drink$|for a drink|drink something"),
    "coffee": ({"mug"}, r"coffee|tea\b"),
    "read": ({"book"}, r"read|pages"),
    "light": ({"lamp"}, r"light|dark|shines"),
    "play": ({"ball"}, r"play|throw|rolls|toy to"),
    "soup": ({"bowl"}, r"soup|salad|cereal"),
    "serve": ({"plate"}, r"serve|pizza|cake|sandwich|flat for my food"),
    "plant": ({"plant"}, r"needs water|leaves|to water|grows|should i water|living"),
    "store": ({"box"}, r"store|put my things|pack|lid"),
    "pour": ({"bottle"}, r"cap\b|pour|narrow neck"),
}


RICH_PURPOSES = PURPOSES | {
    "light": ({"lamp", "candle"}, r"gives light|light the room|some light|more light|dark|shines"),
    "play": ({"ball", "car"}, r"play with|want to play$|a toy$"),
    "store": ({"box", "bin", "basket"}, r"store|put my things|tidy up"),
    "pour": ({"bottle", "jug", "teapot"}, r"pour from|pour a drink"),
    "switch": ({"lamp"}, r"turn on the light|bulb|switch on"),
    "throw": ({"ball"}, r"throw|play catch"),
    "cap": ({"bottle"}, r"\bcap\b"),
    "eat": ({"apple", "banana"}, r"something to eat$|hungry|i eat\b|fruit|healthy"),
    "fry": ({"pan"}, r"fry|cook|stove"),
    "time": ({"clock"}, r"the time|what time|how late|ticks"),
    "call": ({"phone"}, r"\bcalls?\b"),
    "channel": ({"remote"}, r"channel|film"),
    "flowers": ({"vase"}, r"flowers|roses|tulips"),
    "mop": ({"bucket"}, r"mop|carry|cleaning the floor"),
    "tea": ({"teapot"}, r"make tea|brew"),
    "jam": ({"jar"}, r"jam|honey|pickles"),
    "wick": ({"candle"}, r"flame|blow out|wax|burns"),
    "wheels": ({"car"}, r"wheels|drives"),
}


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text)


def kind_in(text: str) -> str | None:
    """The kind the last noun of a phrase names."""
    kinds = {name: kind for kind, names in NAMES.items() for name in names}
    found = [kinds.get(word) or kinds.get(singular(word)) for word in words_of(text)]
    return next((kind for kind in reversed(found) if kind), None)


def singular(word: str) -> str:
    return {"boxes": "box", "dishes": "dish", "shelves": "shelf"}.get(word, word.removesuffix("s"))


def colour_in(text: str) -> str | None:
    return next((w for w in words_of(text) if w in COLOURS), None)


def those(view: View, phrase: str) -> list:
    kind, colour = kind_in(phrase), colour_in(phrase)
    return [t for t in view.things if kind in (None, t.kind) and colour in (None, t.colour)]


def middle(view: View, thing) -> float:
    columns = np.nonzero((view.labels == thing.id).any(axis=0))[0]
    return (columns[0] + columns[-1] + 1) / 2


def distance(view: View, thing) -> float:
    """From the camera's foot point, along the way it looks."""
    forward = np.array([row[2] for row in view.camera.rotation])[:2]
    return float((np.array(thing.position) - view.camera.position)[:2] @ forward)


RELATIONS = (
    (r" (?:standing |that is |to the |on the |to be found )*left(?: side)? of ", "left"),
    (r" (?:standing |that is |to the |on the |to be found )*right(?: side)? of ", "right"),
    (r" (?:that is |standing |to be found )?behind | farther away than ", "behind"),
    (r" (?:that is |standing |to be found )?in front of | closer to me than ", "front"),
    (r" (?:that is )?nearest to | closest to (?!me|the camera|us)| next to | beside ", "nearest"),
)
EXTREMES = (
    (r"leftmost|far left|furthest to the left|on the left$", middle),
    (r"rightmost|far right|furthest to the right|on the right$", lambda v, t: -middle(v, t)),
    (r"frontmost|closest to me|at the front|closest to the camera|closest to us", distance),
    (r"rearmost|farthest away|at the back|farthest from", lambda v, t: -distance(v, t)),
)


def spatial(view: View, text: str) -> set[int]:
    text = text.rstrip("?")
    for pattern, side in RELATIONS:
        if match := re.search(pattern, text):
            return related(view, side, text[: match.start()], text[match.end() :])
    for pattern, key in EXTREMES:
        if re.search(pattern, text):
            return {min(those(view, text), key=lambda t: key(view, t)).id}
    raise AssertionError(f"no relation in {text!r}")


def related(view: View, side: str, subject: str, anchor: str) -> set[int]:
    (stone,) = those(view, anchor)
    things = [t for t in those(view, subject) if t.id != stone.id]
    if side == "nearest":
        return {min(things, key=lambda t: np.hypot(*(np.array(t.position) - stone.position)[:2])).id}
    test = {
        "left": lambda t: middle(view, t) < middle(view, stone),
        "right": lambda t: middle(view, t) > middle(view, stone),
        "behind": lambda t: distance(view, t) > distance(view, stone),
        "front": lambda t: distance(view, t) < distance(view, stone),
    }[side]
    return {t.id for t in things if test(t)}


def comparison(view: View, text: str) -> set[int]:
    small = re.search(r"small|tiniest|little", text)
    return {(min if small else max)(those(view, text), key=lambda t: t.size).id}


def kinds_for(view: View, text: str) -> set[str]:
    """The kinds that serve the purpose of which a text speaks."""
    purposes = PURPOSES if view.scene.world == "simple" else RICH_PURPOSES
    fitting = {use for use, (_, pattern) in purposes.items() if re.search(pattern, text)}
    for first in ("tea", "coffee", "throw"):  # "what can i drink coffee from?", "brew tea", "a toy to throw"
        if first in fitting and first in purposes:
            fitting = {first}
    (use,) = fitting
    return purposes[use][0]


def purpose(view: View, text: str) -> set[int]:
    kinds = kinds_for(view, text)
    return {t.id for t in view.things if t.kind in kinds}


def answer(view: View, type_: str, text: str) -> set[int]:
    """The ids a careful reader of the text would mark."""
    text = re.sub(r"\bcan (?=you |i |one |light |read|pour)", "", text)  # the verb
    if type_ == "spatial":
        return spatial(view, text)
    if type_ == "comparison":
        return comparison(view, text)
    if type_ == "function" or (type_ == "absent" and kind_in(text) is None):
        return purpose(view, text)
    return {t.id for t in those(view, text)}
