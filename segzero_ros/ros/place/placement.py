"""What became of an answer's objects in space, and in which frame it is said."""

from dataclasses import dataclass, field

from std_msgs.msg import Header

from segzero_ros.place import Placed, Refusal
from segzero_ros.ros.place.frames import IDENTITY, Transform

MAX_NOTED = 5  # refusals told in an answer's detail


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """``results``: one per instance, in the optical frame; ``transform`` leads from there to the frame of ``header``.

    ``fault``: why that is not the frame that was asked for; "" where it is.
    """

    header: Header
    results: tuple[Placed | Refusal, ...]
    transform: Transform = field(default=IDENTITY)
    fault: str = ""

    @property
    def placed(self) -> list[tuple[int, Placed]]:
        """The objects that have a place, with their number in the mask."""
        return [(number, one) for number, one in enumerate(self.results, start=1) if isinstance(one, Placed)]

    @property
    def note(self) -> str:
        """What an answer's detail says: which objects no robot should reach for, and a frame that is missing."""
        refused = [(number, one) for number, one in enumerate(self.results, start=1) if isinstance(one, Refusal)]
        notes = [f"instance {number} has no place, {one}" for number, one in refused[:MAX_NOTED]]
        if len(refused) > MAX_NOTED:
            notes.append(f"and {len(refused) - MAX_NOTED} others")
        return "; ".join([*notes, *([self.fault] if self.fault else [])])
