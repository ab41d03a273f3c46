"""Input rules: what goes into a job, looked at before it runs (spec-safety 4.5). They only ever tighten."""

from collections.abc import Sequence

import msgspec

from cordum.core.ids import RuleId
from cordum.core.output.engine import ContentTest, Subject
from cordum.core.output.finding import Finding
from cordum.core.output.scanners import ScannerSet
from cordum.core.output.scope import ScopeTest
from cordum.core.policy.attachment import PRECEDENCE
from cordum.core.policy.decision import NO_CONSTRAINTS, Decision
from cordum.core.policy.document import (
    Combine,
    ContentMatch,
    FailMode,
    InputPolicy,
    InputRule,
    Match,
    PolicyDocument,
    RequireHuman,
)
from cordum.core.policy.matchers import Matcher, Test, matchers_of
from cordum.core.policy.outcome import DecidedBy, Outcome
from cordum.core.policy.request import PolicyRequest, fold_all

ACTION = "_action.descriptor_json"
"""The label that says what exactly the job will do; without it there is only a prompt to go by."""

TOO_LARGE = "content larger than what was scanned"
_LONGEST_REASON = 500


class _Content:
    """A request's content, in the parts that are looked at, made only when a rule asks for it."""

    def __init__(self, request: PolicyRequest, limit: int) -> None:
        prompt = request.prompt.encode(errors="surrogatepass")
        content = request.content
        self.raw = content or prompt
        self.size = max(request.content_size, len(content), len(prompt))
        self.complete = max(len(content), len(prompt)) <= limit and (
            not content or request.content_size <= len(content)
        )
        parts = [content[:limit]] if content else []
        if prompt and prompt not in content:
            parts.append(prompt[:limit])
        self.parts = [Subject(part) for part in parts]
        # What one part has and what the other has may together be what a rule is about.
        self.joined = Subject(b"\n".join(parts)) if len(parts) > 1 else None


class CompiledInputRule:
    """One input rule, ready to be tried."""

    def __init__(self, rule: InputRule, scanners: ScannerSet) -> None:
        """Raises BadGlobError, BadPatternError or UnknownScannerError."""
        match = rule.match
        self.rule = rule
        self.matchers: tuple[Matcher, ...] = (
            *matchers_of(
                Match(
                    tenants=match.tenants,
                    topics=match.topics,
                    capabilities=match.capabilities,
                    risk_tags=match.risk_tags,
                ),
                selector=rule.selector,
            ),
            *_content_types(match),
        )
        self._tests: tuple[Test, ...] = tuple(matcher.test for matcher in self.matchers)
        self._content = ContentTest.compile(
            match.content_patterns, match.keywords, match.scanners, scanners, rule.severity
        )
        self._scope = None if match.scope is None else ScopeTest(match.scope)

    def applies(self, request: PolicyRequest) -> bool:
        """Whether the rule is about this job at all, whatever its content."""
        return all(test(request) for test in self._tests)

    def findings(self, content: _Content, fail_mode: FailMode) -> tuple[Finding, ...] | None:
        """What the rule has found; None when it does not match. Everything it asks for must be there."""
        limit = self.rule.match.size_gt
        if limit and content.size <= limit:
            return None
        found: list[Finding] = []
        if limit:
            found.append(self._finding(f"content of {content.size} bytes, more than {limit}"))
        seen = self._seen(content)
        if seen is None:
            if content.complete or fail_mode is FailMode.OPEN or not self.rule.match.reads_content:
                return None
            return (*found, self._finding(TOO_LARGE))
        return (*found, *seen)

    def _seen(self, content: _Content) -> tuple[Finding, ...] | None:
        found: tuple[Finding, ...] = ()
        if self._scope is not None:
            violation = self._scope.violation(content.raw)
            if violation is None:
                return None
            found = (violation,)
        if self._content.is_empty:
            return found
        for part in content.parts:
            if (seen := self._content.find(part)) is not None:
                return found + seen
        if content.joined is not None and (seen := self._content.find(content.joined)) is not None:
            return found + seen
        return None

    def _finding(self, detail: str) -> Finding:
        return Finding(type="input_size", severity=self.rule.severity, detail=detail)


class InputHit(msgspec.Struct, frozen=True, eq=False):
    """An input rule that matched, what it decides, and why."""

    rule: InputRule
    decision: Decision
    reason: str
    findings: tuple[Finding, ...]

    def onto(self, outcome: Outcome) -> Outcome:
        """The outcome, tightened; a job that may still run some day keeps its constraints."""
        denied = self.decision is Decision.DENY
        return Outcome(
            decision=self.decision,
            decided_by=DecidedBy.INPUT_RULE,
            reason=self.reason,
            rule_id=RuleId(self.rule.id),
            constraints=NO_CONSTRAINTS if denied else outcome.constraints,
            findings=self.findings,
        )


class InputRules:
    """A policy's input rules. Invariants are asked by themselves, so that none of them hides behind another rule."""

    def __init__(self, document: PolicyDocument, scanners: ScannerSet) -> None:
        """Raises what `compile_policy` raises."""
        settings: InputPolicy = document.input_policy
        enabled = [rule for rule in document.input_rules if rule.enabled] if settings.enabled else []
        ordered = sorted(enabled, key=lambda rule: PRECEDENCE[rule.tier])
        compiled = [CompiledInputRule(rule, scanners) for rule in ordered]
        self.invariants = tuple(rule for rule in compiled if rule.rule.invariant)
        self.rules = tuple(rule for rule in compiled if not rule.rule.invariant)
        self._fail_mode = settings.fail_mode
        self._limit = settings.max_scan_bytes
        self._human = document.require_human
        self._strictest = document.combine is Combine.DENY_OVERRIDES

    def __bool__(self) -> bool:
        return bool(self.rules or self.invariants)

    def hit(self, request: PolicyRequest) -> InputHit | None:
        """The input rule that counts for this request; None when none matches."""
        content: _Content | None = None
        best: InputHit | None = None
        for rules in (self.invariants, self.rules):
            for rule in rules:
                if not rule.applies(request):
                    continue
                content = content or _Content(request, self._limit)
                findings = rule.findings(content, self._fail_mode)
                if findings is None:
                    continue
                hit = _hit(rule.rule, findings, self._human, request)
                if best is None or hit.decision.severity > best.decision.severity:
                    best = hit
                if best.decision is Decision.DENY:
                    return best
                if not self._strictest:
                    break
        return best


def _hit(rule: InputRule, findings: tuple[Finding, ...], human: RequireHuman, request: PolicyRequest) -> InputHit:
    decision = rule.decision
    if decision is Decision.DENY and not rule.invariant and _asks_a_human(rule, findings, human, request):
        decision = Decision.REQUIRE_APPROVAL
    return InputHit(rule, decision, _reason(rule, findings), findings)


def _asks_a_human(rule: InputRule, findings: Sequence[Finding], human: RequireHuman, request: PolicyRequest) -> bool:
    """Whether a denial becomes a question. The gravest and surest finding counts: a harmless one beside it must not
    make the grave one milder."""
    if human.downgrade_when_prompt_only and not request.labels.get(ACTION):
        return True
    if human.min_severity_for_deny is not None:
        gravest = max((finding.severity.rank for finding in findings), default=rule.severity.rank)
        if gravest < human.min_severity_for_deny.rank:
            return True
    surest = max((finding.confidence for finding in findings), default=0.0)
    return 0 < surest < human.min_confidence_for_deny


def _reason(rule: InputRule, findings: Sequence[Finding]) -> str:
    details = ", ".join(dict.fromkeys(finding.detail for finding in findings))
    if not details:
        return rule.reason or "input flagged by policy"
    return f"{rule.reason or 'input content flagged'}: {details}"[:_LONGEST_REASON]


def _content_types(match: ContentMatch) -> tuple[Matcher, ...]:
    if not match.content_types:
        return ()
    wanted = fold_all(match.content_types)

    def test(request: PolicyRequest) -> bool:
        said = request.content_type
        return said in wanted or said.partition(";")[0].strip() in wanted

    return (Matcher("content_types", ", ".join(match.content_types), test, lambda request: request.content_type),)
