"""What can be done with which kinds, in either world."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from segzero_ros.tabletop.scene import World
from segzero_ros.tabletop.things import Kind

Use = Literal[
    "drink",
    "coffee",
    "read",
    "light",
    "play",
    "soup",
    "serve",
    "plant",
    "store",
    "pour",
    "switch",
    "throw",
    "cap",
    "eat",
    "fry",
    "time",
    "call",
    "channel",
    "flowers",
    "mop",
    "tea",
    "jam",
    "wick",
    "wheels",
]

USES: Mapping[Use, frozenset[Kind]] = {
    "drink": frozenset({"mug", "bottle", "can"}),
    "coffee": frozenset({"mug"}),
    "read": frozenset({"book"}),
    "light": frozenset({"lamp"}),
    "play": frozenset({"ball"}),
    "soup": frozenset({"bowl"}),
    "serve": frozenset({"plate"}),
    "plant": frozenset({"plant"}),
    "store": frozenset({"box"}),
    "pour": frozenset({"bottle"}),
}
"""Of the simple world."""
RICH_USES: Mapping[Use, frozenset[Kind]] = {
    "drink": frozenset({"mug", "bottle", "can"}),
    "coffee": frozenset({"mug"}),
    "read": frozenset({"book"}),
    "light": frozenset({"lamp", "candle"}),
    "play": frozenset({"ball", "car"}),
    "soup": frozenset({"bowl"}),
    "serve": frozenset({"plate"}),
    "plant": frozenset({"plant"}),
    "store": frozenset({"box", "bin", "basket"}),
    "pour": frozenset({"bottle", "jug", "teapot"}),
    "switch": frozenset({"lamp"}),
    "throw": frozenset({"ball"}),
    "cap": frozenset({"bottle"}),
    "eat": frozenset({"apple", "banana"}),
    "fry": frozenset({"pan"}),
    "time": frozenset({"clock"}),
    "call": frozenset({"phone"}),
    "channel": frozenset({"remote"}),
    "flowers": frozenset({"vase"}),
    "mop": frozenset({"bucket"}),
    "tea": frozenset({"teapot"}),
    "jam": frozenset({"jar"}),
    "wick": frozenset({"candle"}),
    "wheels": frozenset({"car"}),
}


def uses_of(world: World) -> Mapping[Use, frozenset[Kind]]:
    """What can be done with which kinds of this world."""
    return USES if world == "simple" else RICH_USES
