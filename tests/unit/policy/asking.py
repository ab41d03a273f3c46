"""Policies written in a test, and what they say about a job."""

import textwrap
from typing import Any

from cordum.core.policy.compile import CompiledPolicy, compile_policy
from cordum.core.policy.decision import Decision
from cordum.core.policy.document import PolicyDocument
from cordum.core.policy.evaluate import evaluate
from cordum.core.policy.merge import INVARIANTS, Fragment, merge
from cordum.core.policy.parse import parse_policy
from cordum.core.policy.request import policy_request

ALLOW, AWC, DENY = Decision.ALLOW, Decision.ALLOW_WITH_CONSTRAINTS, Decision.DENY
APPROVAL, THROTTLE = Decision.REQUIRE_APPROVAL, Decision.THROTTLE


def policy(text: str) -> CompiledPolicy:
    return compile_policy(parse_policy(textwrap.dedent(text).encode()))


def ask(on: CompiledPolicy, topic: str = "job.x", **fields: Any) -> tuple[Decision, str]:
    outcome = evaluate(on, policy_request(topic, tenant=fields.pop("tenant", "default"), **fields))
    return outcome.decision, outcome.rule_id


def with_invariants(base: str, invariants: str) -> CompiledPolicy:
    def document(text: str) -> PolicyDocument:
        return parse_policy(textwrap.dedent(text).encode())

    return compile_policy(merge([Fragment("", document(base)), Fragment(INVARIANTS, document(invariants))]))
