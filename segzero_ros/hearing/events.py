"""What the ear says of what it hears, as values that travel as JSON."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

Kind = Literal["began", "partial", "stop", "final"]
KINDS = get_args(Kind)
MOST_TEXT = 4000  # characters


@dataclass(frozen=True, slots=True)
class Event:
    """Something about one utterance.

    ``began``: somebody speaks. ``partial``: the text so far. ``stop``: work is to end at once; ``text`` is the phrase.
    ``final``: the utterance is over; a command if ``reason`` is "", else ``reason`` says why not. Every utterance has
    one ``final``, a longer one than is allowed one per piece.
    ``confidence``, ``no_speech``: of ``Transcript``. ``start_s``, ``end_s``: of the speech, in the stream's time.
    ``late_s``: from the end of the speech, or of what was heard of it, to this event, in the stream's time.
    """

    kind: Kind
    utterance: int
    text: str = ""
    reason: str = ""
    confidence: float = 0.0
    no_speech: float = 0.0
    start_s: float = 0.0
    end_s: float = 0.0
    late_s: float = 0.0

    @property
    def is_command(self) -> bool:
        """Whether ``text`` is to be carried out."""
        return self.kind == "final" and not self.reason


def to_json(event: Event) -> str:
    """Return an event as one line of JSON."""
    return json.dumps(asdict(event), allow_nan=False)


def from_json(text: str | bytes) -> Event:
    """Return the event of `to_json`; ValueError for anything else."""
    values = json.loads(text)
    known = {each.name: type(each.default) for each in fields(Event)} | {"kind": str, "utterance": int}
    if not isinstance(values, dict) or values.keys() != known.keys() or values["kind"] not in KINDS:
        raise ValueError("no event")
    read: dict[str, Any] = {name: _value(values[name], kind) for name, kind in known.items()}
    return Event(**read)


def _value(value: Any, kind: type) -> str | int | float:
    if kind is str and isinstance(value, str):
        return value[:MOST_TEXT]
    if kind in (int, float) and isinstance(value, (int, float)):
        return kind(value)
    raise ValueError("no event")
