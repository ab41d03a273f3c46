"""One content test: the patterns, keywords and scanners of a rule, all of which must find something (spec section 10).

Input rules and output rules use the same test with the same meaning: each group that is given must have a finding.
"""

from collections.abc import Sequence

import msgspec

from cordum.core.output.finding import Finding, Severity, digest, masked
from cordum.core.output.patterns import MAX_PROGRAM, BadPatternError, Pattern, compile_pattern, compile_trusted
from cordum.core.output.probes import ALL, REPORT, Expired, Hit, Limits, Probe, Probes, never
from cordum.core.output.scanners import KEYWORD, SCANNERS, ScannerSet, UnknownScannerError

MAX_KEYWORD = 512
"""Characters of one keyword."""
PATTERN_TYPE = "pattern_match"
KEYWORD_TYPE = "keyword_match"

_BATCH = 256  # keywords looked for in one pass


class Subject:
    """A text to be tested, by as many rules as there are: what was found for one is remembered for the next."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._text = _searchable(content)
        self._known: dict[tuple[int, Limits], tuple[Hit, ...]] = {}

    def hits(self, probes: Probes, limits: Limits, expired: Expired) -> tuple[Hit, ...]:
        """Where the probes match. Raises ScanTimeoutError."""
        key = (id(probes), limits)
        if key not in self._known:
            self._known[key] = probes.hits(self._text, limits, expired)
        return self._known[key]


class Group(msgspec.Struct, frozen=True, eq=False):
    """Probes of which at least one must match; several sets only because one pass cannot hold them all."""

    sets: tuple[Probes, ...]


class ContentTest:
    """What a rule asks of content. Make it with `compile`."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = tuple(groups)

    @classmethod
    def compile(
        cls,
        patterns: Sequence[Pattern | str] = (),
        keywords: Sequence[str] = (),
        scanners: Sequence[str] = (),
        scanner_set: ScannerSet = SCANNERS,
        severity: Severity = Severity.HIGH,
    ) -> "ContentTest":
        """A test for input and output rules alike: each of the three that is not empty must find something.

        Keywords match in any case, anywhere in a word. `severity` is that of pattern and keyword findings.
        Raises BadPatternError or UnknownScannerError.
        """
        groups = []
        if patterns:
            groups.append(Group((Probes([_pattern_probe(pattern, severity) for pattern in patterns]),)))
        if keywords:
            probes = [_keyword_probe(keyword, severity) for keyword in keywords]
            groups.append(Group(tuple(Probes(probes[at : at + _BATCH]) for at in range(0, len(probes), _BATCH))))
        names = dict.fromkeys(scanner_set.aliases(name) for name in scanners)
        if KEYWORD in names and not keywords:
            raise UnknownScannerError("the keyword scanner needs keywords")
        found = [scanner_set.get(name) for name in names if name != KEYWORD]
        if found:
            groups.append(Group(tuple(found)))
        return cls(groups)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked, so that content need not be there."""
        return not self._groups

    def find(self, content: bytes | Subject, expired: Expired = never) -> tuple[Finding, ...] | None:
        """The findings, at most 10 of a pattern and 32 of a scanner; None when a wanted group found nothing.

        Raises ScanTimeoutError when `expired` says the time is up.
        """
        subject = content if isinstance(content, Subject) else Subject(content)
        findings: list[Finding] = []
        for group in self._groups:
            hits = [hit for probes in group.sets for hit in subject.hits(probes, REPORT, expired)]
            if not hits:
                return None
            findings += [_finding(subject.content, hit) for hit in hits]
        return tuple(findings)

    def ranges(self, content: bytes | Subject, expired: Expired = never) -> tuple[tuple[int, int], ...] | None:
        """Every place that matches, as bytes from and to; None when there are too many to tell.

        This is what has to go when content is redacted: not only what a report names. Raises ScanTimeoutError.
        """
        subject = content if isinstance(content, Subject) else Subject(content)
        ranges: list[tuple[int, int]] = []
        for group in self._groups:
            for probes in group.sets:
                hits = subject.hits(probes, ALL, expired)
                if len(hits) >= ALL.total:
                    return None
                ranges += [(hit.start, hit.end) for hit in hits]
        return tuple(ranges)


def _finding(content: bytes, hit: Hit) -> Finding:
    probe = hit.probe
    match = content[hit.start : hit.end]
    return Finding(
        type=probe.type,
        severity=probe.severity,
        detail=probe.detail,
        offset=hit.start,
        length=hit.end - hit.start,
        scanner=probe.scanner,
        confidence=probe.confidence,
        matched=masked(match),
        digest=digest(match, probe.type),
    )


def _searchable(content: bytes) -> bytes:
    """The same number of bytes, all of them UTF-8: a stray byte must not keep a pattern from seeing its neighbours."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return content.decode(errors="surrogateescape").translate(_STRAY).encode()
    return content


_STRAY = dict.fromkeys(range(0xDC80, 0xDD00), "?")


def _pattern_probe(pattern: Pattern | str, severity: Severity) -> Probe:
    compiled = compile_pattern(pattern) if isinstance(pattern, str) else pattern
    return Probe(
        scanner="content_patterns",
        type=PATTERN_TYPE,
        detail=f"pattern matched: {compiled.text}",
        severity=severity,
        confidence=1.0,
        source=compiled.text,
        regexp=compiled.regexp,
    )


def _keyword_probe(keyword: str, severity: Severity) -> Probe:
    """Case is ignored the Unicode way; anything else about the keyword is literal."""
    if not keyword.strip():
        raise BadPatternError("the keyword is empty")
    if len(keyword) > MAX_KEYWORD:
        raise BadPatternError(f"a keyword of {len(keyword)} characters; at most {MAX_KEYWORD}")
    source = "(?i)" + "".join(_literal(char) for char in keyword)
    regexp = compile_trusted(source)
    if regexp.programsize > MAX_PROGRAM:
        raise BadPatternError("the keyword is too long")
    return Probe(
        scanner=KEYWORD,
        type=KEYWORD_TYPE,
        detail=f"keyword matched: {keyword}",
        severity=severity,
        confidence=1.0,
        source=source,
        regexp=regexp,
    )


def _literal(char: str) -> str:
    return f"\\x{{{ord(char):x}}}" if not char.isalnum() else char
