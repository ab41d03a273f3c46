"""The indexed evaluator decides exactly as a plain reading of the document does, one rule after the other."""

from typing import TypeVar

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.plain_policy import SEVERITY, decide

from cordum.core.policy.compile import compile_policy
from cordum.core.policy.decision import Decision
from cordum.core.policy.document import (
    Combine,
    ContentMatch,
    DelegationMatch,
    InputRule,
    Match,
    McpLists,
    McpMatch,
    PolicyDocument,
    RiskDeriver,
    Rule,
    Selector,
    TenantPolicy,
    Tier,
    Velocity,
)
from cordum.core.policy.evaluate import evaluate, explain, velocity_queries
from cordum.core.policy.outcome import DecidedBy
from cordum.core.policy.request import PolicyRequest, policy_request

T = TypeVar("T")

TOPICS = ["job.a", "job.a.b", "job.a.c", "job.b", "job.b.c.d", "job.", "job.edge.action", "sys.a", ""]
PATTERNS = ["job.a", "job.*", "job.a.*", "job.a.b", "*", "*.c", "job.b*", "job.?", "job.[ab]", "sys.*", "job.b.c.d"]
WORDS = ["x", "y", "Z"]
IDS = ["w", "v"]
RESTRICTING = [Decision.DENY, Decision.REQUIRE_APPROVAL, Decision.THROTTLE]


def some(values: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


def rarely(default: T, strategy: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    return st.one_of(st.just(default), st.just(default), st.just(default), strategy)


labels = st.dictionaries(
    st.sampled_from(["k", "l", "secrets_present"]), st.sampled_from(["", "1", "Z", "no"]), max_size=2
)
FIELDS: dict[str, st.SearchStrategy[object]] = {
    "tenants": some(["acme", "Other"]),
    "topics": some([*PATTERNS, "job.edge.action"]),
    "capabilities": some(WORDS),
    "risk_tags": some([*WORDS, "secrets"]),
    "requires": some(WORDS),
    "pack_ids": some(WORDS),
    "actor_ids": some(WORDS),
    "actor_types": some(["human", "service"]),
    "labels": labels,
    "label_allowlist": st.just({"k": ("1", "z")}),
    "label_threshold": st.just({"l": 0.5}),
    "secrets_present": st.booleans(),
    "mcp": st.builds(
        McpMatch,
        servers=rarely((), some(WORDS)),
        tools=some(WORDS),
        actions=rarely((), some(WORDS)),
        not_tools=rarely((), some(WORDS)),
    ),
    "agent_risk_tiers": some(["high", "low"]),
    "agent_data_classifications": some(["pii", "public"]),
    "predicate": st.just("delegation.depth > 1"),
    "delegation": st.sampled_from([DelegationMatch(forbid_delegated=True), DelegationMatch(delegation_required=True)]),
}
conditions = st.sampled_from([*FIELDS, "mcp", "topics"]).flatmap(
    lambda name: FIELDS[name].map(lambda value: (name, value))
)
matches = st.lists(conditions, max_size=2).map(lambda pairs: Match(**dict(pairs)))  # type: ignore[arg-type]
places = st.one_of(
    st.just((Tier.GLOBAL, Selector())),
    st.just((Tier.GLOBAL, Selector())),
    st.sampled_from(IDS).map(lambda id_: (Tier.WORKFLOW, Selector(workflow_id=id_))),
    st.sampled_from(IDS).map(lambda id_: (Tier.JOB, Selector(job_id=id_))),
)


def rule(drawn: tuple[Match, Decision, tuple[Tier, Selector], bool, bool], id_: str) -> Rule:
    match, decision, (tier, selector), counts, invariant = drawn
    return Rule(
        id=id_,
        match=match,
        decision=decision,
        tier=Tier.GLOBAL if invariant else tier,
        selector=Selector() if invariant else selector,
        velocity=Velocity(max_requests=1, window_seconds=60, key="tenant") if counts else None,
        invariant=invariant,
    )


drawn_rules = st.tuples(
    matches,
    st.sampled_from(list(Decision)),
    places,
    rarely(False, st.just(True)),
    rarely(False, st.just(True)),
)
rules = st.lists(drawn_rules, max_size=8).map(lambda drawn: tuple(rule(one, f"r{n}") for n, one in enumerate(drawn)))
input_rules = st.lists(
    st.tuples(
        st.builds(
            ContentMatch,
            topics=rarely((), some(PATTERNS)),
            risk_tags=rarely((), some(WORDS)),
            keywords=rarely((), some(["bomb", "key"])),
            size_gt=st.sampled_from([0, 0, 4, 50]),
        ),
        st.sampled_from([Decision.DENY, Decision.REQUIRE_APPROVAL]),
        places,
        rarely(False, st.just(True)),
        st.sampled_from([True, True, False]),
    ),
    max_size=3,
).map(
    lambda drawn: tuple(
        InputRule(
            id=f"i{n}",
            match=match,
            decision=decision,
            tier=tier,
            selector=selector,
            invariant=invariant,
            enabled=enabled,
        )
        for n, (match, decision, (tier, selector), invariant, enabled) in enumerate(drawn)
    )
)
tenants = st.builds(
    TenantPolicy,
    allow_topics=rarely((), some(PATTERNS)),
    deny_topics=rarely((), some(PATTERNS)),
    denied_repo_hosts=rarely((), st.just(("evil.example",))),
    mcp=st.builds(McpLists, deny_tools=rarely((), some(WORDS)), allow_servers=rarely((), some(WORDS))),
)
documents = st.builds(
    PolicyDocument,
    default_tenant=st.sampled_from(["acme", "other"]),
    default_decision=st.sampled_from([Decision.ALLOW, Decision.DENY, None]),
    combine=st.sampled_from(list(Combine)),
    rules=rules.filter(lambda drawn: any(not one.invariant for one in drawn)),
    input_rules=input_rules,
    tenants=st.dictionaries(st.just("acme"), tenants),
    risk_tag_derivers=rarely({}, st.just({"job.a*": RiskDeriver(default_risk_tags=("x",))})),
)
LABELS = [
    *(("k", value) for value in ("", "1", "Z")),
    *(("l", value) for value in ("", "1", "no")),
    *(("secrets_present", value) for value in ("1", "no", "")),
    *(("mcp.server", value) for value in ("x", " ", "Y")),
    *(("mcp_tool", value) for value in ("x", "z")),
    *(("mcpTool", value) for value in ("X", "y")),
    ("mcp.action", "x"),
    *(("workflow_id", value) for value in ("w", "u")),
    ("workflow", "v"),
    *(("policy.attachment_id", value) for value in ("job/w/policy", "v")),
    ("job_id", "w"),
    *(("repo.host", value) for value in ("evil.example", "good.example")),
    ("_agent.risk_tier", "high"),
    *(("_agent.data_classifications", value) for value in ("pii,public", "secret")),
    *(("_delegation.depth", value) for value in ("1", "2")),
    *(("_content.prompt", value) for value in ("a bomb", "nothing of interest, at some length, that is")),
]
request_labels = st.lists(st.sampled_from(LABELS), max_size=6).map(dict)
requests = st.builds(
    policy_request,
    st.sampled_from([*TOPICS, "job.a", "job.a.b", "job.b", "job.edge.action"]),
    tenant=st.sampled_from(["acme", " OTHER", ""]),
    capability=st.sampled_from(["", *WORDS]),
    risk_tags=some([*WORDS, "secrets"]),
    requires=some(WORDS),
    pack_id=st.sampled_from(["", *WORDS]),
    actor_id=st.sampled_from(["", *WORDS]),
    actor_type=st.sampled_from(["", "human", "service"]),
    labels=request_labels,
    effective_config=st.sampled_from([b"", b"", b'{"safety":{"denied_topics":["job.a*"]}}']),
    job_id=st.sampled_from(["", "w", "j"]),
    content=st.sampled_from([b"", b"key", b"bomb and key", b"quite long and harmless, really, nothing to see here"]),
)
exceeded_ids = st.frozensets(st.sampled_from([f"r{n}" for n in range(8)]))


@settings(max_examples=1000, deadline=None)
@given(document=documents, request=requests, exceeded=exceeded_ids)
def test_indexed_and_plain_evaluation_agree(
    document: PolicyDocument, request: PolicyRequest, exceeded: frozenset[str]
) -> None:
    outcome = evaluate(compile_policy(document), request, exceeded)

    assert (outcome.decision, outcome.rule_id) == decide(document, request, exceeded)


def with_rule(document: PolicyDocument, extra: Rule, at: int) -> PolicyDocument:
    place = at % (len(document.rules) + 1)
    changed: PolicyDocument = msgspec.structs.replace(
        document, rules=(*document.rules[:place], extra, *document.rules[place:])
    )
    return changed


@settings(max_examples=200, deadline=None)
@given(
    document=documents,
    extra=drawn_rules,
    at=st.integers(0, 8),
    request=requests,
    exceeded=exceeded_ids,
    invariant=st.booleans(),
)
def test_one_more_denial_never_turns_a_denial_into_anything_else(
    document: PolicyDocument,
    extra: tuple[Match, Decision, tuple[Tier, Selector], bool, bool],
    at: int,
    request: PolicyRequest,
    exceeded: frozenset[str],
    invariant: bool,
) -> None:
    denial = rule((extra[0], Decision.DENY, extra[2], extra[3], invariant), "extra")
    before = evaluate(compile_policy(document), request, exceeded)
    after = evaluate(compile_policy(with_rule(document, denial, at)), request, exceeded)

    if before.decision is Decision.DENY:
        assert after.decision is Decision.DENY
    if document.combine is Combine.DENY_OVERRIDES or invariant:
        assert SEVERITY[after.decision] >= SEVERITY[before.decision] or after.decision is Decision.DENY


@settings(max_examples=200, deadline=None)
@given(document=documents, request=requests, extra=st.sampled_from(["mcp.tool", "mcp_server", "mcpAction"]))
def test_no_mcp_label_takes_a_denying_rule_out_of_reach(
    document: PolicyDocument, request: PolicyRequest, extra: str
) -> None:
    # Rules about MCP itself and about labels aside, which are there to depend on labels.
    plain = [one for one in document.rules if one.match.mcp is None and one.velocity is None]
    own: PolicyDocument = msgspec.structs.replace(
        document, rules=(*plain, Rule(id="last", decision=Decision.DENY)), tenants={}
    )
    labelled: PolicyRequest = msgspec.structs.replace(request, labels={**request.labels, extra: "x"})

    policy = compile_policy(own)
    if evaluate(policy, request).decision is Decision.DENY:
        assert evaluate(policy, labelled).decision is Decision.DENY


@settings(max_examples=150, deadline=None)
@given(document=documents, request=requests, exceeded=exceeded_ids)
def test_an_explanation_is_of_the_decision_taken(
    document: PolicyDocument, request: PolicyRequest, exceeded: frozenset[str]
) -> None:
    policy = compile_policy(document)
    explanation = explain(policy, request, exceeded)
    outcome = evaluate(policy, request, exceeded)

    taken = explanation.outcome
    assert (taken.decision, taken.rule_id, taken.reason) == (outcome.decision, outcome.rule_id, outcome.reason)
    if explanation.steps:
        assert explanation.steps[-1].decision is outcome.decision
        severities = [SEVERITY[step.decision] for step in explanation.steps]
        assert severities == sorted(severities)
    if outcome.decided_by is DecidedBy.RULE:
        assert outcome.rule_id in [note.rule_id for note in explanation.tried if note.matched]
    assert all(note.matcher for note in explanation.tried if not note.matched)
    assert all(note.matcher for note in explanation.near_misses)


@settings(max_examples=150, deadline=None)
@given(document=documents, request=requests, exceeded=exceeded_ids)
def test_only_what_was_asked_about_can_matter(
    document: PolicyDocument, request: PolicyRequest, exceeded: frozenset[str]
) -> None:
    policy = compile_policy(document)
    asked = frozenset(query.rule_id for query in velocity_queries(policy, request))
    before, after = evaluate(policy, request, exceeded), evaluate(policy, request, exceeded & asked)

    assert (after.decision, after.rule_id) == (before.decision, before.rule_id)


@settings(max_examples=100, deadline=None)
@given(document=documents, request=requests)
def test_what_cannot_be_counted_is_never_milder_than_a_question(
    document: PolicyDocument, request: PolicyRequest
) -> None:
    policy = compile_policy(document)
    asked = frozenset(query.rule_id for query in velocity_queries(policy, request))
    outcome = evaluate(policy, request, frozenset(), asked)

    if asked and request.topic.startswith("job."):
        assert SEVERITY[outcome.decision] >= SEVERITY[Decision.REQUIRE_APPROVAL]
