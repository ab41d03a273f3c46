"""Content without what was found in it (spec-safety section 10, Redaction)."""

from collections.abc import Iterable, Sequence

from cordum.core.output.finding import Finding
from cordum.core.output.json_places import Replacement, json_places

REPLACEMENT = b"[REDACTED]"


def redact(content: bytes, findings: Iterable[Finding]) -> bytes:
    """The content with the place of each finding replaced; all of it when no finding has a place in it.

    For what has to be complete use `redact_ranges`: a report names only so many findings.
    """
    ranges = [(finding.offset, finding.offset + finding.length) for finding in findings if finding.length > 0]
    return redact_ranges(content, ranges)


def redact_ranges(content: bytes, ranges: Sequence[tuple[int, int]]) -> bytes:
    """The content with bytes from and to of each range replaced; ranges may overlap and are clipped to the content.

    The answer is valid UTF-8, and JSON when the content was. Without a usable range all of the content is replaced.
    """
    merged = _merged(content, ranges)
    if not merged:
        return REPLACEMENT
    places = json_places(content, merged, REPLACEMENT)
    if places is None:
        places = [Replacement(start, end, REPLACEMENT) for start, end in merged]
    parts: list[bytes] = []
    at = 0
    for place in places:
        parts += (content[at : place.start], place.text)
        at = place.end
    parts.append(content[at:])
    redacted = b"".join(parts)
    try:
        redacted.decode()
    except UnicodeDecodeError:
        return redacted.decode(errors="replace").encode()
    return redacted


def _merged(content: bytes, ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """In order, without overlaps, none that cuts a character in two; ranges that touch become one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        start, end = max(start, 0), min(end, len(content))
        if start >= end:
            continue
        start, end = _character_start(content, start), _character_end(content, end)
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _continues(content: bytes, at: int) -> bool:
    """Whether the byte at this place is one of the later bytes of a character."""
    return at < len(content) and content[at] & 0xC0 == 0x80


def _character_start(content: bytes, at: int) -> int:
    back = at
    while back > 0 and at - back < 3 and _continues(content, back):
        back -= 1
    return at if _continues(content, back) else back


def _character_end(content: bytes, at: int) -> int:
    end = at
    while end - at < 3 and _continues(content, end):
        end += 1
    return end
