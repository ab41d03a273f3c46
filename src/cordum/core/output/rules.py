"""The output rules of a policy: what happens to a result (spec-safety section 10, Rules).

The first rule that matches decides. Whatever could not be looked at to its end is held back: a result that cannot be
read, one of which only the beginning came, and one whose scan took too long.
"""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from cordum.core.output.engine import ContentTest, Subject
from cordum.core.output.finding import Finding, Severity, Source
from cordum.core.output.matching import Metadata, metadata_test
from cordum.core.output.probes import Expired, ScanTimeoutError, never
from cordum.core.output.redaction import redact_ranges
from cordum.core.output.scanners import SCANNERS, ScannerSet
from cordum.core.output.scope import ScopeTest
from cordum.core.policy.decision import OutputDecision
from cordum.core.policy.document import OutputRule, PolicyDocument, Tier

_ORDER = {Tier.JOB: 0, Tier.WORKFLOW: 1, Tier.GLOBAL: 2}
_UNTOLD = {
    OutputDecision.QUARANTINE: "output quarantined by policy",
    OutputDecision.REDACT: "output requires redaction by policy",
    OutputDecision.DENY: "output denied by policy",
}
_HOLDS = (OutputDecision.QUARANTINE, OutputDecision.DENY)


class ContentState(StrEnum):
    """Whether the content is all of the result."""

    WHOLE = "whole"
    TRUNCATED = "truncated"
    UNREADABLE = "unreadable"


class OutputRequest(Metadata, frozen=True, kw_only=True):
    """One result. `content` is what the worker wrote, `state` whether that is all of it."""

    content: bytes = b""
    error_message: str = ""
    state: ContentState = ContentState.WHOLE


class OutputVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to a result, and which rule says so.

    With REDACT `redacted` is the content, and `redacted_error` the error message, without what was found.
    """

    decision: OutputDecision
    reason: str = ""
    rule_id: str = ""
    findings: tuple[Finding, ...] = ()
    redacted: bytes | None = None
    redacted_error: str = ""


ALLOWED = OutputVerdict(decision=OutputDecision.ALLOW)


class _Texts(msgspec.Struct, frozen=True, eq=False):
    """What there is to look at: the content and the error message, whichever is not empty."""

    content: Subject | None
    error: Subject | None


class _Match(msgspec.Struct, frozen=True, eq=False):
    rule: "_CompiledRule"
    findings: tuple[Finding, ...]


class _CompiledRule:
    """A rule ready to be tried."""

    def __init__(self, rule: OutputRule, scanners: ScannerSet) -> None:
        match = rule.match
        self.id = rule.id
        self.decision = rule.decision
        self.reason = rule.reason
        self.concerns = metadata_test(rule)
        self.content = ContentTest.compile(
            match.content_patterns, match.keywords, match.scanners, scanners, rule.severity
        )
        self._scope = ScopeTest(match.scope) if match.scope is not None else None
        self.reads_content = not self.content.is_empty or self._scope is not None

    def find(self, texts: _Texts, expired: Expired) -> tuple[Finding, ...] | None:
        """The findings; None when the rule does not match. Raises ScanTimeoutError."""
        if not self.reads_content:
            return ()
        found: tuple[Finding, ...] = ()
        matched = False
        if texts.content is not None and (in_content := self._find(texts.content, expired)) is not None:
            matched, found = True, in_content
        if texts.error is not None and (in_error := self._find(texts.error, expired)) is not None:
            matched = True
            found += tuple(msgspec.structs.replace(finding, source=Source.ERROR) for finding in in_error)
        return found if matched else None

    def _find(self, subject: Subject, expired: Expired) -> tuple[Finding, ...] | None:
        found = self.content.find(subject, expired)
        if found is None or self._scope is None:
            return found
        violation = self._scope.violation(subject.content)
        return None if violation is None else (*found, violation)

    def redacted(self, subject: Subject | None, expired: Expired) -> bytes:
        """The text without all that the rule looks for; all of it goes when the rule looks for nothing in it."""
        if subject is None:
            return b""
        if self.content.is_empty or self._scope is not None:
            return redact_ranges(subject.content, ())
        ranges = self.content.ranges(subject, expired)
        if ranges is None:
            return redact_ranges(subject.content, ())
        return redact_ranges(subject.content, ranges) if ranges else subject.content


class OutputJudge:
    """The output rules of a policy; make it with `compile_output`."""

    def __init__(self, document: PolicyDocument, scanners: ScannerSet) -> None:
        settings = document.output_policy
        self.active = settings is None or settings.enabled is not False
        """Whether the policy has its output rules switched on."""
        rules = [rule for rule in document.output_rules if rule.enabled] if self.active else []
        binding = [rule for rule in rules if rule.invariant and rule.decision is not OutputDecision.ALLOW]
        ordinary = sorted(
            (rule for rule in rules if not rule.invariant),
            key=lambda rule: _ORDER[rule.tier],
        )
        granting = [rule for rule in rules if rule.invariant and rule.decision is OutputDecision.ALLOW]
        self._binding = [_CompiledRule(rule, scanners) for rule in binding]
        self._rules = [_CompiledRule(rule, scanners) for rule in (*ordinary, *granting)]

    @property
    def is_empty(self) -> bool:
        """Whether every result is allowed."""
        return not (self._binding or self._rules)

    def needs_content(self, metadata: Metadata) -> bool:
        """Whether the decision on a result like this depends on what is in it."""
        return any(self._first_concerned(rules, metadata) for rules in (self._binding, self._rules))

    def check(self, request: OutputRequest, expired: Expired = never) -> OutputVerdict:
        """What happens to the result. When `expired` says so before the end, it is put into quarantine."""
        if self.is_empty:
            return ALLOWED
        texts = _Texts(
            Subject(request.content) if request.content else None,
            Subject(request.error_message.encode(errors="replace")) if request.error_message else None,
        )
        try:
            bound = self._first(self._binding, request, texts, expired)
            if isinstance(bound, OutputVerdict) or (bound is not None and bound.rule.decision in _HOLDS):
                return bound if isinstance(bound, OutputVerdict) else _verdict(bound, _texts_of(request))
            chosen = self._first(self._rules, request, texts, expired)
            if isinstance(chosen, OutputVerdict):
                return chosen
            return self._settled(bound, chosen, request, texts, expired)
        except ScanTimeoutError:
            return held("scan_timeout", "the result could not be scanned in time")

    def _settled(
        self, bound: _Match | None, chosen: _Match | None, request: OutputRequest, texts: _Texts, expired: Expired
    ) -> OutputVerdict:
        """One verdict of a binding rule that wants redaction, if there is one, and the rule that was chosen."""
        matches = [match for match in (bound, chosen) if match is not None]
        for match in matches:
            if match.rule.decision in _HOLDS:
                return _verdict(match, _texts_of(request))
        redacting = [match for match in matches if match.rule.decision is OutputDecision.REDACT]
        if not redacting:
            return _verdict(chosen, _texts_of(request)) if chosen is not None else ALLOWED
        if request.state is not ContentState.WHOLE:
            return _partial(request.state, redacting[0].rule.id)
        content, error = request.content, request.error_message.encode(errors="replace")
        for match in redacting:
            # The second works on what the first has left; what both find is gone already.
            content = match.rule.redacted(texts.content if content == request.content else Subject(content), expired)
            error = match.rule.redacted(Subject(error) if error else None, expired)
        return _verdict(redacting[0], (content, error.decode(errors="replace")))

    @staticmethod
    def _first_concerned(rules: Sequence[_CompiledRule], metadata: Metadata) -> bool:
        first = next((rule for rule in rules if rule.concerns(metadata)), None)
        return first is not None and first.reads_content

    @staticmethod
    def _first(
        rules: Sequence[_CompiledRule], request: OutputRequest, texts: _Texts, expired: Expired
    ) -> _Match | OutputVerdict | None:
        """The first rule that matches; a verdict when that cannot be told because content is missing."""
        for rule in rules:
            if not rule.concerns(request):
                continue
            found = rule.find(texts, expired)
            if found is not None:
                return _Match(rule, found)
            if request.state is not ContentState.WHOLE:
                return _partial(request.state, rule.id)
        return None


def compile_output(document: PolicyDocument, scanners: ScannerSet = SCANNERS) -> OutputJudge:
    """The output rules of a document. Raises BadPatternError or UnknownScannerError for rules that cannot work."""
    return OutputJudge(document, scanners)


def held(kind: str, reason: str, rule_id: str = "") -> OutputVerdict:
    """Quarantine because the result could not be judged; `kind` is the reason's word."""
    finding = Finding(type=kind, severity=Severity.HIGH, detail=reason, scanner="output_policy")
    return OutputVerdict(decision=OutputDecision.QUARANTINE, reason=kind, rule_id=rule_id, findings=(finding,))


def _partial(state: ContentState, rule_id: str) -> OutputVerdict:
    if state is ContentState.UNREADABLE:
        return held("pointer_unreadable", "the result could not be read", rule_id)
    return held("content_truncated", "only the beginning of the result could be scanned", rule_id)


def _texts_of(request: OutputRequest) -> tuple[bytes, str]:
    return request.content, request.error_message


def _verdict(match: _Match, texts: tuple[bytes, str]) -> OutputVerdict:
    rule = match.rule
    reason = rule.reason or next((finding.detail for finding in match.findings), "") or _UNTOLD.get(rule.decision, "")
    redacts = rule.decision is OutputDecision.REDACT
    return OutputVerdict(
        decision=rule.decision,
        reason=reason,
        rule_id=rule.id,
        findings=match.findings,
        redacted=texts[0] if redacts else None,
        redacted_error=texts[1] if redacts else "",
    )
