"""A policy document as it was written: frozen, typed, not yet compiled (spec-safety section 4)."""

from enum import StrEnum

import msgspec

from cordum.core.output.finding import Severity
from cordum.core.output.scope import Scope
from cordum.core.policy.decision import (
    NO_CONSTRAINTS,
    ONE_APPROVAL,
    ApprovalTerms,
    Constraints,
    Decision,
    OutputDecision,
    Remediation,
)

DEFAULT_TENANT = "default"
MAX_SCAN_BYTES = 2 * 1024 * 1024
"""How much of a job's content is scanned unless `input_policy.max_scan_bytes` says otherwise."""


class Tier(StrEnum):
    """How far a rule reaches. The more specific tier is asked first (spec-safety 4.3)."""

    GLOBAL = "global"
    WORKFLOW = "workflow"
    JOB = "job"


class Selector(msgspec.Struct, frozen=True, kw_only=True):
    """Which workflow, job or edge session a rule is attached to; what is given must all hold."""

    workflow_id: str = ""
    job_id: str = ""
    session_id: str = ""


EVERYWHERE = Selector()


class Combine(StrEnum):
    """Which of several matching rules counts: the first, or the strictest."""

    FIRST_MATCH = "first_match"
    DENY_OVERRIDES = "deny_overrides"


class FailMode(StrEnum):
    """What to do with content that cannot be looked at: treat it as a hit, or let it pass."""

    CLOSED = "closed"
    OPEN = "open"


class McpMatch(msgspec.Struct, frozen=True, kw_only=True):
    """Matches MCP requests only. A list that is given must hold the request's value, a `not_` list must not."""

    servers: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    not_servers: tuple[str, ...] = ()
    not_tools: tuple[str, ...] = ()
    not_resources: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()


class McpLists(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds the MCP requests of a tenant. An allow list denies requests that leave its field out, too."""

    allow_servers: tuple[str, ...] = ()
    deny_servers: tuple[str, ...] = ()
    allow_tools: tuple[str, ...] = ()
    deny_tools: tuple[str, ...] = ()
    allow_resources: tuple[str, ...] = ()
    deny_resources: tuple[str, ...] = ()
    allow_actions: tuple[str, ...] = ()
    deny_actions: tuple[str, ...] = ()


NO_LISTS = McpLists()


class DelegationMatch(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule asks of the chain a job was delegated through. A scoped condition never matches a direct call."""

    max_depth: int | None = None
    issuers: tuple[str, ...] = ()
    require_issuer: str = ""
    required_scope: tuple[str, ...] = ()
    forbid_delegated: bool = False
    delegation_required: bool = False


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule asks of a job. What is given must all hold; what is empty asks nothing."""

    tenants: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    risk_tags: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    pack_ids: tuple[str, ...] = ()
    actor_ids: tuple[str, ...] = ()
    actor_types: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    label_allowlist: dict[str, tuple[str, ...]] = {}
    label_threshold: dict[str, float] = {}
    secrets_present: bool | None = None
    mcp: McpMatch | None = None
    agent_risk_tiers: tuple[str, ...] = ()
    agent_data_classifications: tuple[str, ...] = ()
    predicate: str = ""
    delegation: DelegationMatch | None = None


class Velocity(msgspec.Struct, frozen=True, kw_only=True):
    """The rule applies only beyond `max_requests` within the last `window_seconds`, counted per value of `key`."""

    max_requests: int
    window_seconds: int
    key: str


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule. `line` is where it stands in its file (0 when it was not read from one), `bundle` what brought it.

    `named` says whether the author gave the id. An `invariant` binds whatever the other rules say (spec-safety 4.9).
    """

    id: str
    match: Match = Match()
    decision: Decision = Decision.DENY
    reason: str = ""
    constraints: Constraints = NO_CONSTRAINTS
    remediations: tuple[Remediation, ...] = ()
    line: int = 0
    tier: Tier = Tier.GLOBAL
    selector: Selector = EVERYWHERE
    velocity: Velocity | None = None
    approval: ApprovalTerms = ONE_APPROVAL
    retry_after_ms: int = 0
    named: bool = True
    bundle: str = ""
    invariant: bool = False


class ContentMatch(msgspec.Struct, frozen=True, kw_only=True):
    """What a content rule asks of a job and of its content; all that is given must hold.

    `size_gt` is in bytes, 0 asks nothing. `has_error` concerns results only. `scanners` has the detectors too, by
    their proper names.
    """

    tenants: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    risk_tags: tuple[str, ...] = ()
    content_types: tuple[str, ...] = ()
    scanners: tuple[str, ...] = ()
    content_patterns: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    size_gt: int = 0
    has_error: bool | None = None
    scope: Scope | None = None

    @property
    def reads_content(self) -> bool:
        """Whether the content itself must be looked at, not only its size and type."""
        return bool(self.scanners or self.content_patterns or self.keywords or self.scope)


class InputRule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule about what goes into a job; it can only tighten. `decision` is DENY or REQUIRE_APPROVAL."""

    id: str
    tier: Tier = Tier.GLOBAL
    selector: Selector = EVERYWHERE
    enabled: bool = True
    severity: Severity = Severity.HIGH
    description: str = ""
    match: ContentMatch = ContentMatch()
    decision: Decision = Decision.DENY
    reason: str = ""
    line: int = 0
    named: bool = True
    bundle: str = ""
    invariant: bool = False


class OutputRule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule about what comes out of a job (spec-safety section 10)."""

    id: str
    tier: Tier = Tier.GLOBAL
    selector: Selector = EVERYWHERE
    enabled: bool = True
    severity: Severity = Severity.HIGH
    description: str = ""
    match: ContentMatch = ContentMatch()
    decision: OutputDecision = OutputDecision.QUARANTINE
    reason: str = ""
    line: int = 0
    named: bool = True
    bundle: str = ""
    invariant: bool = False


class InputPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How input rules are applied. `given` names the keys that the author wrote, which merging goes by."""

    enabled: bool = True
    fail_mode: FailMode = FailMode.CLOSED
    max_scan_bytes: int = MAX_SCAN_BYTES
    given: tuple[str, ...] = ()


class OutputPolicySettings(msgspec.Struct, frozen=True, kw_only=True):
    """`enabled` None and `fail_mode` "" mean that the author said nothing of them."""

    enabled: bool | None = None
    fail_mode: str = ""


class RequireHuman(msgspec.Struct, frozen=True, kw_only=True):
    """When an input rule's denial becomes a question to a human: it was not grave, not certain, or only of a prompt."""

    min_severity_for_deny: Severity | None = None
    min_confidence_for_deny: float = 0.0
    downgrade_when_prompt_only: bool = False


class TenantPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds one tenant, whatever the rules allow. `max_concurrent_jobs` 0 means no limit."""

    allow_topics: tuple[str, ...] = ()
    deny_topics: tuple[str, ...] = ()
    max_concurrent_jobs: int = 0
    allowed_repo_hosts: tuple[str, ...] = ()
    denied_repo_hosts: tuple[str, ...] = ()
    mcp: McpLists = NO_LISTS


class McpOpRule(msgspec.Struct, frozen=True, kw_only=True):
    """Risk tags of MCP operations whose name (`tool` or `server.tool`) matches `op_glob` and that carry `labels`."""

    op_glob: str
    labels: dict[str, str] = {}
    tags: tuple[str, ...] = ()


class RiskDeriver(msgspec.Struct, frozen=True, kw_only=True):
    """Where the risk tags of a topic come from instead of from the client (spec-safety 4.7)."""

    deriver: str = ""
    mcp_op_rules: tuple[McpOpRule, ...] = ()
    default_risk_tags: tuple[str, ...] = ()


class PolicyTest(msgspec.Struct, frozen=True, kw_only=True):
    """A test that travels with the policy. `request` has the shape of a policy check's body."""

    name: str
    request: dict[str, object] = {}
    expect: dict[str, object] = {}
    line: int = 0


class TierDefault(msgspec.Struct, frozen=True, kw_only=True):
    """What decides when nothing matched a job that the selector picks."""

    tier: Tier
    selector: Selector
    decision: Decision


class PolicyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One policy, or several merged. `default_decision` is ALLOW or DENY and decides what no rule matches; None denies.

    `tier` and `selector` are those of the file; each rule carries its own. `tier_defaults` are the defaults of the
    attachments.
    """

    version: str = ""
    tier: Tier = Tier.GLOBAL
    selector: Selector = EVERYWHERE
    default_tenant: str = ""
    default_decision: Decision | None = None
    tier_defaults: tuple[TierDefault, ...] = ()
    combine: Combine = Combine.FIRST_MATCH
    rules: tuple[Rule, ...] = ()
    input_policy: InputPolicy = InputPolicy()
    input_rules: tuple[InputRule, ...] = ()
    output_policy: OutputPolicySettings | None = None
    output_rules: tuple[OutputRule, ...] = ()
    tenants: dict[str, TenantPolicy] = {}
    require_human: RequireHuman = RequireHuman()
    risk_tag_derivers: dict[str, RiskDeriver] = {}
    tests: tuple[PolicyTest, ...] = ()

    @property
    def tenant_of_nobody(self) -> str:
        """The tenant of a request that names none."""
        return self.default_tenant or DEFAULT_TENANT
