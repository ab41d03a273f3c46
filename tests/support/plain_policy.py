"""The policy language, read plainly: every rule in turn, nothing indexed, nothing compiled, nothing remembered.

Written from the specification to compare the evaluator with; it covers what the strategies beside it can draw.
"""

import json
import math
from collections.abc import Callable
from fnmatch import fnmatchcase

from cordum.core.policy.decision import Decision
from cordum.core.policy.document import (
    Combine,
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
from cordum.core.policy.request import PolicyRequest

SEVERITY = {
    Decision.ALLOW: 0,
    Decision.ALLOW_WITH_CONSTRAINTS: 1,
    Decision.REQUIRE_APPROVAL: 2,
    Decision.THROTTLE: 3,
    Decision.DENY: 4,
}
FIELDS = ("server", "tool", "resource", "action")


def decide(document: PolicyDocument, request: PolicyRequest, exceeded: frozenset[str]) -> tuple[Decision, str]:
    """The decision and the rule that it is put down to."""
    if not request.topic.startswith("job."):
        return Decision.DENY, ""
    tenant = request.tenant or document.default_tenant or "default"
    tags = request.risk_tags
    for topic, deriver in document.risk_tag_derivers.items():
        if glob(topic, request.topic):
            tags = frozenset(deriver.default_risk_tags)
            break

    def holds(rule: Rule) -> bool:
        counted = rule.velocity is None or rule.id in exceeded
        return counted and selected(rule.selector, request) and matches(rule, request, tenant, tags)

    decision, rule_id = rules_decide(document, request, holds)
    binding = [rule for rule in document.rules if rule.invariant and SEVERITY[rule.decision] > 1]
    invariant = best([rule for rule in binding if holds(rule)], document.combine)
    if invariant is not None and SEVERITY[invariant.decision] >= SEVERITY[decision]:
        decision, rule_id = invariant.decision, invariant.id
    own = document.tenants.get(tenant)
    if own is not None and objects(own, request):
        decision = Decision.DENY
    if request.effective_config and decision is not Decision.DENY:
        safety = json.loads(request.effective_config)["safety"]
        if any(glob(pattern, request.topic) for pattern in safety["denied_topics"]):
            decision = Decision.DENY
    if decision is not Decision.DENY:
        for hit in input_hits(document, request, tenant, tags):
            if SEVERITY[hit.decision] > SEVERITY[decision]:
                decision, rule_id = hit.decision, hit.id
    return decision, rule_id


def rules_decide(
    document: PolicyDocument, request: PolicyRequest, holds: Callable[[Rule], bool]
) -> tuple[Decision, str]:
    order = {Tier.JOB: 0, Tier.WORKFLOW: 1, Tier.GLOBAL: 2}
    own = sorted((rule for rule in document.rules if not rule.invariant), key=lambda rule: order[rule.tier])
    last = [rule for rule in document.rules if rule.invariant and SEVERITY[rule.decision] <= 1]
    found = best(
        [rule for rule in own if covers(rule, request) and holds(rule)] + [rule for rule in last if holds(rule)],
        document.combine,
    )
    if found is not None:
        return found.decision, found.id
    for tier in (Tier.JOB, Tier.WORKFLOW):
        for rule in own:
            if rule.tier is tier and selected(rule.selector, request):
                return Decision.DENY, ""
    return document.default_decision or Decision.DENY, ""


def best(rules: list[Rule], combine: Combine) -> Rule | None:
    if not rules or combine is Combine.FIRST_MATCH:
        return rules[0] if rules else None
    return max(rules, key=lambda rule: SEVERITY[rule.decision])


def covers(rule: Rule, request: PolicyRequest) -> bool:
    """What permits jobs permits neither MCP requests nor edge actions unless it speaks of them."""
    if SEVERITY[rule.decision] > 1 or rule.tier is not Tier.GLOBAL:
        return True
    if request.topic == "job.edge.action":
        return "job.edge.action" in rule.match.topics
    return rule.match.mcp is not None or not any(call(request).values())


def call(request: PolicyRequest) -> dict[str, set[str]]:
    said = {}
    for field in FIELDS:
        names = (f"mcp.{field}", f"mcp_{field}", f"mcp{field.capitalize()}")
        values = {request.labels.get(name, "").strip().lower() for name in names}
        said[field] = values - {""}
    return said


def selected(selector: Selector, request: PolicyRequest) -> bool:
    labels = request.labels
    workflow = labels.get("workflow_id") or labels.get("workflow", "")
    job = labels.get("policy.attachment_id") or request.job_id or labels.get("job_id", "")
    jobs = {job, job.removeprefix("job/").removesuffix("/policy")}
    return (not selector.workflow_id or selector.workflow_id == workflow) and (
        not selector.job_id or selector.job_id in jobs
    )


def matches(rule: Rule, request: PolicyRequest, tenant: str, tags: frozenset[str]) -> bool:
    match = rule.match
    labels = request.labels
    said = labels.get("secrets_present", "")
    secrets = said in ("1",) if said else "secrets" in tags
    restricts = SEVERITY[rule.decision] > 1
    depth = number_of(labels.get("_delegation.depth", "0"))
    return all(
        [
            metadata(match.tenants, match.topics, match.capabilities, match.risk_tags, request, tenant, tags),
            folded(match.requires) <= request.requires,
            not match.pack_ids or request.pack_id in folded(match.pack_ids),
            not match.actor_ids or request.actor_id in folded(match.actor_ids),
            not match.actor_types or request.actor_type in match.actor_types,
            all(name in labels and labels[name] == value for name, value in match.labels.items()),
            not match.label_allowlist
            or any(n in labels and labels[n].lower() not in v for n, v in match.label_allowlist.items()),
            not match.label_threshold
            or any(n in labels and number_of(labels[n]) > v for n, v in match.label_threshold.items()),
            match.secrets_present is None or match.secrets_present is secrets,
            match.mcp is None or mcp_holds(match.mcp, call(request), restricts=restricts),
            not match.agent_risk_tiers or labels.get("_agent.risk_tier", "") in match.agent_risk_tiers,
            not match.agent_data_classifications
            or bool(
                set(match.agent_data_classifications) & set(labels.get("_agent.data_classifications", "").split(","))
            ),
            predicate_holds(match, depth),
            match.delegation is None or (match.delegation.forbid_delegated == (depth == 0)),
        ]
    )


def metadata(
    tenants: tuple[str, ...],
    topics: tuple[str, ...],
    capabilities: tuple[str, ...],
    risk_tags: tuple[str, ...],
    request: PolicyRequest,
    tenant: str,
    tags: frozenset[str],
) -> bool:
    return (
        (not tenants or tenant in folded(tenants))
        and (not topics or any(glob(pattern, request.topic) for pattern in topics))
        and (not capabilities or request.capability in folded(capabilities))
        and (not risk_tags or bool(folded(risk_tags) & tags))
    )


def predicate_holds(match: Match, depth: float) -> bool:
    return match.predicate != "delegation.depth > 1" or depth > 1


def mcp_holds(match: McpMatch, said: dict[str, set[str]], *, restricts: bool) -> bool:
    if not any(said.values()):
        return False
    for field, values in said.items():
        wanted, unwanted = folded(getattr(match, f"{field}s")), folded(getattr(match, f"not_{field}s"))
        if restricts:
            if wanted and not wanted & values:
                return False
            if unwanted and values and not values - unwanted:
                return False
        elif (wanted and not (values and not values - wanted)) or unwanted & values:
            return False
    return True


def objects(tenant: TenantPolicy, request: PolicyRequest) -> bool:
    topic, host = request.topic, request.labels.get("repo.host")
    return (
        any(glob(pattern, topic) for pattern in tenant.deny_topics)
        or (bool(tenant.allow_topics) and not any(glob(pattern, topic) for pattern in tenant.allow_topics))
        or mcp_objects(tenant.mcp, call(request))
        or (host is not None and host in tenant.denied_repo_hosts)
    )


def mcp_objects(lists: McpLists, said: dict[str, set[str]]) -> bool:
    if not any(said.values()):
        return False
    for field, values in said.items():
        allowed, denied = folded(getattr(lists, f"allow_{field}s")), folded(getattr(lists, f"deny_{field}s"))
        if values & denied or (allowed and (not values or values - allowed)):
            return True
    return False


def input_hits(document: PolicyDocument, request: PolicyRequest, tenant: str, tags: frozenset[str]) -> list[InputRule]:
    """What the invariants and the other rules each come to; only keywords and sizes are drawn."""
    text = request.content + b"\n" + request.prompt.encode()
    size = max(request.content_size, len(request.prompt))
    order = {Tier.JOB: 0, Tier.WORKFLOW: 1, Tier.GLOBAL: 2}
    hits = []
    for invariant in (True, False):
        rules = [rule for rule in document.input_rules if rule.enabled and rule.invariant is invariant]
        matching = [
            rule
            for rule in sorted(rules, key=lambda rule: order[rule.tier])
            if selected(rule.selector, request)
            and metadata(
                rule.match.tenants,
                rule.match.topics,
                rule.match.capabilities,
                rule.match.risk_tags,
                request,
                tenant,
                tags,
            )
            and (not rule.match.size_gt or size > rule.match.size_gt)
            and (not rule.match.keywords or any(word.encode() in text for word in rule.match.keywords))
        ]
        if matching and document.combine is Combine.DENY_OVERRIDES:
            matching = [max(matching, key=lambda rule: SEVERITY[rule.decision])]
        hits += matching[:1]
    return hits


def folded(values: tuple[str, ...]) -> set[str]:
    return {value.strip().lower() for value in values}


def glob(pattern: str, topic: str) -> bool:
    # No pattern that is drawn has anything on which Go's rules and fnmatch's differ, and no topic a slash.
    return fnmatchcase(topic, pattern)


def number_of(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -math.inf
