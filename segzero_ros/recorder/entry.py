"""What a recording is made of: messages that are serialised only when they are written, on channels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """A topic in a recording. ``role``: the name the node has for it, whatever it was remapped to.

    ``type``: as in ``ros2 interface list``. ``definition``: the text of that type and of those it is made of, as MCAP's
    registry wants it (ros2msg). ``serialise``: a message in, CDR out; called in the recorder's thread.
    """

    role: str
    topic: str
    type: str
    definition: str
    serialise: Callable[[Any], bytes]


@dataclass(slots=True, eq=False)
class Entry:
    """One message of a channel, nobody changes it any more.

    ``time_ns``: when it came, since 1970. ``sequence``: its number on its channel. ``size``: about how many bytes.
    ``is_queued``: it was handed to the recorder's thread. ``file``: the name of the last file it was written to.
    """

    channel: Channel
    message: Any
    time_ns: int
    sequence: int
    size: int
    file: str = ""
    is_queued: bool = False
