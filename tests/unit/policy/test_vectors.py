"""The vectors of spec-safety section 12 that concern what is built; where it marks a defect, ours is tested."""

import textwrap
from typing import Any

import pytest

from cordum.core.policy.compile import CompiledPolicy, compile_policy
from cordum.core.policy.decision import Decision
from cordum.core.policy.evaluate import evaluate
from cordum.core.policy.parse import parse_policy
from cordum.core.policy.request import policy_request

ALLOW, AWC, DENY = Decision.ALLOW, Decision.ALLOW_WITH_CONSTRAINTS, Decision.DENY
APPROVAL, THROTTLE = Decision.REQUIRE_APPROVAL, Decision.THROTTLE


def policy(text: str) -> CompiledPolicy:
    return compile_policy(parse_policy(textwrap.dedent(text).encode()))


def ask(on: CompiledPolicy, topic: str = "job.x", **fields: Any) -> tuple[Decision, str]:
    outcome = evaluate(on, policy_request(topic, tenant=fields.pop("tenant", "default"), **fields))
    return outcome.decision, outcome.rule_id


V1 = policy("""
    default_decision: deny
    rules:
      - {id: a, match: {topics: ["job.read.*"]}, decision: allow}
      - {id: d, match: {topics: [job.read.secret]}, decision: deny}
""")


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("job.read.x", (ALLOW, "a")),
        ("job.read.secret", (ALLOW, "a")),
        ("job.read", (DENY, "")),
        ("job.read.a.b", (ALLOW, "a")),
        ("job.read.a/b", (DENY, "")),
        ("JOB.read.x", (DENY, "")),
        ("sys.x", (DENY, "")),
        ("", (DENY, "")),
    ],
)
def test_1_the_first_rule_in_document_order_decides(topic: str, expected: tuple[Decision, str]) -> None:
    assert ask(V1, topic) == expected


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("", "missing topic"),
        ("sys.x", "unsupported topic"),
        ("JOB.read.x", "unsupported topic"),
        ("job.read", "no matching rule — default policy: deny"),
    ],
)
def test_1_a_denial_without_a_rule_says_why(topic: str, reason: str) -> None:
    assert evaluate(V1, policy_request(topic)).reason == reason


V2 = policy("""
    rules:
      - id: pay
        match: {capabilities: [payments.send], risk_tags: [finance]}
        decision: require_approval
        reason: money
        constraints: {budgets: {max_runtime_ms: 1000}}
      - id: del
        match: {risk_tags: [destructive]}
        decision: deny
        remediations: [{id: r1, title: Use a dry run, replacement_topic: job.dry}]
      - id: rest
        match: {topics: ["job.*"]}
        decision: permit
        reason: never shown
        constraints: {redaction_level: strict}
""")


def test_2_capability_and_risk_tag_ignore_case_and_constraints_travel_with_the_approval() -> None:
    outcome = evaluate(V2, policy_request("job.x", capability="Payments.Send", risk_tags=["FINANCE"]))

    assert (outcome.decision, outcome.rule_id, outcome.reason) == (APPROVAL, "pay", "money")
    assert outcome.constraints.budgets.max_runtime_ms == 1000


def test_2_a_denial_carries_its_remediations() -> None:
    outcome = evaluate(V2, policy_request("job.x", risk_tags=["destructive"]))

    assert (outcome.decision, outcome.rule_id) == (DENY, "del")
    assert [remediation.replacement_topic for remediation in outcome.remediations] == ["job.dry"]


def test_2_an_allow_with_constraints_is_constrained_and_gives_no_reason() -> None:
    outcome = evaluate(V2, policy_request("job.x"))

    assert (outcome.decision, outcome.rule_id, outcome.reason) == (AWC, "rest", "")
    assert outcome.constraints.redaction_level == "strict"


V3 = policy("""
    rules:
      - {id: sec, match: {secrets_present: true}, decision: require-approval}
      - {id: req, match: {requires: [gpu, net]}, decision: throttle}
      - {id: hum, match: {actor_types: [human], actor_ids: [alice]}, decision: allow}
""")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"labels": {"secrets_present": "yes"}}, (APPROVAL, "sec")),
        ({"risk_tags": ["Secrets"]}, (APPROVAL, "sec")),
        ({"requires": ["gpu", "net", "z"]}, (THROTTLE, "req")),
        ({"requires": ["gpu"], "actor_id": "alice", "actor_type": "human"}, (ALLOW, "hum")),
        ({"labels": {"secrets_present": "false"}, "risk_tags": ["secrets"]}, (DENY, "")),
        # ✗ 4: the word counts in any case.
        ({"labels": {"secrets_present": "TRUE"}}, (APPROVAL, "sec")),
    ],
)
def test_3_and_4_secrets_requirements_and_actors(fields: dict[str, Any], expected: tuple[Decision, str]) -> None:
    assert ask(V3, **fields) == expected


def test_4_an_empty_label_value_needs_the_label_to_be_there() -> None:
    on = policy('rules: [{id: e, match: {labels: {env: ""}}, decision: allow}]')

    assert ask(on, labels={"other": "1"}) == (DENY, "")
    assert ask(on, labels={"env": ""}) == (ALLOW, "e")


V8 = policy("""
    rules:
      - {id: no, match: {risk_tags: [destructive]}, decision: deny}
      - {id: yes, match: {topics: ["job.*"]}, decision: allow}
""")


@pytest.mark.parametrize("label", ["mcp.server", "mcp_server", "mcpServer", "mcp.tool", "mcp.action"])
def test_7_and_8_mcp_labels_never_make_a_denial_disappear(label: str) -> None:
    assert ask(V8, risk_tags=["destructive"], labels={label: "github"}) == (DENY, "no")
    assert ask(V8, labels={label: "github"}) == (ALLOW, "yes")


def test_9_neither_an_mcp_label_nor_the_edge_topic_skips_a_rule() -> None:
    on = policy('{default_decision: allow, rules: [{id: d, match: {topics: ["job.*"]}, decision: deny}]}')

    assert ask(on) == (DENY, "d")
    assert ask(on, labels={"mcp.action": "read"}) == (DENY, "d")
    assert ask(on, "job.edge.action") == (DENY, "d")


def test_10_a_tenants_denied_topics_count_beside_rules_and_end_the_need_for_approval() -> None:
    on = policy("""
        rules: [{id: any, decision: require_approval}]
        tenants: {default: {deny_topics: [job.x]}}
    """)

    outcome = evaluate(on, policy_request("job.x", tenant="default"))
    assert (outcome.decision, outcome.rule_id, outcome.reason) == (DENY, "any", 'topic "job.x" denied by tenant policy')
    assert ask(on, "job.y") == (APPROVAL, "any")
    assert ask(on, "job.x", tenant="other") == (APPROVAL, "any")


def test_11_without_rules_the_tenants_lists_decide() -> None:
    on = policy('tenants: {default: {allow_topics: ["job.*"], deny_topics: ["job.danger.*"]}}')

    assert ask(on, "job.ok") == (ALLOW, "legacy:default:allow:1")
    assert ask(on, "job.danger.x") == (DENY, "legacy:default:deny:1")
    assert ask(on, "job.ok", tenant="other") == (DENY, "")


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
        (b'{"safety":{"mcp":{"deny_tools":["x"]}}}', "job.b", (DENY, "a")),
        (b'{"safety":{"mcp":{"deny_tools":[]},"denied_topics":[]},"other":1}', "job.b", (ALLOW, "a")),
        (b"null", "job.a", (DENY, "a")),
        (b"\xff\xfe", "job.a", (DENY, "a")),
        (b"[" * 100_000, "job.a", (DENY, "a")),
        (b"{}", "job.a", (ALLOW, "a")),
    ],
)
def test_15_an_effective_configuration_only_tightens_and_an_unreadable_one_denies(
    config: bytes, topic: str, expected: tuple[Decision, str]
) -> None:
    assert ask(V15, topic, effective_config=config) == expected


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
