"""The outcome of one check."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """How a check went."""

    PASS = "PASS"
    FAIL = "FAIL"
    SKIP = "SKIP"
    """Not looked at; `summary` says how to."""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        summary: in one sentence.
        details: every single thing that is wrong, or worth knowing.
    """

    check: str
    outcome: Outcome
    summary: str
    details: list[str] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        return {
            "check": self.check,
            "outcome": self.outcome.value,
            "summary": self.summary,
            "details": self.details,
        }


def judged(check: str, wrong: list[str], well: str, notes: list[str] | None = None) -> Finding:
    """PASS when nothing is wrong, else FAIL with what is."""
    if wrong:
        return Finding(check, Outcome.FAIL, f"{len(wrong)} to mend", wrong + (notes or []))
    return Finding(check, Outcome.PASS, well, notes or [])
