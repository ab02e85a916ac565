"""What an export is held against: values with limits, as a table for people and as JSON for the manifest."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from segzero_ros.bundle import MAX_IMAGE_SIDE
from segzero_ros.cli.output import format_table
from segzero_ros.cli.parser import at_least

# The ``type=`` of options: pixels of a picture's side, tokens of a KV cache (at most twice the longest context of the
# models that are exported), requests at once.
SIDE, LENGTH, BATCH = at_least(28, MAX_IMAGE_SIDE), at_least(1, 1 << 18), at_least(1, 1024)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table: `value` must be at most `limit` (or at least, where `more` is better)."""

    what: str
    reference: str
    value: float
    limit: float
    more: bool = False

    @property
    def passed(self) -> bool:
        """Whether the limit holds; a value that is no number never does."""
        return self.value >= self.limit if self.more else self.value <= self.limit


def check_table(checks: Iterable[Check]) -> str:
    """Lay the checks out for a terminal."""
    rows = [
        ["ok" if c.passed else "FAIL", c.what, c.reference, f"{c.value:.3g}", f"{'>=' if c.more else '<='} {c.limit:g}"]
        for c in checks
    ]
    return format_table(["", "what", "against", "value", "limit"], rows, right=[3])


def to_json(checks: Iterable[Check]) -> list[dict[str, Any]]:
    """Return the checks as JSON values."""
    return [{**asdict(check), "passed": check.passed} for check in checks]
