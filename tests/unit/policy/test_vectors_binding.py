"""Vectors 15 to 21 of spec-safety section 12: what tightens, binds, merges, loads. Those of output stand beside it."""

import pytest
from tests.unit.policy.asking import ALLOW, APPROVAL, AWC, DENY, THROTTLE, ask, policy, with_invariants

from cordum.core.policy.decision import Decision
from cordum.core.policy.document import FailMode
from cordum.core.policy.errors import PolicyError
from cordum.core.policy.evaluate import evaluate
from cordum.core.policy.merge import Fragment, merge
from cordum.core.policy.parse import parse_policy
from cordum.core.policy.request import policy_request

V15 = policy('rules: [{id: a, match: {topics: ["job.*"]}, decision: allow}]')


@pytest.mark.parametrize(
    ("config", "topic", "expected"),
    [
        (b'{"safety":{"denied_topics":["job.a"]}}', "job.a", (DENY, "a")),
        (b'{"safety":{"denied_topics":["job.a"]}}', "job.b", (ALLOW, "a")),
        (b'{"data":{"safety":{"allowed_topics":["job.b*"]}}}', "job.a", (DENY, "a")),
        (b'{"data":{"safety":{"allowed_topics":["job.b*"]}}}', "job.bc", (ALLOW, "a")),
        (b"{bad", "job.a", (DENY, "a")),
        (b'{"safety":{"denied_topics":"job.a"}}', "job.b", (DENY, "a")),
        (b'{"safety":{"denied_topics":["["]}}', "job.b", (DENY, "a")),
        (b'{"safety":{"mcp":{"deny_tools":["x"]}}}', "job.b", (ALLOW, "a")),
        (b'{"safety":{"mcp":{"deny_tools":[]},"denied_topics":[]},"other":1}', "job.b", (ALLOW, "a")),
        (b"null", "job.a", (DENY, "a")),
        (b"\xff\xfe", "job.a", (DENY, "a")),
        (b"[" * 100_000, "job.a", (DENY, "a")),
        (b"{}", "job.a", (ALLOW, "a")),
        (b'{"safety":{"mcp":{"dney_tools":["x"]}}}', "job.b", (DENY, "a")),
    ],
)
def test_15_an_effective_configuration_only_tightens_and_an_unreadable_one_denies(
    config: bytes, topic: str, expected: tuple[Decision, str]
) -> None:
    assert ask(V15, topic, effective_config=config) == expected


@pytest.mark.parametrize(("tool", "decision"), [("get_issue", ALLOW), ("drop_db", DENY), ("other", DENY), ("", DENY)])
def test_15_an_effective_configuration_bounds_mcp(tool: str, decision: Decision) -> None:
    on = policy("rules: [{id: a, match: {mcp: {servers: [s]}}, decision: allow}]")
    config = (
        b'{"safety":{"mcp":{"deny_tools":["drop_db"]}},'
        b'"data":{"safety":{"mcp":{"allow_tools":["get_issue","drop_db"]}}}}'
    )

    assert ask(on, labels={"mcp.server": "s", "mcp.tool": tool}, effective_config=config) == (decision, "a")


V16 = policy("""
    default_decision: allow
    rules:
      - {id: reg, match: {label_allowlist: {region: [us, eu]}}, decision: deny}
      - {id: big, match: {label_threshold: {amount: 100}}, decision: require_human}
""")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"region": "cn"}, (DENY, "reg")),
        ({"region": "EU", "amount": "100"}, (ALLOW, "")),
        ({"amount": "100.01"}, (APPROVAL, "big")),
        ({"amount": "abc"}, (ALLOW, "")),
        ({"amount": "NaN"}, (APPROVAL, "big")),
        ({"amount": "-nan"}, (APPROVAL, "big")),
        ({"amount": "inf"}, (APPROVAL, "big")),
        ({"amount": "-inf"}, (ALLOW, "")),
        ({"amount": " 1e3 "}, (APPROVAL, "big")),
        ({"amount": "0x1p10"}, (APPROVAL, "big")),
        ({"amount": "0x1p99999"}, (APPROVAL, "big")),
        ({"amount": "0" * 600 + "1"}, (APPROVAL, "big")),
        ({}, (ALLOW, "")),
    ],
)
def test_16_label_lists_and_thresholds(labels: dict[str, str], expected: tuple[Decision, str]) -> None:
    assert ask(V16, labels=labels) == expected


V17 = """
    rules:
      - {id: secret, match: {labels: {path.class: secret}}, decision: require_approval}
      - {id: rest, match: {topics: ["job.*"]}, decision: allow, constraints: {budgets: {max_retries: 1}}}
"""


@pytest.mark.parametrize(
    ("topic", "labels", "expected"),
    [
        ("job.x", {"path.class": "secret"}, (APPROVAL, "secret")),
        ("job.x", {}, (ALLOW, "base")),
        ("job.edge.action", {}, (AWC, "rest")),
        ("job.edge.action", {"path.class": "secret"}, (APPROVAL, "secret")),
    ],
)
def test_17_invariants_bind_first_and_permit_last(
    topic: str, labels: dict[str, str], expected: tuple[Decision, str]
) -> None:
    on = with_invariants("rules: [{id: base, match: {topics: ['job.*']}, decision: allow}]", V17)

    assert ask(on, topic, labels=labels) == expected


V18 = policy("""
    rules:
      - {id: deep, match: {predicate: delegation.depth > 2}, decision: deny}
      - {id: scoped, match: {delegation: {max_depth: 2, required_scope: [read]}}, decision: allow}
      - {id: direct, match: {delegation: {forbid_delegated: true}}, decision: require_approval}
""")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"depth": "3", "issuer": "a", "scope": "read"}, (DENY, "deep")),
        ({"depth": "1", "issuer": "a", "scope": "READ,write"}, (ALLOW, "scoped")),
        ({}, (APPROVAL, "direct")),
        ({"depth": "1", "issuer": "a"}, (DENY, "")),
        ({"depth": "many", "scope": "read"}, (DENY, "deep")),
        ({"depth": "NaN", "scope": "read"}, (DENY, "deep")),
    ],
)
def test_18_delegation(labels: dict[str, str], expected: tuple[Decision, str]) -> None:
    assert ask(V18, labels={f"_delegation.{name}": value for name, value in labels.items()}) == expected


V19 = policy("""
    default_decision: allow
    input_rules:
      - id: scope
        match: {scope: {instruction_path: ask, items_path: items, allowed_categories: {grocery: [dairy]}}}
        decision: deny
""")


@pytest.mark.parametrize(
    ("content", "decision"),
    [
        (b'{"ask":"weekly grocery run","items":[{"name":"milk","category":"Dairy"}]}', ALLOW),
        (b'{"ask":"weekly grocery run","items":[{"name":"card","category":"gift-card"}]}', DENY),
        (b"", DENY),
        (b'{"ask":"buy stuff","items":[{"name":"milk","category":"dairy"}]}', DENY),
    ],
)
def test_19_what_goes_beyond_the_instruction_is_denied(content: bytes, decision: Decision) -> None:
    assert ask(V19, content=content)[0] is decision


def test_20_merging() -> None:
    first = parse_policy(b"""
version: v1
rules: [{id: r1, decision: deny}, {id: r2, match: {topics: [job.two]}, decision: allow}]
tenants: {a: {max_concurrent_jobs: 5}}
output_policy: {enabled: true}
""")
    second = parse_policy(b"""
version: v2
rules: [{id: r1, match: {topics: [job.one]}, decision: allow}, {id: r3, decision: throttle}]
tenants: {a: {max_concurrent_jobs: 2}}
output_policy: {enabled: false}
input_policy: {fail_mode: open, max_scan_bytes: 7}
""")
    merged = merge([Fragment("", first), Fragment("b", second)])

    assert merged.version == "v1"
    assert [(rule.id, rule.decision) for rule in merged.rules] == [("r1", ALLOW), ("r2", ALLOW), ("r3", THROTTLE)]
    assert merged.tenants["a"].max_concurrent_jobs == 2
    assert merged.output_policy is not None
    assert merged.output_policy.enabled is True
    assert (merged.input_policy.fail_mode, merged.input_policy.max_scan_bytes) == (FailMode.OPEN, 7)


@pytest.mark.parametrize("text", ["rules: [{id: r, decision: dney}]", "rules: [{id: r, match: {keywords: [x]}}]"])
def test_21_what_cannot_be_understood_does_not_load(text: str) -> None:
    with pytest.raises(PolicyError):
        policy(text)


def test_21_a_denial_with_a_bad_pattern_does_not_load() -> None:
    with pytest.raises(PolicyError, match="bad pattern"):
        policy('{default_decision: allow, rules: [{id: r, match: {topics: ["job.["]}, decision: deny}]}')


def test_21_a_rule_without_decision_denies_and_one_without_match_matches_everything() -> None:
    assert ask(policy("{default_decision: allow, rules: [{id: r}]}")) == (DENY, "r")


def test_21_allow_with_constraints_needs_no_constraints() -> None:
    outcome = evaluate(policy("rules: [{id: r, decision: allow_with_constraints}]"), policy_request("job.x"))

    assert outcome.decision is AWC
    assert outcome.constraints.is_empty


def test_a_rule_without_id_is_named_by_its_place() -> None:
    assert ask(policy("rules: [{match: {topics: [job.a]}}, {decision: allow}]")) == (ALLOW, "rule-2")


def test_an_empty_tenant_is_the_default_tenant() -> None:
    on = policy("{default_tenant: Acme, rules: [{id: r, match: {tenants: [acme]}, decision: allow}]}")

    assert ask(on, tenant="") == (ALLOW, "r")
    assert ask(on, tenant=" ACME ") == (ALLOW, "r")
    assert ask(on, tenant="other") == (DENY, "")


def test_an_allow_list_of_a_tenant_bounds_what_rules_allow() -> None:
    on = policy("""
        rules: [{id: r, decision: allow}]
        tenants: {acme: {allow_topics: ["job.a.*"]}}
    """)

    assert ask(on, "job.a.x", tenant="acme") == (ALLOW, "r")
    assert ask(on, "job.b.x", tenant="acme") == (DENY, "r")
    assert ask(on, "job.b.x", tenant="other") == (ALLOW, "r")


def test_a_tenants_job_limit_joins_the_constraints_and_the_smaller_one_counts() -> None:
    on = policy("""
        rules:
          - {id: five, match: {topics: [job.five]}, decision: allow, constraints: {budgets: {max_concurrent_jobs: 5}}}
          - {id: one, match: {topics: [job.one]}, decision: allow, constraints: {budgets: {max_concurrent_jobs: 1}}}
          - {id: none, decision: allow}
        tenants: {acme: {max_concurrent_jobs: 3}}
    """)

    def limit(topic: str) -> tuple[Decision, int]:
        outcome = evaluate(on, policy_request(topic, tenant="acme"))
        return outcome.decision, outcome.constraints.budgets.max_concurrent_jobs

    assert limit("job.five") == (AWC, 3)
    assert limit("job.one") == (AWC, 1)
    assert limit("job.none") == (AWC, 3)
    assert ask(on, "job.none", tenant="other") == (ALLOW, "none")


def test_equal_requests_get_the_very_same_outcome() -> None:
    on = policy(
        "{rules: [{id: r, decision: allow}], tenants: {default: {deny_topics: [job.x], max_concurrent_jobs: 2}}}"
    )

    for topic in ("job.x", "job.y"):
        request = policy_request(topic, tenant="default")
        assert evaluate(on, request) is evaluate(on, request)
