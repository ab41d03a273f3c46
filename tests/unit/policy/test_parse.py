"""Reading policy documents: what loads, what is refused, and where the fault is said to be."""

import textwrap

import pytest

from cordum.core.policy.decision import Decision
from cordum.core.policy.document import PolicyDocument
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


@pytest.mark.parametrize(
    "word",
    ["require_approval", "require-approval", "require_human", " REQUIRE_APPROVAL "],
)
def test_decisions_have_more_than_one_spelling(word: str) -> None:
    assert load(f'rules: [{{id: r, decision: "{word}"}}]').rules[0].decision is Decision.REQUIRE_APPROVAL


def test_a_document_without_decision_denies() -> None:
    assert load("version: v1").default_decision is Decision.DENY


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
        'unknown key "keywords" here; it belongs to input_rules'
    )


def test_a_misspelt_decision_is_refused() -> None:
    assert '"dney" is not one of: allow, permit, deny' in fault("rules: [{id: r, decision: dney}]")
    assert 'did you mean "deny"?' in fault("rules: [{id: r, decision: dney}]")


def test_a_bad_pattern_is_refused_at_load() -> None:
    assert fault('rules: [{id: r, match: {topics: ["job.["]}}]').endswith(
        'rules[0].match.topics[0]: bad pattern "job.[": a [ is not closed'
    )
    assert "tenants" in fault('tenants: {a: {deny_topics: ["job.\\\\"]}}')


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("input_rules: [{id: x}]", "input_rules"),
        ("output_rules: [{id: x}]", "output_rules"),
        ("output_policy: {enabled: true}", "output_policy"),
        ("selector: {workflow_id: w}", "selector"),
        ("tier: workflow", "tier"),
        ("rules: [{id: r, velocity: {max_requests: 1}}]", "rules[0].velocity"),
        ("rules: [{id: r, match: {mcp: {deny_tools: [x]}}}]", "rules[0].match.mcp"),
        ("rules: [{id: r, match: {predicate: 'delegation.depth > 1'}}]", "rules[0].match.predicate"),
        ("rules: [{id: r, match: {delegation: {max_depth: 1}}}]", "rules[0].match.delegation"),
        ("rules: [{id: r, constraints: {max_output_bytes: 5}}]", "rules[0].constraints.max_output_bytes"),
        ("tenants: {a: {mcp: {deny_tools: [x]}}}", 'tenants["a"].mcp'),
        ("tenants: {a: {denied_repo_hosts: [x]}}", 'tenants["a"].denied_repo_hosts'),
    ],
)
def test_what_is_not_enforced_yet_is_refused_and_never_ignored(text: str, path: str) -> None:
    assert fault(text).endswith(f"not supported by this version: {path}")


def test_what_is_not_built_may_be_there_when_it_says_nothing() -> None:
    document = load("""
        input_rules: []
        output_rules:
        input_policy: {enabled: false, fail_mode: closed, max_scan_bytes: 5}
        output_policy: {enabled: off}
        require_human: {}
        rules: [{id: r, selector: {}, match: {mcp: {allow_tools: [], deny_tools: []}}}]
        tenants: {a: {mcp: {gateway_enabled: false}, allowed_repo_hosts: []}}
    """)
    assert len(document.rules) == 1


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
