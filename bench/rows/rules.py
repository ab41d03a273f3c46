"""What a decision costs in the evaluator the kernel runs, with few and many rules, without the network around it."""

import gc
import time

import msgspec

from bench import goals
from bench.lab import Effort, Lab
from bench.rows.row import Row
from bench.stats import Run
from cordum.core.policy.compile import CompiledPolicy, compile_policy
from cordum.core.policy.decision import Decision
from cordum.core.policy.document import (
    ContentMatch,
    InputRule,
    Match,
    McpLists,
    McpMatch,
    PolicyDocument,
    Rule,
    Selector,
    TenantPolicy,
    Tier,
)
from cordum.core.policy.evaluate import evaluate
from cordum.core.policy.request import PolicyRequest, policy_request

_FEW, _USUAL, _MANY = 10, 50, 10_000
_REQUESTS = 1_000
_ROUNDS = 40
_CONFIG = b'{"safety":{"denied_topics":["job.never"]}}'
_DECISIONS = (Decision.ALLOW, Decision.DENY, Decision.REQUIRE_APPROVAL)


def policy(rules: int) -> CompiledPolicy:
    """Rules as large installations have them: about a topic, a family of topics, a capability or a tagged label."""
    return compile_policy(
        PolicyDocument(version=f"bench-{rules}", rules=tuple(_rule(number) for number in range(rules)))
    )


def _rule(number: int) -> Rule:
    matches = (
        Match(topics=(f"job.team{number}.run",)),
        Match(topics=(f"job.team{number}.batch.*",), risk_tags=("write",)),
        Match(topics=("job.*",), capabilities=(f"capability.{number}",)),
        Match(topics=("job.*",), risk_tags=("write",), labels={"system": f"system-{number}"}),
    )
    return Rule(
        id=f"rule-{number}", match=matches[number % len(matches)], decision=_DECISIONS[number % len(_DECISIONS)]
    )


def requests(rules: int) -> list[PolicyRequest]:
    """Requests for rules spread over the whole policy; every fifth is for none of them."""
    made = []
    for index in range(_REQUESTS):
        number = (index * 7919) % rules if index % 5 else rules + index
        topics = (f"job.team{number}.run", f"job.team{number}.batch.nightly", "job.shared", "job.shared")
        made.append(
            policy_request(
                topics[number % len(topics)],
                tenant="default",
                capability=f"capability.{number}",
                risk_tags=("write",),
                actor_id=f"agent-{index % 97}",
                labels={"system": f"system-{number}", "env": "dev"},
            )
        )
    return made


def _microseconds(compiled: CompiledPolicy, asked: list[PolicyRequest]) -> float:
    """CPU time of one decision."""
    started = time.thread_time()
    for request in asked:
        evaluate(compiled, request)
    return (time.thread_time() - started) / len(asked) * 1e6


async def rules_scaling(_lab: Lab, _effort: Effort) -> Run:
    few, many = policy(_FEW), policy(_MANY)
    few_asked, many_asked = requests(_FEW), requests(_MANY)
    gc.collect()
    gc.disable()
    try:
        # In turns, so that both sizes meet the same disturbances; the best pass of each is the least disturbed.
        pairs = [(_microseconds(few, few_asked), _microseconds(many, many_asked)) for _ in range(_ROUNDS)]
    finally:
        gc.enable()
    small, large = min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)
    return Run(value=large / small, extra={"us_at_10": small, "us_at_10000": large})


def whole_language(rules: int) -> CompiledPolicy:
    """As `policy`, with an invariant, rules for MCP and a workflow, a rule about content, and a tenant's bounds."""
    plain = policy(rules).document
    extra = (
        Rule(
            id="invariant",
            match=Match(labels={"path.class": "secret"}),
            decision=Decision.REQUIRE_APPROVAL,
            invariant=True,
        ),
        Rule(id="mcp", match=Match(mcp=McpMatch(tools=("drop_db",))), decision=Decision.DENY),
        Rule(
            id="workflow",
            tier=Tier.WORKFLOW,
            selector=Selector(workflow_id="deploy"),
            match=Match(labels={"env": "prod"}),
            decision=Decision.DENY,
        ),
    )
    return compile_policy(
        msgspec.structs.replace(
            plain,
            rules=(*extra, *plain.rules),
            input_rules=(InputRule(id="size", match=ContentMatch(risk_tags=("export",), size_gt=1_000)),),
            tenants={"default": TenantPolicy(deny_topics=("job.never.*",), mcp=McpLists(deny_tools=("rm",)))},
        )
    )


async def full_evaluation(_lab: Lab, _effort: Effort) -> Run:
    few, many = whole_language(_USUAL), whole_language(_MANY)
    few_asked, many_asked = (
        [msgspec.structs.replace(request, effective_config=_CONFIG) for request in requests(rules)]
        for rules in (_USUAL, _MANY)
    )
    gc.collect()
    gc.disable()
    try:
        pairs = [(_microseconds(few, few_asked), _microseconds(many, many_asked)) for _ in range(_ROUNDS)]
    finally:
        gc.enable()
    small, large = min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)
    return Run(value=small, extra={"us_at_50": small, "us_at_10000": large, "ratio": large / small})


ROWS = (
    Row(
        goals.FULL_EVALUATION,
        full_evaluation,
        warm=False,
        note="as the row below, with invariants, MCP, tiers, tenants, content size and an effective configuration",
    ),
    Row(
        goals.RULES,
        rules_scaling,
        warm=False,
        note="CPU of one decision, in process; rules by topic, family, capability, label",
    ),
)
