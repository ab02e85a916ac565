"""What an export is held against: values with limits, as a table for people and as JSON for the manifest."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


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


def format_table(checks: Iterable[Check]) -> str:
    """Lay the checks out for a terminal."""
    lines = [f"{'':4} {'what':42} {'against':11} {'value':>10}  limit"]
    for check in checks:
        sign = ">=" if check.more else "<="
        mark = "ok" if check.passed else "FAIL"
        lines.append(f"{mark:4} {check.what:42} {check.reference:11} {check.value:10.3g}  {sign} {check.limit:g}")
    return "\n".join(lines)


def to_json(checks: Iterable[Check]) -> list[dict[str, Any]]:
    """Return the checks as JSON values."""
    return [{**asdict(check), "passed": check.passed} for check in checks]
