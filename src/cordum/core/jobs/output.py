"""What the output policy said about a job's result, as the job's record keeps it (spec-safety section 10)."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import msgspec

from cordum.core.ids import Micros

HIDDEN: Final = "[REDACTED]"
MESSAGE: Final = "error_message"
"""The `source` of a finding in the worker's words; any other is in the content."""
MAX_FINDINGS: Final = 64
"""Findings kept of one check; the first ones say enough."""
MAX_PREVIEW: Final = 160  # characters
_LEAST_HIDDEN: Final = 4
"""A shorter match is no secret, and hiding every `1` of a sentence would only make it unreadable."""


class OutputPhase(StrEnum):
    """How it came to the decision."""

    CHECK = "sync"
    """The kernel looked at the result before it was released."""
    POINTER = "pointer"
    """The result could not be read, so nobody could look at it."""
    UNCHECKED = "unchecked"
    """The kernel gave no answer, and the fail mode decided."""


class OutputFinding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing found in a result. `offset` and `length` count bytes of `source`; `matched_pattern` is masked, and
    `digest` the SHA-256 of what it stands for (none for personal data)."""

    type: str
    severity: str = ""
    detail: str = ""
    offset: int = 0
    length: int = 0
    scanner: str = ""
    confidence: float = 0.0
    matched_pattern: str = ""
    digest: str = ""
    source: str = ""


class OutputSafety(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The decision about one result, as `output_safety` of the record and as the API show it.

    Attributes:
        decision: ALLOW, REDACT, QUARANTINE or DENY.
        redacted_ptr: where the copy without what was found is.
        original_ptr: where the worker had put the result.
        checked_at: microseconds.
        released_by: who let the held original go after all, when and why.
        confirmed_by: who said that it stays held for good.
    """

    decision: str
    reason: str = ""
    rule_id: str = ""
    policy_snapshot: str = ""
    findings: tuple[OutputFinding, ...] = ()
    redacted_ptr: str = ""
    original_ptr: str = ""
    checked_at: Micros = Micros(0)
    check_duration_ms: int = 0
    phase: str = OutputPhase.CHECK
    released_by: str = ""
    released_at: Micros = Micros(0)
    release_reason: str = ""
    confirmed_by: str = ""


def without_secrets(
    findings: Iterable[OutputFinding], reason: str, *, content: bytes, message: bytes
) -> tuple[tuple[OutputFinding, ...], str]:
    """The findings and the reason with every raw match taken out of them.

    A kernel masks what it reports. This holds even for one that does not: whatever a finding points at must not be read
    off the record.
    """
    kept = tuple(findings)[:MAX_FINDINGS]
    texts = {MESSAGE: message}
    secrets = {secret for finding in kept if (secret := _matched(finding, texts.get(finding.source, content)))}
    ordered = sorted(secrets, key=len, reverse=True)
    clean = tuple(
        msgspec.structs.replace(
            finding,
            detail=_hide(finding.detail, ordered)[:MAX_PREVIEW],
            matched_pattern=_hide(finding.matched_pattern, ordered)[:MAX_PREVIEW],
        )
        for finding in kept
    )
    return clean, _hide(reason, ordered)


def _matched(finding: OutputFinding, text: bytes) -> str:
    start, end = finding.offset, finding.offset + finding.length
    if finding.length < _LEAST_HIDDEN or start < 0 or end > len(text):
        return ""
    return text[start:end].decode(errors="replace")


def _hide(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text
