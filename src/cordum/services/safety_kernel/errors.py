"""Why a policy is not in force."""

from typing import ClassVar

from cordum.core.errors import CordumError

BASE = "base"
"""The word for the file or URL where a bundle's id would stand."""


class LoadError(CordumError):
    """The policy cannot be loaded.

    Attributes:
        reason: the metric's word.
        bundle: which bundle is to blame; `base` for the file or URL, "" for all bundles together.
        line: from 1; 0 when unknown. `column` likewise.
    """

    code: ClassVar[str] = "policy_load_failed"

    def __init__(self, message: str, *, reason: str, bundle: str = BASE, line: int = 0, column: int = 0) -> None:
        self.reason = reason
        self.bundle = bundle
        self.line = line
        self.column = column
        super().__init__(message)


class SourceUnavailableError(LoadError):
    """Where the policy is kept does not answer; what it holds may be as good as ever."""

    code = "policy_source_unavailable"
