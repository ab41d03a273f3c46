"""What lint finds, and the request it shows."""

import textwrap

import pytest

from cordum.core.output.scanners import ScannerSet
from cordum.core.policy.analysis.differences import compare
from cordum.core.policy.analysis.lint import lint, lint_source
from cordum.core.policy.analysis.note import Kind, Level, Note
from cordum.core.policy.analysis.testing import run_tests
from cordum.core.policy.document import PolicyTest
from cordum.core.policy.parse import parse_policy


def notes(text: str) -> list[Note]:
    return list(lint_source(textwrap.dedent(text).encode()))


def one(text: str, kind: Kind) -> Note:
    found = [note for note in notes(text) if note.kind is kind]
    assert len(found) == 1, notes(text)
    return found[0]


def test_a_denial_behind_an_allow_that_takes_all_of_it() -> None:
    note = one(
        """
        rules:
          - {id: read, match: {topics: ["job.read.*"]}, decision: allow}
          - {id: secret, match: {topics: [job.read.secret]}, decision: deny, reason: r}
        """,
        Kind.UNREACHABLE,
    )
    assert (note.level, note.rule_id, note.line) == (Level.ERROR, "secret", 4)
    assert note.witness == {"topic": "job.read.secret", "tenant": "default"}
    assert "rule read (line 3) allows" in note.message


def test_a_rule_that_several_rules_take_all_of_together() -> None:
    note = one(
        """
        rules:
          - {id: a, match: {topics: [job.a]}, decision: deny, reason: r}
          - {id: b, match: {topics: [job.b]}, decision: deny, reason: r}
          - {id: both, match: {topics: ["job.[ab]"]}, decision: require_approval}
        """,
        Kind.UNREACHABLE,
    )
    assert (note.level, note.rule_id) == (Level.WARNING, "both")
    assert "rules before it take all that it matches" in note.message


@pytest.mark.parametrize(
    "matches",
    [
        ("{labels: {env: prod}}", "{labels: {env: test}}"),
        ("{risk_tags: [a]}", "{risk_tags: [a, b]}"),
        ("{requires: [gpu, net]}", "{requires: [gpu]}"),
        ("{label_threshold: {amount: 100}}", "{label_threshold: {amount: 50}}"),
        ("{label_allowlist: {region: [us, eu]}}", "{label_allowlist: {region: [us]}}"),
        ('{topics: ["job.a*"]}', '{topics: ["job.*b"]}'),
        ("{secrets_present: true}", "{risk_tags: [secrets]}"),
        ("{mcp: {tools: [a]}}", "{mcp: {servers: [a]}}"),
    ],
)
def test_a_rule_that_still_has_something_of_its_own_is_reachable(matches: tuple[str, str]) -> None:
    text = f"""
        rules:
          - {{id: a, match: {matches[0]}, decision: deny, reason: r}}
          - {{id: b, match: {matches[1]}, decision: require_approval}}
        """
    assert [note.kind for note in notes(text)] == []


@pytest.mark.parametrize(
    "matches",
    [
        ("{risk_tags: [a, b]}", "{risk_tags: [A]}"),
        ("{requires: [gpu]}", "{requires: [gpu, net]}"),
        ("{label_threshold: {amount: 50}}", "{label_threshold: {amount: 100}}"),
        ("{label_allowlist: {region: [us]}}", "{label_allowlist: {region: [us, eu]}}"),
        ("{label_threshold: {amount: 50}}", '{labels: {amount: "60"}}'),
        ("{mcp: {servers: [github, jira]}}", "{mcp: {servers: [github], actions: [write]}}"),
        ("{secrets_present: true}", '{labels: {secrets_present: "yes"}}'),
        ("{tenants: [Acme, other]}", "{tenants: [acme], actor_types: [human]}"),
    ],
)
def test_a_rule_that_has_nothing_of_its_own_is_not(matches: tuple[str, str]) -> None:
    text = f"""
        rules:
          - {{id: a, match: {matches[0]}, decision: deny, reason: r}}
          - {{id: b, match: {matches[1]}, decision: require_approval}}
        """
    assert [(note.kind, note.rule_id) for note in notes(text)] == [(Kind.UNREACHABLE, "b")]


def test_with_deny_overrides_the_order_hides_nothing() -> None:
    text = """
        combine: deny_overrides
        rules:
          - {id: read, match: {topics: ["job.read.*"]}, decision: allow}
          - {id: secret, match: {topics: [job.read.secret]}, decision: deny, reason: r}
        """
    assert notes(text) == []


def test_an_allow_all_before_a_denial() -> None:
    note = one(
        """
        rules:
          - {id: all, match: {topics: ["job.*"]}, decision: allow}
          - {id: bad, match: {risk_tags: [bad]}, decision: deny, reason: r}
        """,
        Kind.ALLOW_ALL_FIRST,
    )
    assert note.level is Level.ERROR and note.rule_id == "bad"
    assert note.witness == {"topic": "job.a", "tenant": "default", "meta": {"risk_tags": ["bad"]}}


def test_a_denial_that_loses_a_part_to_an_allow() -> None:
    note = one(
        """
        rules:
          - {id: ours, match: {topics: ["job.ours.*"]}, decision: allow}
          - {id: bad, match: {risk_tags: [bad]}, decision: deny, reason: r}
        """,
        Kind.CONFLICT,
    )
    assert note.witness == {"topic": "job.ours.a", "tenant": "default", "meta": {"risk_tags": ["bad"]}}


def test_an_exception_before_the_rule_is_no_conflict() -> None:
    text = """
        rules:
          - {id: bad, match: {risk_tags: [bad]}, decision: deny, reason: r}
          - {id: ours, match: {topics: ["job.ours.*"]}, decision: allow}
        """
    assert notes(text) == []


def test_a_rule_no_job_can_match() -> None:
    text = """
        rules:
          - {id: dead, match: {topics: ["sys.*"]}, decision: deny, reason: r}
          - {id: torn, match: {label_threshold: {n: 5}, labels: {n: "4"}}, decision: deny, reason: r}
        """
    found = notes(text)
    assert [(note.kind, note.level, note.rule_id) for note in found] == [
        (Kind.NEVER_MATCHES, Level.ERROR, "dead"),
        (Kind.NEVER_MATCHES, Level.ERROR, "torn"),
    ]
    assert "job." in found[0].message and found[0].witness is None


def test_a_counting_rule_hides_nothing_and_is_reached() -> None:
    text = """
        rules:
          - {id: fast, decision: throttle, velocity: {max_requests: 5, window_seconds: 60, key: tenant}}
          - {id: rest, match: {topics: ["job.a"]}, decision: deny, reason: r}
        """
    assert notes(text) == []


def test_names_reasons_and_old_spellings() -> None:
    found = notes(
        """
        rules:
          - {match: {topics: [job.a]}, decision: deny}
          - {id: old, match: {mcp: {deny_tools: [fs.read]}}, decision: deny, reason: r}
        output_rules:
          - {match: {keywords: [x]}, decision: deny}
        """
    )
    assert [(note.kind, note.level, note.line) for note in found] == [
        (Kind.MISSING_ID, Level.WARNING, 3),
        (Kind.MISSING_REASON, Level.WARNING, 3),
        (Kind.OLD_MCP_LIST, Level.WARNING, 4),
        (Kind.MISSING_ID, Level.WARNING, 6),
        (Kind.MISSING_REASON, Level.WARNING, 6),
    ]
    assert "write tools" in found[2].message


def test_tenant_patterns_that_make_no_difference() -> None:
    found = notes(
        """
        rules: [{id: a, match: {topics: ["job.a"]}, decision: allow}]
        tenants:
          acme: {deny_topics: ["sys.*", "job.x.*", job.x.y], allow_topics: [job.x.z, job.a]}
        """
    )
    assert [note.kind for note in found] == [Kind.DEAD_TENANT_TOPIC] * 3
    assert {note.message.split('"')[1] for note in found} == {"sys.*", "job.x.y", "job.x.z"}


def test_content_rules_behind_one_about_everything() -> None:
    found = notes(
        """
        rules: [{id: a, match: {topics: ["job.a.*"]}, decision: allow}]
        input_rules:
          - {id: ask, match: {topics: ["job.*"]}, decision: require_approval, reason: r}
          - {id: bomb, match: {topics: ["job.a.*"], keywords: [bomb]}, decision: deny, reason: r}
          - {id: other, match: {topics: ["job.*/x"], keywords: [bomb]}, decision: deny, reason: r}
        output_rules:
          - {id: pass, decision: allow}
          - {id: secret, match: {scanners: [secret]}, decision: quarantine, reason: r}
        """
    )
    assert [(note.kind, note.level, note.rule_id) for note in found] == [
        (Kind.UNREACHABLE, Level.ERROR, "bomb"),
        (Kind.UNREACHABLE, Level.ERROR, "secret"),
    ]
    assert found[0].witness == {"topic": "job.a.a", "tenant": "default"} and found[1].witness is None


def test_a_default_that_allows_is_shown() -> None:
    note = one(
        "default_decision: allow\nrules: [{id: a, match: {topics: [job.a]}, decision: allow}]", Kind.DEFAULT_ALLOW
    )
    assert note.level is Level.HINT and note.witness is not None


def test_many_rules_are_linted_within_seconds() -> None:
    rules = "".join(
        f"  - {{id: r{i}, match: {{topics: ['job.t{i % 40}.*'], capabilities: [c{i}]}}, "
        f"decision: {('allow', 'deny')[i % 2]}, reason: r}}\n"
        for i in range(1000)
    )
    assert [note for note in lint_source(f"rules:\n{rules}".encode()) if note.kind is not Kind.UNDECIDED] == []


def test_a_scanner_of_ones_own_is_no_obstacle() -> None:
    own = ScannerSet.load(b"scanners: {badge: {finding_type: badge, patterns: [{name: b, regex: 'B-[0-9]+'}]}}")
    text = b"input_rules: [{id: badges, match: {scanners: [badge]}, decision: deny, reason: r}]"
    document = parse_policy(text, scanners=own)
    assert lint(document, scanners=own) == ()
    assert compare(document, document, scanners=own).differences == ()
    report = run_tests(
        document,
        [PolicyTest(name="b", request={"topic": "job.a", "content": "B-17"}, expect={"decision": "deny"})],
        scanners=own,
    )
    assert report.passed
