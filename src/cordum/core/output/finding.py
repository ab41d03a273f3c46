"""What a scan found: where, how grave, and nothing of what was found itself (spec-safety sections 2 and 10)."""

import hashlib
from enum import StrEnum

import msgspec

MAX_PREVIEW = 160
"""Characters of `Finding.matched`."""
_SHOWN = 4
_SHOWN_FROM = 12

PII = "pii"


class Severity(StrEnum):
    """How grave a finding or a rule is."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """1 for low to 4 for critical."""
        return _RANKS[self]


_RANKS = {Severity.LOW: 1, Severity.MEDIUM: 2, Severity.HIGH: 3, Severity.CRITICAL: 4}


class Source(StrEnum):
    """Which text of an answer a finding is in."""

    CONTENT = "content"
    ERROR = "error_message"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing found. `offset` and `length` count bytes of the text; a length of 0 says that there is no place.

    `matched` is a masked preview and `digest` the SHA-256 (hex) of what matched, so that two findings can be compared.
    The digest is empty for personal data: a phone number has so few possible values that its hash gives it away.
    """

    type: str
    severity: Severity
    detail: str
    offset: int = 0
    length: int = 0
    scanner: str = ""
    confidence: float = 1.0
    matched: str = ""
    digest: str = ""
    source: Source = Source.CONTENT


def masked(match: bytes) -> str:
    """A preview that says what kind of thing it was: at most four characters of a long match, none of a short one."""
    if len(match) < _SHOWN_FROM:
        return "*" * len(match)
    head = match[:_SHOWN].decode(errors="replace").replace("�", "*")
    hidden = len(match) - _SHOWN
    stars = "*" * min(hidden, 16)
    return f"{head}{stars} ({len(match)} bytes)"


def digest(match: bytes, finding_type: str) -> str:
    """SHA-256 in hex, or nothing for personal data."""
    return "" if finding_type == PII else hashlib.sha256(match).hexdigest()
