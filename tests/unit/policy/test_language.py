"""The parts of the language that no vector shows: derivers, counting, agents, hosts, approvals, combining."""

import textwrap
from typing import Any

import pytest

from cordum.core.policy.compile import CompiledPolicy, Delegation, compile_policy
from cordum.core.policy.decision import ApprovalTerms, Decision
from cordum.core.policy.errors import PolicyError
from cordum.core.policy.evaluate import evaluate, explain, velocity_queries
from cordum.core.policy.merge import INVARIANTS, Fragment, merge
from cordum.core.policy.parse import parse_policy
from cordum.core.policy.request import policy_request
from cordum.core.policy.velocity import VelocityQuery

ALLOW, AWC, DENY = Decision.ALLOW, Decision.ALLOW_WITH_CONSTRAINTS, Decision.DENY
APPROVAL, THROTTLE = Decision.REQUIRE_APPROVAL, Decision.THROTTLE


def policy(text: str) -> CompiledPolicy:
    return compile_policy(parse_policy(textwrap.dedent(text).encode()))


def ask(on: CompiledPolicy, topic: str = "job.x", **fields: Any) -> tuple[Decision, str]:
    outcome = evaluate(on, policy_request(topic, **fields))
    return outcome.decision, outcome.rule_id


BANK = policy("""
    rules:
      - {id: blocked, match: {risk_tags: [blocked]}, decision: deny}
      - {id: review, match: {risk_tags: [review]}, decision: require_approval}
      - {id: low, match: {risk_tags: [low, finance]}, decision: allow}
""")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"labels": {"_content.payload_json": '{"amount": 99.9}'}}, "low"),
        ({"labels": {"_content.payload_json": '{"amount": "100"}'}}, "review"),
        ({"content": b'{"amount": 299}'}, "review"),
        ({"content": b'{"amount": 300}'}, "blocked"),
        ({"labels": {"_content.prompt": '{"amount": 5}'}}, "low"),
        ({"labels": {"_content.payload_json": "{}"}, "content": b'{"amount": 5}'}, "low"),
        ({"content": b'{"amount": 0}'}, "blocked"),
        ({"content": b'{"amount": -5}'}, "blocked"),
        ({"content": b'{"amount": "NaN"}'}, "blocked"),
        ({"content": b'{"amount": "lots"}'}, "blocked"),
        ({"content": b'{"amount": true}'}, "blocked"),
        ({"content": b"not JSON"}, "blocked"),
        ({}, "blocked"),
    ],
)
def test_the_amount_decides_the_risk_whatever_the_client_says(fields: dict[str, Any], expected: str) -> None:
    assert ask(BANK, "job.demo-mock-bank.transfer", risk_tags=["low"], **fields)[1] == expected
    assert ask(BANK, "job.elsewhere", risk_tags=["low"], **fields)[1] == "low"


MCP_OPS = policy("""
    default_decision: allow
    rules:
      - {id: no, match: {risk_tags: [destructive]}, decision: deny}
      - {id: ask, match: {risk_tags: [unknown]}, decision: require_approval}
    risk_tag_derivers:
      "job.mcp.*":
        deriver: mcp-op
        mcp_op_rules:
          - {op_glob: "github.Delete*", tags: [destructive]}
          - {op_glob: "drop_*", labels: {env: prod}, tags: [destructive]}
          - {op_glob: "get_*", tags: [harmless]}
        default_risk_tags: [unknown]
""")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"mcp.server": "GitHub", "mcp.tool": "delete_repo"}, "no"),
        ({"mcp.server": "gitlab", "mcp.tool": "delete_repo"}, "ask"),
        ({"mcp.tool": "drop_db", "env": "prod"}, "no"),
        ({"mcp.tool": "drop_db", "env": "dev"}, "ask"),
        ({"mcp.tool": "get_issue"}, ""),
        ({"mcp.tool": "get_issue", "mcpTool": "drop_db", "env": "prod"}, "no"),
        ({}, "ask"),
    ],
)
def test_the_operation_decides_the_risk(labels: dict[str, str], expected: str) -> None:
    assert ask(MCP_OPS, "job.mcp.call", labels=labels, risk_tags=["harmless"])[1] == expected


LIMITED = policy("""
    rules:
      - id: fast
        match: {topics: ["job.a*"]}
        velocity: {max_requests: 5, window_seconds: 60, key: "tenant:labels.user"}
        decision: throttle
        throttle: {retry_after_ms: 1500}
      - {id: ok, decision: allow}
      - {id: late, velocity: {max_requests: 1, window_seconds: 1, key: topic}, decision: deny}
""")


def test_what_must_be_counted_is_asked_beforehand_and_only_that() -> None:
    request = policy_request("job.a", tenant="acme", labels={"user": "a:b c"}, job_id="j1")

    assert velocity_queries(LIMITED, request) == (VelocityQuery("fast", "acme:a%3Ab%20c", 60, 5, "j1"),)
    assert velocity_queries(LIMITED, policy_request("job.b")) == ()
    assert velocity_queries(LIMITED, policy_request("sys.a")) == ()
    assert LIMITED.counts
    assert not BANK.counts


def test_a_counting_rule_applies_only_beyond_its_limit() -> None:
    request = policy_request("job.a")

    assert evaluate(LIMITED, request).rule_id == "ok"
    outcome = evaluate(LIMITED, request, {"fast"})
    assert (outcome.decision, outcome.rule_id, outcome.retry_after_ms) == (THROTTLE, "fast", 1500)
    assert evaluate(LIMITED, policy_request("job.b"), {"fast", "late"}).rule_id == "ok"


def test_what_could_not_be_counted_asks_a_human() -> None:
    outcome = evaluate(LIMITED, policy_request("job.a"), frozenset(), {"fast"})

    assert (outcome.decision, outcome.rule_id, outcome.reason) == (APPROVAL, "fast", "velocity check unavailable")


def test_leaving_a_part_of_the_key_out_is_a_value_of_its_own() -> None:
    def key(**labels: str) -> str:
        (query,) = velocity_queries(LIMITED, policy_request("job.a", tenant="t", labels=labels))
        return query.key

    assert key() == "t:!"
    assert len({key(), key(user="!"), key(user="x"), key(user="x:y"), key(user="-")}) == 5
    assert len(key(user="x" * 10_000)) < 100


def test_every_counting_rule_is_asked_about_where_the_strictest_counts() -> None:
    on = policy("""
        combine: deny_overrides
        rules:
          - {id: ok, decision: allow}
          - {id: late, velocity: {max_requests: 1, window_seconds: 1, key: topic}, decision: deny}
    """)
    request = policy_request("job.a")

    assert [query.rule_id for query in velocity_queries(on, request)] == ["late"]
    assert evaluate(on, request).decision is ALLOW
    assert evaluate(on, request, {"late"}).decision is DENY


def test_the_agent_is_known_by_what_the_gateway_says_of_it() -> None:
    on = policy("""
        rules:
          - {id: risky, match: {agent_risk_tiers: [High]}, decision: deny}
          - {id: pii, match: {agent_data_classifications: [PII]}, decision: allow}
    """)
    assert ask(on, labels={"_agent.risk_tier": " high "}) == (DENY, "risky")
    assert ask(on, labels={"_agent.data_classifications": "public, pii"}) == (ALLOW, "pii")
    assert ask(on) == (DENY, "")


@pytest.mark.parametrize(
    ("labels", "decision"),
    [
        ({"repo.host": "GitHub.example.com."}, ALLOW),
        ({"repo.host": "a.b.example.com"}, ALLOW),
        ({"repo.host": "evil.example.com"}, DENY),
        ({"repo.host": "example.com"}, DENY),
        ({"repo.host": ""}, DENY),
        ({}, ALLOW),
    ],
)
def test_a_tenants_repositories(labels: dict[str, str], decision: Decision) -> None:
    on = policy("""
        rules: [{id: r, decision: allow}]
        tenants: {default: {allowed_repo_hosts: ["*.example.com"], denied_repo_hosts: [evil.example.com]}}
    """)
    assert ask(on, labels=labels)[0] is decision


def test_the_strictest_rule_counts_where_the_policy_says_so() -> None:
    rules = """
        rules:
          - {id: ok, decision: allow}
          - {id: ask, match: {topics: [job.x]}, decision: require_approval}
          - {id: ask2, match: {topics: [job.x]}, decision: require_approval, approval: {required: 2}}
          - {id: no, match: {risk_tags: [t]}, decision: deny}
    """
    first, strict = policy(rules), policy(rules + "\n        combine: deny_overrides\n")

    assert ask(first, risk_tags=["t"]) == (ALLOW, "ok")
    assert ask(strict, risk_tags=["t"]) == (DENY, "no")
    assert ask(strict) == (APPROVAL, "ask2")
    assert ask(strict, "job.y") == (ALLOW, "ok")


def test_of_two_approvals_the_harder_one_is_asked_for() -> None:
    base = "rules: [{id: one, decision: require_approval, constraints: {budgets: {max_retries: 1}}}]"
    hard = "rules: [{id: two, decision: require_approval, approval: {required: 2, roles: [secops]}}]"
    merged = merge([Fragment("", parse_policy(base.encode())), Fragment(INVARIANTS, parse_policy(hard.encode()))])
    outcome = evaluate(compile_policy(merged), policy_request("job.x"))

    assert (outcome.rule_id, outcome.approval) == ("two", ApprovalTerms(required=2, roles=("secops",)))
    assert outcome.constraints.budgets.max_retries == 1


def test_rules_that_go_by_delegation_are_refused_where_nobody_verifies_it() -> None:
    for match in ("predicate: delegation.depth > 1", "delegation: {max_depth: 1}"):
        document = parse_policy(f"rules: [{{id: r, match: {{{match}}}}}]".encode())
        compile_policy(document)
        with pytest.raises(PolicyError, match='rule "r": goes by delegation'):
            compile_policy(document, delegation=Delegation.REFUSED)


@pytest.mark.parametrize(
    ("match", "labels", "holds"),
    [
        ("predicate: delegation.issuer == 'Bob'", {"issuer": "bob"}, True),
        ("predicate: delegation.issuer == 'bob'", {"issuer": "eve"}, False),
        ("predicate: delegation.scope.contains('read')", {"scope": "write, READ"}, True),
        ("predicate: delegation.scope.contains('read')", {"scope": "reader"}, False),
        ("delegation: {issuers: [a, b]}", {"depth": "1", "issuer": "A", "issuer_chain": "a,b"}, True),
        ("delegation: {issuers: [a, b]}", {"depth": "1", "issuer": "a", "issuer_chain": "a,c"}, False),
        ("delegation: {issuers: [a, b]}", {"depth": "1"}, False),
        ("delegation: {require_issuer: a}", {"issuer": "a"}, True),
        ("delegation: {require_issuer: a}", {"issuer": "b"}, False),
        ("delegation: {delegation_required: true}", {"depth": "1"}, True),
        ("delegation: {delegation_required: true}", {}, False),
    ],
)
def test_conditions_on_delegation(match: str, labels: dict[str, str], holds: bool) -> None:
    on = policy(f"rules: [{{id: r, match: {{{match}}}, decision: allow}}]")
    said = {f"_delegation.{name}": value for name, value in labels.items()}

    assert ask(on, labels=said) == ((ALLOW, "r") if holds else (DENY, ""))


def test_an_edge_sessions_rules() -> None:
    on = policy("""
        rules:
          - {id: s, tier: job, selector: {session_id: session/abc/policy}, decision: allow}
    """)
    for labels in (
        {"session_id": "abc"},
        {"edge.session_id": "session/abc/policy"},
        {"policy.attachment_id": "session/abc/policy"},
    ):
        assert ask(on, job_id="j", labels=labels) == (ALLOW, "s")
    assert ask(on, job_id="abc") == (DENY, "")
    assert on.job_ids == frozenset()


def test_an_explanation_shows_tiers_steps_and_near_misses() -> None:
    on = compile_policy(
        merge(
            [
                Fragment(
                    "",
                    parse_policy(b"""
rules:
  - {id: near, match: {topics: [job.x], capabilities: [pay]}, decision: deny}
  - {id: w, tier: workflow, selector: {workflow_id: f}, decision: allow}
input_rules: [{id: kw, match: {keywords: [bomb]}, decision: deny}]
tenants: {default: {max_concurrent_jobs: 2}}
"""),
                ),
                Fragment(INVARIANTS, parse_policy(b"rules: [{id: inv, match: {topics: [job.y]}, decision: deny}]")),
            ]
        )
    )
    request = policy_request("job.x", labels={"workflow_id": "f"}, effective_config=b"{}", content=b"a bomb")
    explanation = explain(on, request)

    assert [(step.name, step.decision) for step in explanation.steps] == [
        ("rules", ALLOW),
        ("invariants", ALLOW),
        ("tenant", AWC),
        ("effective_config", AWC),
        ("input_rules", DENY),
    ]
    assert explanation.outcome.findings[0].detail == "keyword matched: bomb"
    tried = {note.rule_id: (note.matched, note.tier, note.bundle) for note in explanation.tried}
    assert tried["w"] == (True, "workflow", "")
    misses = {note.rule_id: (note.matcher, note.wanted) for note in explanation.near_misses}
    assert misses["near"] == ("capabilities", "pay")
    assert misses["inv"] == ("topics", "job.y")
