"""What bounds a tenant, whatever the rules allow (spec-safety 4.4)."""

from collections.abc import Callable

import msgspec

from cordum.core.policy.decision import Constraints, Decision
from cordum.core.policy.document import Match, Rule, TenantPolicy
from cordum.core.policy.glob import compile_glob
from cordum.core.policy.matchers import any_topic
from cordum.core.policy.mcp import McpCall, call_of, objector
from cordum.core.policy.outcome import Outcome
from cordum.core.policy.request import PolicyRequest, fold

REPO_HOST = "repo.host"


class TenantBounds(msgspec.Struct, frozen=True, eq=False):
    """One tenant's lists as tests. `max_concurrent_jobs` 0 means no limit."""

    name: str
    denied: tuple[tuple[str, Callable[[str], bool]], ...]
    allowed: Callable[[str], bool] | None
    mcp: Callable[[McpCall], str] | None
    denied_hosts: Callable[[str], bool] | None
    allowed_hosts: Callable[[str], bool] | None
    max_concurrent_jobs: int

    def objection(self, request: PolicyRequest) -> str:
        """Why the tenant may not have this job, or an empty text."""
        topic = request.topic
        for pattern, matches in self.denied:
            if matches(topic):
                return f'topic "{pattern}" denied by tenant policy'
        if self.allowed is not None and not self.allowed(topic):
            return f'topic not among those allowed to tenant "{self.name}"'
        if self.mcp is not None and (objection := self.mcp(call_of(request.labels))):
            return objection
        if (self.denied_hosts or self.allowed_hosts) and REPO_HOST in request.labels:
            return self._objection_to_host(fold(request.labels[REPO_HOST]).rstrip("."))
        return ""

    def _objection_to_host(self, host: str) -> str:
        if self.denied_hosts is not None and self.denied_hosts(host):
            return f'repo host "{host[:200]}" denied by tenant policy'
        if self.allowed_hosts is not None and not self.allowed_hosts(host):
            return f'repo host "{host[:200]}" not allowed by tenant policy'
        return ""


def bounds_of(name: str, tenant: TenantPolicy) -> TenantBounds:
    """Raises BadGlobError for a pattern that `parse_policy` would have refused."""
    return TenantBounds(
        name,
        tuple((pattern, any_topic((pattern,))) for pattern in tenant.deny_topics),
        any_topic(tenant.allow_topics) if tenant.allow_topics else None,
        objector(tenant.mcp),
        _hosts(tenant.denied_repo_hosts),
        _hosts(tenant.allowed_repo_hosts),
        tenant.max_concurrent_jobs,
    )


def _hosts(patterns: tuple[str, ...]) -> Callable[[str], bool] | None:
    """`*.example.com` covers the hosts below example.com, at any depth; a host in the list covers itself."""
    if not patterns:
        return None
    tests = [compile_glob(fold(pattern).rstrip(".")).matches for pattern in patterns]
    return lambda host: any(test(host) for test in tests)


def limited(outcome: Outcome, limit: int) -> Outcome:
    """The tenant's limit on concurrent jobs joins the rule's; the smaller one counts."""
    budgets = outcome.constraints.budgets
    smaller = min(filter(None, (budgets.max_concurrent_jobs, limit)))
    constraints: Constraints = msgspec.structs.replace(
        outcome.constraints, budgets=msgspec.structs.replace(budgets, max_concurrent_jobs=smaller)
    )
    decision = Decision.ALLOW_WITH_CONSTRAINTS if outcome.decision is Decision.ALLOW else outcome.decision
    return msgspec.structs.replace(outcome, decision=decision, constraints=constraints)


def rules_of_tenants(tenants: dict[str, TenantPolicy]) -> tuple[Rule, ...]:
    """A document without rules is decided by its tenants' lists alone (spec-safety 4.3, legacy mode)."""
    rules: list[Rule] = []
    for name, tenant in tenants.items():
        for number, pattern in enumerate(tenant.deny_topics, start=1):
            match = Match(tenants=(name,), topics=(pattern,))
            reason = f'topic "{pattern}" denied by tenant policy'
            rules.append(Rule(id=f"legacy:{name}:deny:{number}", match=match, decision=Decision.DENY, reason=reason))
        for number, pattern in enumerate(tenant.allow_topics, start=1):
            match = Match(tenants=(name,), topics=(pattern,))
            rules.append(Rule(id=f"legacy:{name}:allow:{number}", match=match, decision=Decision.ALLOW))
    return tuple(rules)
