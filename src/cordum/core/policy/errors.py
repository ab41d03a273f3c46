"""What is wrong with a policy document, with the place of each fault."""

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from cordum.core.errors import CordumError


class Fault(msgspec.Struct, frozen=True):
    """One fault: where (line and column count from 1, path as `rules[3].match.topics[0]`) and what."""

    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}, column {self.column}"
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class PolicyError(CordumError):
    """The policy document cannot be used."""

    code: ClassVar[str] = "policy_invalid"

    def __init__(self, faults: Sequence[Fault]) -> None:
        """The message carries the first fault and says how many more there are; `faults` has them all."""
        self.faults = tuple(sorted(faults, key=lambda fault: (fault.line, fault.column)))
        more = f" (and {len(self.faults) - 1} more)" if len(self.faults) > 1 else ""
        super().__init__(f"{self.faults[0]}{more}")
