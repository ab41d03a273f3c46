"""The indexed evaluator decides exactly as a plain reading of the document does, one rule after the other."""

import math
from fnmatch import fnmatchcase

from hypothesis import given, settings
from hypothesis import strategies as st

from cordum.core.policy.compile import compile_policy
from cordum.core.policy.decision import Decision
from cordum.core.policy.document import Match, PolicyDocument, Rule, TenantPolicy
from cordum.core.policy.evaluate import evaluate, explain
from cordum.core.policy.outcome import DecidedBy
from cordum.core.policy.request import PolicyRequest, policy_request

TOPICS = ["job.a", "job.a.b", "job.a.c", "job.b", "job.b.c.d", "job.", "sys.a", ""]
PATTERNS = ["job.a", "job.*", "job.a.*", "job.a.b", "*", "*.c", "job.b*", "job.?", "job.[ab]", "sys.*", "job.b.c.d"]
WORDS = ["x", "y", "Z"]


def some(values: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


def rarely(strategy: st.SearchStrategy[tuple[str, ...]]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.one_of(st.just(()), st.just(()), strategy)


labels = st.dictionaries(
    st.sampled_from(["k", "l", "secrets_present"]), st.sampled_from(["", "1", "Z", "no"]), max_size=2
)

matches = st.builds(
    Match,
    tenants=rarely(some(["acme", "Other"])),
    topics=some(PATTERNS),
    capabilities=rarely(some(WORDS)),
    risk_tags=rarely(some([*WORDS, "secrets"])),
    requires=rarely(some(WORDS)),
    pack_ids=rarely(some(WORDS)),
    actor_ids=rarely(some(WORDS)),
    actor_types=rarely(some(["human", "service"])),
    labels=st.one_of(st.just({}), labels),
    label_allowlist=st.one_of(st.just({}), st.just({"k": ("1", "z")})),
    label_threshold=st.one_of(st.just({}), st.just({"l": 0.5})),
    secrets_present=st.one_of(st.none(), st.none(), st.booleans()),
)
rules = st.lists(st.tuples(matches, st.sampled_from(list(Decision))), max_size=8).map(
    lambda drawn: tuple(Rule(id=f"r{n}", match=match, decision=decision) for n, (match, decision) in enumerate(drawn))
)
documents = st.builds(
    PolicyDocument,
    default_tenant=st.sampled_from(["acme", "other"]),
    default_decision=st.sampled_from([Decision.ALLOW, Decision.DENY]),
    rules=rules,
    tenants=st.dictionaries(
        st.just("acme"),
        st.builds(TenantPolicy, allow_topics=rarely(some(PATTERNS)), deny_topics=rarely(some(PATTERNS))),
    ),
)
requests = st.builds(
    policy_request,
    st.sampled_from(TOPICS),
    tenant=st.sampled_from(["acme", " OTHER", ""]),
    capability=st.sampled_from(["", *WORDS]),
    risk_tags=some([*WORDS, "secrets"]),
    requires=some(WORDS),
    pack_id=st.sampled_from(["", *WORDS]),
    actor_id=st.sampled_from(["", *WORDS]),
    actor_type=st.sampled_from(["", "human", "service"]),
    labels=labels,
)


def folded(values: tuple[str, ...]) -> set[str]:
    return {value.strip().lower() for value in values}


def glob(pattern: str, topic: str) -> bool:
    # No pattern here has anything on which Go's rules and fnmatch's differ, and no topic a slash.
    return fnmatchcase(topic, pattern)


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -math.inf


def matches_plainly(match: Match, request: PolicyRequest, tenant: str) -> bool:
    said = request.labels.get("secrets_present", "")
    secrets = said in ("1",) if said else "secrets" in request.risk_tags
    return all(
        [
            not match.tenants or tenant in folded(match.tenants),
            not match.topics or any(glob(pattern, request.topic) for pattern in match.topics),
            not match.capabilities or request.capability in folded(match.capabilities),
            not match.risk_tags or bool(folded(match.risk_tags) & request.risk_tags),
            folded(match.requires) <= request.requires,
            not match.pack_ids or request.pack_id in folded(match.pack_ids),
            not match.actor_ids or request.actor_id in folded(match.actor_ids),
            not match.actor_types or request.actor_type in match.actor_types,
            all(name in request.labels and request.labels[name] == value for name, value in match.labels.items()),
            not match.label_allowlist
            or any(
                n in request.labels and request.labels[n].lower() not in v for n, v in match.label_allowlist.items()
            ),
            not match.label_threshold
            or any(n in request.labels and number(request.labels[n]) > v for n, v in match.label_threshold.items()),
            match.secrets_present is None or match.secrets_present is secrets,
        ]
    )


def decide_plainly(document: PolicyDocument, request: PolicyRequest) -> tuple[Decision, str]:
    if not request.topic.startswith("job."):
        return Decision.DENY, ""
    tenant = request.tenant or document.default_tenant
    decision, rule_id = document.default_decision, ""
    for rule in document.rules:
        if matches_plainly(rule.match, request, tenant):
            decision, rule_id = rule.decision, rule.id
            break
    own = document.tenants.get(tenant)
    if own is not None:
        denied = any(glob(pattern, request.topic) for pattern in own.deny_topics)
        missing = own.allow_topics and not any(glob(pattern, request.topic) for pattern in own.allow_topics)
        if denied or missing:
            decision = Decision.DENY
    return decision, rule_id


@settings(max_examples=1500)
@given(document=documents.filter(lambda document: document.rules), request=requests)
def test_indexed_and_plain_evaluation_agree(document: PolicyDocument, request: PolicyRequest) -> None:
    outcome = evaluate(compile_policy(document), request)

    assert (outcome.decision, outcome.rule_id) == decide_plainly(document, request)


@settings(max_examples=300)
@given(document=documents, extra=matches, request=requests)
def test_a_denial_put_first_never_turns_a_denial_into_anything_else(
    document: PolicyDocument, extra: Match, request: PolicyRequest
) -> None:
    # Without rules the tenants' lists are the rules, so the document must have one to begin with.
    own = document.rules or (Rule(id="last", decision=document.default_decision),)
    before = PolicyDocument(default_decision=document.default_decision, rules=own, tenants=document.tenants)
    stricter = PolicyDocument(
        default_decision=document.default_decision,
        rules=(Rule(id="first", match=extra, decision=Decision.DENY), *own),
        tenants=document.tenants,
    )
    if evaluate(compile_policy(before), request).decision is Decision.DENY:
        assert evaluate(compile_policy(stricter), request).decision is Decision.DENY


@settings(max_examples=300)
@given(document=documents, request=requests)
def test_an_explanation_is_of_the_decision_taken(document: PolicyDocument, request: PolicyRequest) -> None:
    policy = compile_policy(document)
    explanation = explain(policy, request)

    assert explanation.outcome is evaluate(policy, request)
    matched = [note.rule_id for note in explanation.tried if note.matched]
    assert matched == ([explanation.outcome.rule_id] if explanation.outcome.rule_id else [])
    assert all(note.matcher for note in explanation.tried if not note.matched)
    if explanation.outcome.decided_by is DecidedBy.DEFAULT:
        assert len(explanation.tried) == explanation.candidates
