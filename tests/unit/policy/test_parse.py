"""Reading policy documents: what loads, what is refused, and where the fault is said to be."""

import textwrap

import pytest

from cordum.core.output.finding import Severity
from cordum.core.policy.compile import compile_policy
from cordum.core.policy.decision import ApprovalTerms, Decision, OutputDecision
from cordum.core.policy.document import (
    Combine,
    DelegationMatch,
    FailMode,
    Match,
    McpMatch,
    PolicyDocument,
    Selector,
    Tier,
    Velocity,
)
from cordum.core.policy.errors import PolicyError
from cordum.core.policy.parse import MAX_BYTES, parse_policy


def load(text: str) -> PolicyDocument:
    return parse_policy(textwrap.dedent(text).lstrip("\n").encode())


def faults(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        load(text)
    return [str(fault) for fault in caught.value.faults]


def fault(text: str) -> str:
    found = faults(text)
    assert len(found) == 1, found
    return found[0]


def test_every_field_of_the_language_as_built() -> None:
    document = load("""
        version: 1
        tier: global
        default_tenant: acme
        default_decision: allow
        rules:
          - id: r1
            tier: global
            match:
              tenants: [acme]
              topics: ["job.*"]
              capabilities: [c]
              risk_tags: [t]
              requires: [gpu]
              pack_ids: [p]
              actor_ids: [a]
              actor_types: [Human, service]
              labels: {env: no, n: 5}
              label_allowlist: {region: [us]}
              label_threshold: {amount: 1e3}
              secrets_present: no
            decision: Allow_With_Constraints
            reason: because
            constraints:
              budgets: {max_runtime_ms: 1, max_retries: 2, max_artifact_bytes: 3, max_concurrent_jobs: 4}
              sandbox: {isolated: true, network_allowlist: [a], fs_read_only: [b], fs_read_write: [c]}
              toolchain: {allowed_tools: [t], allowed_commands: [ls]}
              diff: {max_files: 1, max_lines: 2, deny_path_globs: ["*.key"]}
              redaction_level: strict
            remediations:
              - {id: i, title: t, summary: s, replacement_topic: job.x, replacement_capability: c,
                 add_labels: {a: b}, remove_labels: [c]}
        tenants:
          acme: {allow_topics: ["job.*"], deny_topics: [], max_concurrent_jobs: 5}
    """)

    rule = document.rules[0]
    assert (document.version, document.default_tenant, document.default_decision) == ("1", "acme", Decision.ALLOW)
    assert rule.decision is Decision.ALLOW_WITH_CONSTRAINTS
    assert rule.match.labels == {"env": "no", "n": "5"}
    assert rule.match.secrets_present is False
    assert rule.match.actor_types == ("human", "service")
    assert rule.match.label_threshold == {"amount": 1000.0}
    assert rule.constraints.budgets.max_concurrent_jobs == 4
    assert rule.constraints.sandbox.isolated
    assert rule.constraints.diff.deny_path_globs == ("*.key",)
    assert rule.remediations[0].add_labels == {"a": "b"}
    assert document.tenants["acme"].max_concurrent_jobs == 5
    assert rule.line == 6


def test_every_section_of_the_language() -> None:
    document = load("""
        combine: deny_overrides
        rules:
          - id: agent
            tier: workflow
            selector: {workflow_id: w}
            match:
              mcp: {servers: [GitHub], allow_tools: [a], not_actions: [write]}
              agent_risk_tiers: [high]
              agent_data_classifications: [pii]
              predicate: delegation.depth > 2
              delegation: {max_depth: 2, issuers: [a], require_issuer: a, required_scope: [read]}
            velocity: {max_requests: 5, window_seconds: 60, key: "tenant:labels.user"}
            decision: require_approval
            approval: {required: 2, roles: [secops], expires_after: 1h30m, escalate_after: 600, escalate_to: [admin]}
          - {id: slow, decision: throttle, throttle: {retry_after_ms: 1500}}
        input_policy: {enabled: true, fail_mode: open, max_scan_bytes: 100}
        input_rules:
          - id: in
            severity: low
            match:
              content_types: [text/html]
              scanners: [secret_leak]
              detectors: [pii, secret]
              content_patterns: ["AKIA[A-Z]+"]
              keywords: [bomb]
              input_size_gt: 10
              max_input_bytes: 20
              scope: {instruction_path: a.b, items_path: items, allowed_categories: {food: [dairy]}}
            decision: require_human
        output_policy: {enabled: true, fail_mode: closed}
        output_rules:
          - {id: out, enabled: no, match: {output_size_gt: 5, has_error: false}, decision: redact}
        tenants:
          a:
            allowed_repo_hosts: ["*.example.com"]
            denied_repo_hosts: [evil.example]
            mcp: {deny_tools: [drop_db], allow_actions: [read]}
        require_human: {min_severity_for_deny: high, min_confidence_for_deny: 0.5, downgrade_when_prompt_only: true}
        risk_tag_derivers:
          job.mcp:
            mcp_op_rules: [{op_glob: "drop*", labels: {a: b}, tags: [t]}]
            default_risk_tags: [d]
        tests:
          - {name: t, request: {topic: job.a, n: 5, f: 1.5, yes: true, no: "true"}, expect: {decision: deny}}
    """)

    agent, slow = document.rules
    assert (agent.tier, agent.selector) == (Tier.WORKFLOW, Selector(workflow_id="w"))
    assert agent.match.mcp == McpMatch(servers=("GitHub",), tools=("a",), not_actions=("write",))
    assert agent.match.delegation == DelegationMatch(
        max_depth=2, issuers=("a",), require_issuer="a", required_scope=("read",)
    )
    assert agent.velocity == Velocity(max_requests=5, window_seconds=60, key="tenant:labels.user")
    assert agent.approval == ApprovalTerms(
        required=2, roles=("secops",), expires_after_s=5400, escalate_after_s=600, escalate_to=("admin",)
    )
    assert slow.retry_after_ms == 1500
    (into,) = document.input_rules
    assert (into.severity, into.decision) == (Severity.LOW, Decision.REQUIRE_APPROVAL)
    assert into.match.scanners == ("secret", "pii")
    assert into.match.size_gt == 20
    assert document.input_policy.fail_mode is FailMode.OPEN
    (out,) = document.output_rules
    assert (out.enabled, out.decision, out.match.has_error) == (False, OutputDecision.REDACT, False)
    assert document.combine is Combine.DENY_OVERRIDES
    assert document.tenants["a"].mcp.deny_tools == ("drop_db",)
    assert document.require_human.min_severity_for_deny is Severity.HIGH
    assert document.risk_tag_derivers["job.mcp"].mcp_op_rules[0].labels == {"a": "b"}
    assert document.tests[0].request == {"topic": "job.a", "n": 5, "f": 1.5, "yes": True, "no": "true"}


@pytest.mark.parametrize(
    ("decision", "wanted"),
    [
        ("deny", McpMatch(tools=("x",))),
        ("require_approval", McpMatch(tools=("x",))),
        ("throttle", McpMatch(tools=("x",))),
        ("allow", McpMatch(not_tools=("x",))),
    ],
)
def test_the_older_spelling_of_mcp_lists_is_read_the_safe_way(decision: str, wanted: McpMatch) -> None:
    document = load(f"rules: [{{id: r, match: {{mcp: {{deny_tools: [x]}}}}, decision: {decision}}}]")
    assert document.rules[0].match.mcp == wanted


def test_the_rules_of_a_document_share_its_attachment() -> None:
    document = load("""
        tier: workflow
        selector: {workflow_id: w}
        default_decision: allow
        rules:
          - {id: a}
          - {id: b, tier: job, selector: {job_id: j}}
        input_rules: [{id: c}]
    """)
    assert document.rules[0].selector == Selector(workflow_id="w")
    assert document.rules[1].selector == Selector(workflow_id="w", job_id="j")
    assert document.input_rules[0].tier is Tier.WORKFLOW
    assert document.default_decision is None
    assert document.tier_defaults[0].decision is Decision.ALLOW


@pytest.mark.parametrize(
    "word",
    ["require_approval", "require-approval", "require_human", " REQUIRE_APPROVAL "],
)
def test_decisions_have_more_than_one_spelling(word: str) -> None:
    assert load(f'rules: [{{id: r, decision: "{word}"}}]').rules[0].decision is Decision.REQUIRE_APPROVAL


def test_a_document_without_decision_denies() -> None:
    document = load("version: v1")
    assert document.default_decision is None
    assert compile_policy(document).default.decision is Decision.DENY


@pytest.mark.seed("S172")
def test_an_unknown_key_is_refused_with_its_place_and_the_nearest_known_one() -> None:
    text = """
        rules:
          - id: r1
            match:
              topcs: [job.a]
    """
    assert fault(text) == ('line 4, column 7: rules[0].match.topcs: unknown key "topcs"; did you mean "topics"?')


def test_a_key_of_another_section_is_told_where_it_belongs() -> None:
    assert fault("rules: [{id: r, match: {keywords: [bomb]}}]").endswith(
        'unknown key "keywords" here; it belongs to input_rules[].match or output_rules[].match'
    )


@pytest.mark.parametrize(
    ("text", "key", "place"),
    [
        ("rules: [{id: r, topics: [job.a]}]", "topics", "rules[].match"),
        ("rules: [{id: r, match: {velocity: {}}}]", "velocity", "rules[]"),
        ("rules: [{id: r, match: {has_error: true}}]", "has_error", "output_rules[].match"),
        ("input_rules: [{id: r, match: {has_error: true}}]", "has_error", "output_rules[].match"),
        ("input_rules: [{id: r, match: {labels: {a: b}}}]", "labels", "rules[].match"),
        ("output_rules: [{id: r, constraints: {}}]", "constraints", "rules[]"),
        ("output_rules: [{id: r, match: {input_size_gt: 1}}]", "input_size_gt", "input_rules[].match"),
        ("deny_topics: [job.a]", "deny_topics", "tenants.<id>"),
        ("max_scan_bytes: 5", "max_scan_bytes", "input_policy"),
    ],
)
def test_every_section_tells_where_the_keys_of_others_belong(text: str, key: str, place: str) -> None:
    assert fault(text).endswith(f'unknown key "{key}" here; it belongs to {place}')


def test_a_misspelt_decision_is_refused() -> None:
    assert '"dney" is not one of: allow, permit, deny' in fault("rules: [{id: r, decision: dney}]")
    assert 'did you mean "deny"?' in fault("rules: [{id: r, decision: dney}]")


def test_a_bad_pattern_is_refused_at_load() -> None:
    assert fault('rules: [{id: r, match: {topics: ["job.["]}}]').endswith(
        'rules[0].match.topics[0]: bad pattern "job.[": a [ is not closed'
    )
    assert "tenants" in fault('tenants: {a: {deny_topics: ["job.\\\\"]}}')


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: [{id: r, constraints: {max_output_bytes: 5}}]", "write an output rule with output_size_gt"),
        ("rules: [{id: r, constraints: {allowed_destinations: [x]}}]", "write sandbox.network_allowlist"),
        ("rules: [{id: r, constraints: {redact_patterns: [x]}}]", "write an output rule with decision redact"),
        ("tenants: {a: {mcp: {gateway_enabled: true}}}", "is set in the configuration of the MCP gateway"),
    ],
)
def test_what_is_not_enforced_here_is_refused_and_never_ignored(text: str, said: str) -> None:
    assert said in fault(text)


def test_what_says_nothing_may_be_there() -> None:
    document = load("""
        input_rules: []
        output_rules:
        input_policy: {enabled: false, fail_mode: closed, max_scan_bytes: 5}
        output_policy: {enabled: off}
        require_human: {}
        rules:
          - {id: r, selector: {}, match: {mcp: {allow_tools: [], deny_tools: []}}, constraints: {max_output_bytes: }}
        tenants: {a: {mcp: {gateway_enabled: false}, allowed_repo_hosts: []}}
    """)
    assert len(document.rules) == 1
    assert document.rules[0].match == Match()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the document is empty"),
        ("# only a comment", "the document is empty"),
        ("- a\n- b", "must be a mapping"),
        ("just text", "must be a mapping"),
        ("rules: {a: b}", "must be a list"),
        ("rules: [1]", "must be a mapping"),
        ("a: 1\n---\nb: 2", "only one document per file"),
        ("version: 1\nversion: 2", '"version" is given twice (first in line 1)'),
        ("rules: [{id: a}, {id: a}]", '"a" is also the id of the rule in line 1'),
        ("tenants: {Acme: {}, acme: {}}", "are the same tenant"),
        ("tenants: {' ': {}}", "a tenant needs a name"),
        ("version: !!python/object:os.system x", "tags such as"),
        ("version: !!str x", "tags such as"),
        ("x: &a {b: 1}\nrules: [{<<: *a}]", "merge keys"),
        ("rules: *nowhere", "refers to nothing complete before it"),
        ("rules: &a [*a]", "refers to nothing complete before it"),
        ("rules: [\n", "not valid YAML"),
        ("? [a]\n: b", "a key must be text"),
        ("version: [a]", "must be text"),
        ("rules: [{id: r, reason: {}}]", "must be text"),
        ("rules: [{id: r, match: {topics: ['']}}]", "must not be empty"),
        ("rules: [{id: r, match: {topics: [null]}}]", "must be text"),
        ("rules: [{id: r, match: {topics: job.a}}]", "must be a list"),
        ("rules: [{id: r, match: {labels: {a: null}}}]", "must be text"),
        ("rules: [{id: r, match: {label_allowlist: {a: []}}}]", "must name the allowed values"),
        ("rules: [{id: r, match: {label_threshold: {a: nan}}}]", "must be a number"),
        ("rules: [{id: r, match: {label_threshold: {a: .inf}}}]", "must be a number"),
        ("rules: [{id: r, match: {secrets_present: maybe}}]", "must be true or false"),
        ("rules: [{id: r, match: {actor_types: [robot]}}]", '"robot" is not one of: human, service'),
        ("rules: [{id: r, constraints: {budgets: {max_retries: -1}}}]", "must be a whole number from 0"),
        ("rules: [{id: r, constraints: {budgets: {max_retries: 1:30}}}]", "must be a whole number from 0"),
        ("rules: [{id: r, constraints: {budgets: {max_retries: 99999999999}}}]", "must be a whole number from 0"),
        ("default_decision: throttle", "is not one of: deny, allow"),
        ("combine: best", "is not one of: first_match, deny_overrides"),
        ("tier: planet", "is not one of: global, workflow, job"),
        ("selector: {workflow_id: w}", "needs `tier: workflow` or `tier: job`"),
        ("tier: workflow", "workflow needs selector.workflow_id"),
        ("{tier: workflow, selector: {workflow_id: w, job_id: j}}", "which is `tier: job`"),
        ("{tier: job, selector: {workflow_id: w}}", "job needs selector.job_id or selector.session_id"),
        ("{tier: workflow, selector: {workflow_id: w}, rules: [{id: r, tier: global}]}", "is of tier workflow"),
        ("{tier: job, selector: {job_id: j}, input_rules: [{id: r, tier: workflow}]}", "is of tier job"),
        (
            "{tier: workflow, selector: {workflow_id: w}, rules: [{id: r, selector: {workflow_id: x}}]}",
            'the document is attached to "w"',
        ),
        ("rules: [{id: r, selector: {job_id: j}}]", "needs `tier: workflow` or `tier: job`"),
        ("rules: [{id: r, match: {mcp: {tools: [a], deny_tools: [b]}}, decision: deny}]", "says twice"),
        ("rules: [{id: r, match: {mcp: {tools: ['fs.*']}}}]", "only exact names"),
        ("rules: [{id: r, match: {mcp: {tool: [a]}}}]", 'did you mean "tools"?'),
        ("rules: [{id: r, match: {predicate: depth > 1}}]", "must be delegation.depth"),
        ("rules: [{id: r, match: {predicate: delegation.depth > x}}]", "must be delegation.depth"),
        ("rules: [{id: r, match: {delegation: {forbid_delegated: true, max_depth: 1}}}]", "contradicts"),
        ("rules: [{id: r, velocity: {max_requests: 1}}]", "needs window_seconds"),
        ("rules: [{id: r, velocity: {max_requests: 0, window_seconds: 1, key: tenant}}]", "must be at least 1"),
        ("rules: [{id: r, velocity: {max_requests: 1, window_seconds: 86401, key: tenant}}]", "from 0 to 86400"),
        ("rules: [{id: r, velocity: {max_requests: 1, window_seconds: 1, key: 'tenant:'}}]", '"" is none of: actor_id'),
        ("rules: [{id: r, velocity: {max_requests: 1, window_seconds: 1, key: labels.}}]", "is none of: actor_id"),
        ("rules: [{id: r, decision: deny, approval: {required: 2}}]", "where the decision is require_approval"),
        ("rules: [{id: r, decision: require_approval, approval: {required: 0}}]", "must be at least 1"),
        ("rules: [{id: r, decision: require_approval, approval: {expires_after: soon}}]", "must be a duration"),
        ("rules: [{id: r, decision: require_approval, approval: {escalate_after: 1m}}]", "needs escalate_to"),
        ("rules: [{id: r, decision: require_approval, approval: {escalate_to: [a]}}]", "needs escalate_after"),
        ("rules: [{id: r, decision: deny, throttle: {retry_after_ms: 1}}]", "where the decision is throttle"),
        ("input_rules: [{id: r, decision: allow}]", "is not one of: deny, block, require_approval"),
        ("input_rules: [{id: r, severity: huge}]", "is not one of: low, medium, high, critical"),
        ("input_rules: [{id: r, match: {scanners: [secrte]}}]", 'unknown scanner "secrte"; there are: '),
        ("input_rules: [{id: r, match: {scanners: [keyword]}}]", "needs keywords"),
        ("input_rules: [{id: r, match: {content_patterns: ['(']}}]", 'bad pattern "("'),
        ("output_rules: [{id: r, match: {content_patterns: ['(a+)+']}}]", "repeats inside"),
        ("input_rules: [{id: r, match: {scope: {items_path: a}}}]", "needs instruction_path"),
        ("input_rules: [{id: a}, {id: a}]", '"a" is also the id of the rule in line 1'),
        ("output_rules: [{id: a}, {id: a}]", '"a" is also the id of the rule in line 1'),
        ("output_rules: [{id: r, decision: throttle}]", "is not one of: allow, permit, deny"),
        ("input_policy: {fail_mode: ajar}", "is not one of: closed, open"),
        ("input_policy: {max_scan_bytes: 0}", "must be at least 1"),
        ("require_human: {min_confidence_for_deny: 2}", "must be from 0 to 1"),
        ("require_human: {min_severity_for_deny: 2}", "is not one of: low"),
        ("risk_tag_derivers: {job.a: {}}", "needs deriver, mcp_op_rules or default_risk_tags"),
        ("risk_tag_derivers: {job.a: {deriver: magic}}", "is not one of: amount-threshold, mcp-op"),
        ("risk_tag_derivers: {'job.[': {deriver: amount-threshold}}", "bad pattern"),
        ("risk_tag_derivers: {job.a: {deriver: mcp-op}}", "needs mcp_op_rules"),
        ("risk_tag_derivers: {job.a: {mcp_op_rules: [{tags: [x]}]}}", "needs op_glob"),
        ("tenants: {a: {allowed_repo_hosts: ['[']}}", "bad pattern"),
        ("tests: [{name: a, expects: {}}]", 'did you mean "expect"?'),
        ("default_decision: null", "must be text"),
    ],
)
def test_refused(text: str, message: str) -> None:
    assert message in "\n".join(faults(text))


def test_every_fault_is_reported_in_the_order_of_the_file() -> None:
    found = faults("""
        default_decision: maybe
        rules:
          - {id: a, decision: nope}
          - {id: b, mtch: {}}
    """)
    assert [line.split(":")[0] for line in found] == ["line 1, column 19", "line 3, column 23", "line 4, column 13"]


def test_faults_are_bounded() -> None:
    with pytest.raises(PolicyError) as caught:
        load("rules:\n" + "  - {id: x, bad: 1}\n" * 500)
    assert len(caught.value.faults) == 50
    assert "(and 49 more)" in caught.value.message


def test_too_large() -> None:
    with pytest.raises(PolicyError, match="more than the 2097152 allowed"):
        parse_policy(b"#" * (MAX_BYTES + 1))


def test_too_deep() -> None:
    assert "nested deeper than 32 levels" in fault("a: " + "[" * 100_000)


def test_repeated_anchors_cannot_grow_without_bound() -> None:
    text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    for level in range(1, 10):
        text += f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 10)}]\n"
    assert "aliases expanded" in fault(text)


def test_an_anchor_may_be_used_again() -> None:
    document = load("rules: [{id: a, match: &m {topics: [job.a]}}, {id: b, match: *m}]")
    assert document.rules[0].match == document.rules[1].match


def test_not_utf8() -> None:
    with pytest.raises(PolicyError, match="line 2, column 1: not UTF-8 text"):
        parse_policy(b"version: 1\nrules: \xff")


def test_control_characters_are_an_error_with_a_message() -> None:
    with pytest.raises(PolicyError, match="not valid YAML"):
        parse_policy(b"version: \x00\x01")
