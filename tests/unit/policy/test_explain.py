"""Explanations, and the index as far as it can be seen from outside."""

import time

import pytest

from cordum.core.policy.compile import CompiledPolicy, compile_policy
from cordum.core.policy.decision import Decision
from cordum.core.policy.document import Match, PolicyDocument, Rule
from cordum.core.policy.evaluate import evaluate, explain
from cordum.core.policy.outcome import DecidedBy
from cordum.core.policy.request import PolicyRequest, policy_request


def compiled(*matches: Match, decision: Decision = Decision.ALLOW) -> CompiledPolicy:
    rules = tuple(Rule(id=f"r{n}", match=match, decision=decision) for n, match in enumerate(matches))
    return compile_policy(PolicyDocument(rules=rules))


def test_an_explanation_lists_what_was_tried_up_to_the_match() -> None:
    policy = compiled(
        Match(topics=("job.*",), label_threshold={"n": 5}),
        Match(topics=("job.other",)),
        Match(topics=("job.a",)),
        Match(topics=("job.*",)),
    )
    explanation = explain(policy, policy_request("job.a", labels={"n": "4"}))

    assert [(note.rule_id, note.position, note.matched) for note in explanation.tried] == [
        ("r0", 1, False),
        ("r2", 3, True),
    ]
    assert explanation.tried[0].matcher == "label_threshold"
    assert (explanation.tried[0].wanted, explanation.tried[0].observed) == ("n > 5", 'n "4"')
    assert (explanation.rules, explanation.candidates) == (4, 3)


def test_a_near_miss_is_shown() -> None:
    policy = compiled(Match(topics=("job.*",), requires=("gpu",), actor_types=("human",)))
    explanation = explain(policy, policy_request("job.a", requires=["GPU"], actor_type="service"))

    (note,) = explanation.tried
    assert (note.matcher, note.wanted, note.observed) == ("actor_types", "human", "service")
    assert explanation.outcome.decided_by is DecidedBy.DEFAULT


@pytest.mark.parametrize(
    ("match", "observed"),
    [
        (Match(labels={"env": "x"}), "absent"),
        (Match(label_allowlist={"env": ("x",)}), "env absent"),
        (Match(label_threshold={"n": 5}), "n absent"),
        (Match(secrets_present=True), "false"),
        (Match(requires=("a",)), "b, c"),
        (Match(pack_ids=("p",)), ""),
    ],
)
def test_every_condition_says_what_it_saw(match: Match, observed: str) -> None:
    rule = compiled(match).rules[0]
    assert rule.matchers[0].observe(policy_request("job.a", requires=["c", "b"])) == observed
    assert not rule.matchers[0].test(policy_request("job.a", requires=["c", "b"]))


def test_a_long_list_of_misses_is_cut() -> None:
    policy = compiled(*[Match(topics=("job.*",), label_threshold={"n": n}) for n in range(300)])
    explanation = explain(policy, policy_request("job.a", labels={"n": "-1"}))

    assert len(explanation.tried) == 100
    assert explanation.candidates == 300


KINDS = {
    "topic": lambda n: Match(topics=(f"job.t{n}.*",)),
    "exact topic": lambda n: Match(topics=(f"job.t{n}.x",)),
    "capability": lambda n: Match(topics=("job.*",), capabilities=(f"c{n}",)),
    "risk tag": lambda n: Match(topics=("job.*",), risk_tags=(f"g{n}",)),
    "label": lambda n: Match(topics=("job.*",), labels={"k": f"v{n}"}),
    "tenant": lambda n: Match(tenants=(f"t{n}",)),
    "requirement": lambda n: Match(requires=("gpu", f"q{n}")),
    "actor": lambda n: Match(actor_ids=(f"a{n}",)),
    "pack": lambda n: Match(pack_ids=(f"p{n}",)),
}


def request_for(n: int) -> PolicyRequest:
    return policy_request(
        f"job.t{n}.x",
        tenant=f"t{n}",
        capability=f"c{n}",
        risk_tags=[f"g{n}", "other"],
        requires=["gpu", f"q{n}"],
        labels={"k": f"v{n}", "other": "1"},
        actor_id=f"a{n}",
        pack_id=f"p{n}",
    )


@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_rules_that_differ_in_something_leave_one_candidate(kind: str) -> None:
    policy = compiled(*map(KINDS[kind], range(10_000)))

    assert len(policy.main.index.candidates(request_for(9_999))) == 1
    assert evaluate(policy, request_for(9_999)).rule_id == "r9999"


@pytest.mark.alone
@pytest.mark.seed("S197")
@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_rules_cost_at_most_about_twice_what_ten_do(kind: str) -> None:
    def cost(rules: int) -> float:
        policy, request = compiled(*map(KINDS[kind], range(rules))), request_for(rules - 1)
        return min(_timed(policy, request) for _ in range(60))

    few, many = cost(10), cost(10_000)
    # A microsecond for the cache misses of a large heap on a busy machine.
    assert many < 2 * few + 1e-6
    assert many < 25e-6


def _timed(policy: CompiledPolicy, request: PolicyRequest) -> float:
    started = time.process_time_ns()
    for _ in range(500):
        evaluate(policy, request)
    return (time.process_time_ns() - started) / 500e9
