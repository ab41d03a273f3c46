"""Output rules: order, groups, what cannot be read, redaction (spec-safety section 10, vectors O1 to O4)."""

from typing import Any

import pytest

from cordum.core.output.engine import ContentTest
from cordum.core.output.finding import Severity, Source
from cordum.core.output.matching import Metadata
from cordum.core.output.rules import ContentState, OutputJudge, OutputRequest, OutputVerdict, compile_output
from cordum.core.output.scanners import UnknownScannerError
from cordum.core.policy.decision import OutputDecision
from cordum.core.policy.document import (
    ContentMatch,
    OutputPolicySettings,
    OutputRule,
    PolicyDocument,
    Selector,
    Tier,
)

ALLOW, DENY, QUARANTINE, REDACT = (
    OutputDecision.ALLOW,
    OutputDecision.DENY,
    OutputDecision.QUARANTINE,
    OutputDecision.REDACT,
)
AWS = b"AKIAABCDEFGHIJKLMNOP"


def rule(rule_id: str, decision: OutputDecision, reason: str = "", **match: Any) -> OutputRule:
    return OutputRule(id=rule_id, decision=decision, reason=reason, match=ContentMatch(**match))


def judge(*rules: OutputRule, settings: OutputPolicySettings | None = None) -> OutputJudge:
    return compile_output(PolicyDocument(output_rules=rules, output_policy=settings))


def check(judge: OutputJudge, content: bytes = b"", **fields: Any) -> OutputVerdict:
    fields.setdefault("size", len(content))
    fields.setdefault("has_error", bool(fields.get("error_message")))
    return judge.check(OutputRequest(topic=fields.pop("topic", "job.a"), content=content, **fields))


SECRET = rule("sec", QUARANTINE, scanners=("secret",))
O1 = judge(SECRET, rule("pii", REDACT, scanners=("pii",)), rule("size", DENY, size_gt=100))


class TestVectorO1:
    def test_a_secret_is_held_and_its_place_told(self) -> None:
        verdict = check(O1, b"key " + AWS + b" end")

        assert (verdict.decision, verdict.rule_id, verdict.reason) == (QUARANTINE, "sec", "AWS access key id")
        assert [(f.offset, f.length, f.confidence) for f in verdict.findings] == [(4, 20, 0.99)]

    def test_personal_data_is_redacted(self) -> None:
        verdict = check(O1, b"mail a@b.co card 4111 1111 1111 1111")

        assert verdict.decision is REDACT
        assert [(f.offset, f.length) for f in verdict.findings] == [(5, 6), (17, 19)]
        assert verdict.redacted == b"mail [REDACTED] card [REDACTED]"

    def test_size_is_strictly_exceeded(self) -> None:
        assert check(O1, b"x" * 101).decision is DENY
        assert check(O1, b"x" * 100).decision is ALLOW

    def test_an_error_message_is_looked_at_too(self) -> None:
        verdict = check(O1, error_message="token = 'abcdefgh12'")

        assert verdict.decision is QUARANTINE
        assert verdict.findings[0].source is Source.ERROR


class TestVectorO2:
    def test_rules_of_a_policy_switched_off_say_nothing(self) -> None:
        off = judge(SECRET, settings=OutputPolicySettings(enabled=False, fail_mode="closed"))

        assert check(off, AWS).decision is ALLOW
        assert off.is_empty

    @pytest.mark.parametrize(
        "settings", [None, OutputPolicySettings(enabled=True), OutputPolicySettings(fail_mode="open")]
    )
    def test_otherwise_they_are_active(self, settings: OutputPolicySettings | None) -> None:
        assert check(judge(SECRET, settings=settings), AWS).decision is QUARANTINE


class TestVectorO3:
    RULES = judge(rule("all", QUARANTINE, scanners=("secret",), keywords=("prod",), has_error=False))

    @pytest.mark.parametrize(
        ("content", "error", "held"),
        [
            (b"PROD " + AWS, "", True),
            (b"prod", "", False),
            (AWS, "", False),
            (b"prod " + AWS, "boom", False),
        ],
    )
    def test_all_groups_are_needed(self, content: bytes, error: str, held: bool) -> None:
        assert (check(self.RULES, content, error_message=error).decision is QUARANTINE) is held


@pytest.mark.parametrize(("content", "decision"), [(b"clean", ALLOW), (b"", ALLOW), (AWS, QUARANTINE)])
def test_vector_o4_clean_text_is_not_held_by_a_pattern(content: bytes, decision: OutputDecision) -> None:
    assert check(judge(rule("p", QUARANTINE, content_patterns=("AKIA[0-9A-Z]{16}",))), content).decision is decision


class TestOrder:
    def test_the_first_match_decides_and_allow_ends_the_search(self) -> None:
        both = judge(rule("ok", ALLOW, topics=("job.trusted.*",)), SECRET)

        assert check(both, AWS, topic="job.trusted.x").rule_id == "ok"
        assert check(both, AWS, topic="job.other").decision is QUARANTINE

    def test_a_rule_switched_off_is_passed_over(self) -> None:
        off = OutputRule(id="off", enabled=False, decision=DENY)

        assert check(judge(off), b"x").decision is ALLOW

    def test_rules_of_a_job_go_before_those_of_all(self) -> None:
        own = OutputRule(id="own", tier=Tier.JOB, selector=Selector(job_id="j1"), decision=ALLOW)
        rules = judge(SECRET, own)

        assert check(rules, AWS, job_id="j1").rule_id == "own"
        assert check(rules, AWS, job_id="j2").rule_id == "sec"

    def test_an_invariant_binds_whatever_goes_before(self) -> None:
        floor = OutputRule(id="floor", invariant=True, decision=QUARANTINE, match=ContentMatch(scanners=("secret",)))
        rules = judge(rule("ok", ALLOW), floor)

        assert check(rules, AWS).rule_id == "floor"
        assert check(rules, b"clean").rule_id == "ok"

    def test_an_invariant_redaction_and_a_rule_redact_both(self) -> None:
        floor = OutputRule(id="floor", invariant=True, decision=REDACT, match=ContentMatch(scanners=("pii",)))
        rules = judge(rule("r", REDACT, keywords=("hidden",)), floor)

        assert check(rules, b"a@b.co is hidden").redacted == b"[REDACTED] is [REDACTED]"

    def test_an_invariant_redaction_does_not_soften_a_denial(self) -> None:
        floor = OutputRule(id="floor", invariant=True, decision=REDACT, match=ContentMatch(scanners=("pii",)))

        assert check(judge(rule("no", DENY, keywords=("hidden",)), floor), b"a@b.co is hidden").decision is DENY


class TestReason:
    def test_the_rules_own_goes_before_the_findings(self) -> None:
        assert check(judge(rule("r", QUARANTINE, "because", scanners=("secret",))), AWS).reason == "because"

    @pytest.mark.parametrize(
        ("decision", "reason"),
        [
            (QUARANTINE, "output quarantined by policy"),
            (REDACT, "output requires redaction by policy"),
            (DENY, "output denied by policy"),
            (ALLOW, ""),
        ],
    )
    def test_without_either_there_is_a_plain_sentence(self, decision: OutputDecision, reason: str) -> None:
        assert check(judge(rule("r", decision)), b"x").reason == reason


class TestMetadata:
    @pytest.mark.parametrize(
        ("match", "fields", "matches"),
        [
            ({"topics": ("job.a*",)}, {"topic": "job.abc"}, True),
            ({"topics": ("job.a*",)}, {"topic": "JOB.abc"}, False),
            ({"tenants": (" Acme",)}, {"tenant": "acme"}, True),
            ({"tenants": ("acme",)}, {"tenant": ""}, False),
            ({"capabilities": ("Read", "Write")}, {"capabilities": ("WRITE",)}, True),
            ({"capabilities": ("read",)}, {}, False),
            ({"risk_tags": ("pii",)}, {"risk_tags": ("x", "PII")}, True),
            ({"risk_tags": ("pii",)}, {"risk_tags": ("x",)}, False),
            ({"content_types": ("text/html",)}, {"content_type": "Text/HTML; charset=utf-8"}, True),
            ({"content_types": ("text/*",)}, {"content_type": "text/csv"}, True),
            ({"content_types": ("text/html",)}, {"content_type": ""}, False),
            ({"size_gt": 10}, {"size": 11}, True),
            ({"size_gt": 10}, {"size": 10}, False),
            ({"has_error": True}, {"has_error": True}, True),
            ({"has_error": True}, {"has_error": False}, False),
            ({"has_error": False}, {"has_error": False}, True),
        ],
    )
    def test_each_part_is_asked(self, match: dict[str, Any], fields: dict[str, Any], matches: bool) -> None:
        verdict = check(judge(rule("r", DENY, **match)), b"", **fields)

        assert (verdict.decision is DENY) is matches

    def test_content_is_needed_only_where_it_can_decide(self) -> None:
        rules = judge(rule("big", DENY, size_gt=10), rule("s", QUARANTINE, topics=("job.a",), scanners=("secret",)))

        assert rules.needs_content(Metadata(topic="job.a", size=5))
        assert not rules.needs_content(Metadata(topic="job.a", size=11))
        assert not rules.needs_content(Metadata(topic="job.b", size=5))
        assert not judge().needs_content(Metadata(topic="job.a"))


class TestWhatCannotBeRead:
    def test_an_unreadable_result_is_held_where_content_matters(self) -> None:
        verdict = check(judge(SECRET), state=ContentState.UNREADABLE, size=7)

        assert (verdict.decision, verdict.reason) == (QUARANTINE, "pointer_unreadable")
        assert verdict.rule_id == "sec"

    def test_where_it_does_not_matter_it_is_not(self) -> None:
        rules = judge(rule("s", QUARANTINE, topics=("job.b",), scanners=("secret",)))

        assert check(rules, state=ContentState.UNREADABLE, size=7).decision is ALLOW

    def test_the_beginning_alone_is_not_enough_to_release(self) -> None:
        verdict = check(judge(SECRET), b"clean so far", state=ContentState.TRUNCATED, size=10_000)

        assert (verdict.decision, verdict.reason) == (QUARANTINE, "content_truncated")
        assert verdict.findings[0].severity is Severity.HIGH

    def test_the_beginning_may_be_enough_to_deny(self) -> None:
        rules = judge(rule("s", DENY, scanners=("secret",)))

        assert check(rules, AWS, state=ContentState.TRUNCATED, size=10_000).decision is DENY

    def test_the_beginning_cannot_be_redacted(self) -> None:
        rules = judge(rule("p", REDACT, scanners=("pii",)))

        verdict = check(rules, b"a@b.co", state=ContentState.TRUNCATED, size=10_000)

        assert (verdict.decision, verdict.redacted) == (QUARANTINE, None)

    def test_a_scan_that_takes_too_long_holds(self) -> None:
        request = OutputRequest(topic="job.a", content=b"clean", size=5)

        verdict = judge(SECRET).check(request, lambda: True)

        assert (verdict.decision, verdict.reason) == (QUARANTINE, "scan_timeout")


class TestRedaction:
    def test_everything_goes_that_the_rule_looks_for(self) -> None:
        content = b" ".join(b"user%d@example.com" % number for number in range(200))

        verdict = check(judge(rule("p", REDACT, scanners=("pii",))), content)

        assert verdict.redacted == b" ".join([b"[REDACTED]"] * 200)
        assert len(verdict.findings) == 10

    def test_more_than_can_be_told_takes_the_whole(self) -> None:
        verdict = check(judge(rule("p", REDACT, keywords=("xy",))), b"xy" * 30_000)

        assert verdict.redacted == b"[REDACTED]"

    def test_a_rule_without_content_takes_the_whole(self) -> None:
        verdict = check(judge(rule("p", REDACT, topics=("job.*",))), b"anything", error_message="oops")

        assert (verdict.redacted, verdict.redacted_error) == (b"[REDACTED]", "[REDACTED]")

    def test_an_error_message_is_redacted_beside_the_content(self) -> None:
        verdict = check(judge(rule("p", REDACT, scanners=("pii",))), b"fine", error_message="no such user a@b.co")

        assert (verdict.redacted, verdict.redacted_error) == (b"fine", "no such user [REDACTED]")


def test_a_rule_that_cannot_work_is_refused() -> None:
    with pytest.raises(UnknownScannerError):
        judge(rule("r", DENY, scanners=("nonsense",)))


def test_no_verdict_holds_the_secret() -> None:
    verdict = check(judge(SECRET), b"key " + AWS)

    assert AWS.decode() not in repr(verdict)
    assert ContentTest.compile(scanners=["secret"]).find(repr(verdict).encode()) is None
