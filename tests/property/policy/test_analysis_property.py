"""What the analysis claims is so: on the evaluator, for random policies and random requests."""

import msgspec
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from cordum.core.policy.analysis.differences import compare, differences
from cordum.core.policy.analysis.labels import Beyond, Equals, Listed, Question, Says, Silent, answer
from cordum.core.policy.analysis.lint import lint
from cordum.core.policy.analysis.note import Kind
from cordum.core.policy.analysis.requests import request_from_dict, request_to_dict
from cordum.core.policy.analysis.topics import topic_where
from cordum.core.policy.compile import compile_policy
from cordum.core.policy.decision import Decision
from cordum.core.policy.document import Combine, Match, McpMatch, PolicyDocument, Rule, Selector, TenantPolicy, Tier
from cordum.core.policy.evaluate import evaluate
from cordum.core.policy.glob import compile_glob
from cordum.core.policy.request import PolicyRequest, policy_request

PATTERNS = ["job.a", "job.*", "job.a.*", "*", "*.c", "job.b*", "job.?", "job.[ab]", "job.[^a/]*", "sys.*", "job.*/x"]
TOPICS = ["job.a", "job.a.b", "job.a.c", "job.b", "job.bb.c", "job.c", "job.a/x", "job.edge.action"]
WORDS = ["x", "y", "z"]


QUICK = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
"""Without the explanation of failures, which costs minutes here."""


def some(values: list[str], often: int = 1) -> st.SearchStrategy[tuple[str, ...]]:
    drawn = st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True).map(tuple)
    return st.one_of(*([st.just(())] * (0 if often else 3)), drawn)


def rare(values: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return some(values, often=0)


labels = st.dictionaries(
    st.sampled_from(["k", "l", "secrets_present"]), st.sampled_from(["", "1", "Z", "no", "NaN"]), max_size=2
)
mcp_labels = st.dictionaries(
    st.sampled_from(["mcp.server", "mcp_server", "mcp.tool"]), st.sampled_from(WORDS), max_size=2
)
mcp_matches = st.builds(
    McpMatch, servers=rare(WORDS), tools=rare(WORDS), not_servers=rare(WORDS), not_tools=rare(WORDS)
)
matches = st.builds(
    Match,
    tenants=rare(["acme", "Other"]),
    topics=some([*PATTERNS, "job.edge.action"]),
    capabilities=rare(WORDS),
    risk_tags=rare([*WORDS, "secrets"]),
    requires=rare(WORDS),
    actor_types=rare(["human", "service"]),
    labels=st.one_of(st.just({}), st.just({}), labels),
    label_allowlist=st.one_of(st.just({}), st.just({}), st.just({"k": ("1", "z")})),
    label_threshold=st.one_of(st.just({}), st.just({}), st.just({"l": 0.5})),
    secrets_present=st.one_of(st.none(), st.none(), st.booleans()),
    mcp=st.one_of(st.none(), st.none(), mcp_matches),
)
tiers = st.sampled_from(
    [
        (Tier.GLOBAL, Selector()),
        (Tier.GLOBAL, Selector()),
        (Tier.GLOBAL, Selector()),
        (Tier.WORKFLOW, Selector(workflow_id="w")),
        (Tier.JOB, Selector(job_id="j")),
    ]
)


def _rule(number: int, drawn: tuple[Match, Decision, tuple[Tier, Selector], int]) -> Rule:
    match, decision, (tier, selector), binds = drawn
    return Rule(
        id=f"r{number}",
        match=match,
        decision=decision,
        tier=tier,
        selector=selector,
        line=number + 1,
        invariant=binds == 0,
    )


rules = st.lists(
    st.tuples(matches, st.sampled_from(list(Decision)), tiers, st.integers(0, 7)), min_size=1, max_size=6
).map(lambda drawn: tuple(_rule(number, one) for number, one in enumerate(drawn)))
tenants = st.dictionaries(
    st.just("acme"), st.builds(TenantPolicy, allow_topics=rare(PATTERNS), deny_topics=rare(PATTERNS)), max_size=1
)
documents = st.builds(
    PolicyDocument,
    default_tenant=st.sampled_from(["acme", "other"]),
    default_decision=st.sampled_from([Decision.ALLOW, Decision.DENY]),
    combine=st.sampled_from(list(Combine)),
    rules=rules,
    tenants=tenants,
)
attachments = st.sampled_from([{}, {}, {"workflow_id": "w"}, {"policy.attachment_id": "j"}])
requests = st.builds(
    lambda own, mcp, attached, **fields: policy_request(labels={**own, **mcp, **attached}, **fields),
    labels,
    st.one_of(st.just({}), mcp_labels),
    attachments,
    topic=st.sampled_from(TOPICS),
    tenant=st.sampled_from(["acme", "other"]),
    capability=st.sampled_from(["", *WORDS]),
    risk_tags=rare([*WORDS, "secrets"]),
    requires=rare(WORDS),
    actor_type=st.sampled_from(["", "human", "service"]),
)


@settings(phases=QUICK, max_examples=150, deadline=None)
@given(document=documents, asked=st.lists(requests, max_size=30))
def test_a_rule_called_unreachable_never_decides(document: PolicyDocument, asked: list[PolicyRequest]) -> None:
    dead = {
        note.rule_id
        for note in lint(document)
        if note.kind is Kind.NEVER_MATCHES or (note.kind is Kind.UNREACHABLE and "only about" not in note.message)
    }
    policy = compile_policy(document)
    for request in asked:
        assert evaluate(policy, request).rule_id not in dead


@settings(phases=QUICK, max_examples=120, deadline=None)
@given(document=documents)
def test_every_witness_shows_what_is_claimed(document: PolicyDocument) -> None:
    policy = compile_policy(document)
    strictness = {rule.id: rule.decision.severity for rule in document.rules}
    for note in lint(document):
        if note.witness is None:
            continue
        request = request_from_dict(note.witness)
        outcome = evaluate(policy, request)
        if note.kind is Kind.DEFAULT_ALLOW:
            assert outcome.decision.permits and not outcome.rule_id
            continue
        rule = next(rule for rule in document.rules if rule.id == note.rule_id)
        alone = compile_policy(msgspec.structs.replace(document, rules=(rule,), tenants={}))
        assert evaluate(alone, request).rule_id == rule.id
        assert outcome.rule_id != rule.id
        if note.kind in (Kind.CONFLICT, Kind.ALLOW_ALL_FIRST):
            assert outcome.decision.severity < strictness[rule.id]


@settings(phases=QUICK, max_examples=80, deadline=None)
@given(document=documents)
def test_a_policy_does_not_differ_from_itself(document: PolicyDocument) -> None:
    assert differences(document, document) == ()


@settings(phases=QUICK, max_examples=120, deadline=None)
@given(before=documents, gone=st.integers(0, 5), asked=st.lists(requests, max_size=30))
def test_what_a_removed_rule_changes_is_found(before: PolicyDocument, gone: int, asked: list[PolicyRequest]) -> None:
    left = tuple(rule for number, rule in enumerate(before.rules) if number != gone % len(before.rules))
    _check(before, msgspec.structs.replace(before, rules=left or before.rules), asked)


@settings(phases=QUICK, max_examples=80, deadline=None)
@given(before=documents, after=documents, asked=st.lists(requests, max_size=30))
def test_whatever_changes_is_found(before: PolicyDocument, after: PolicyDocument, asked: list[PolicyRequest]) -> None:
    _check(before, after, asked)


def _check(before: PolicyDocument, after: PolicyDocument, asked: list[PolicyRequest]) -> None:
    """Every difference is one, and where none was left out there is one for every request decided otherwise."""
    comparison = compare(before, after, limit=500)
    old, new = compile_policy(before), compile_policy(after)
    for difference in comparison.differences:
        request = request_from_dict(difference.request)
        was, now = evaluate(old, request), evaluate(new, request)
        assert (was.decision, now.decision) == (difference.before.decision, difference.after.decision)
        assert was.decision is not now.decision
    if not comparison.complete:
        return
    found = {(one.before.decision, one.after.decision) for one in comparison.differences}
    for request in asked:
        was, now = evaluate(old, request), evaluate(new, request)
        assert was.decision is now.decision or (was.decision, now.decision) in found, request_to_dict(request)


topics = st.text("jobsy.a/xc", max_size=8).map(lambda rest: "job." + rest)


@settings(phases=QUICK, max_examples=500, deadline=None)
@given(
    inside=st.lists(some(PATTERNS), max_size=2), outside=st.lists(st.sampled_from(PATTERNS), max_size=2), topic=topics
)
def test_topics_are_found_exactly_when_there_are_any(
    inside: list[tuple[str, ...]], outside: list[str], topic: str
) -> None:
    def fits(text: str) -> bool:
        return all(any(compile_glob(one).matches(text) for one in group) for group in inside) and not any(
            compile_glob(one).matches(text) for one in outside
        )

    found = topic_where(inside, outside)
    assert fits(found) if found is not None else not fits(topic)
    assert found is None or found.startswith("job.")


globs = st.lists(st.sampled_from(["a", "b", "/", "?", "*", "[ab]", "[^a/]", "\\*", "."]), max_size=6).map("".join)


@settings(phases=QUICK, max_examples=500, deadline=None)
@given(pattern=globs, other=globs, text=st.text("ab/*.", max_size=6))
def test_patterns_as_automata_accept_what_they_accept_when_compiled(pattern: str, other: str, text: str) -> None:
    one, two = f"job.{pattern}", f"job.{other}"
    topic = f"job.{text}"
    both = topic_where([(one,), (two,)], [])
    only = topic_where([(one,)], [two])
    matches, too = compile_glob(one).matches, compile_glob(two).matches
    assert both is None or (matches(both) and too(both))
    assert only is None or (matches(only) and not too(only))
    if matches(topic):
        assert (both if too(topic) else only) is not None


questions: st.SearchStrategy[Question] = st.one_of(
    st.builds(Equals, st.sampled_from(["", "1", "x", "true", "5"]), st.booleans()),
    st.builds(Listed, st.sets(st.sampled_from(["1", "x", "5", "nan"]), min_size=1).map(frozenset), st.booleans()),
    st.builds(Beyond, st.sampled_from([-1.0, 0.0, 4.5, 1e300]), st.booleans()),
    st.builds(Says, st.booleans()),
    st.just(Silent()),
)
values = st.one_of(st.none(), st.sampled_from(["", "1", " x", "true", "5", "NaN", "5.0", "-3", "no", "1e301"]))


@settings(phases=QUICK, max_examples=500, deadline=None)
@given(asked=st.lists(questions, max_size=4), value=values)
def test_a_label_has_a_value_exactly_when_it_can_have_one(asked: list[Question], value: str | None) -> None:
    possible, found = answer(asked)
    if possible:
        assert all(question.holds(found) for question in asked)
    else:
        assert not all(question.holds(value) for question in asked)


@settings(phases=QUICK, max_examples=120, deadline=None)
@given(request=requests)
def test_a_request_survives_being_written_down(request: PolicyRequest) -> None:
    read = request_from_dict(request_to_dict(request))
    assert msgspec.structs.asdict(read) == msgspec.structs.asdict(request)
