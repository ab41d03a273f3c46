"""All gates in their order; the first objection ends it."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from cordum.core.policy.decision import Decision
from cordum.core.policy.gates import paths, urls
from cordum.core.policy.gates.descriptor import ActionDescriptor, ActionKind


class Facts(msgspec.Struct, frozen=True):
    """What a gate may know besides the descriptor.

    Attributes:
        tenant: whose request it is, as the credential says.
        addresses: what the URL's host resolves to; None when nobody could tell.
    """

    tenant: str
    addresses: Sequence[str] | None = None


class Objection(msgspec.Struct, frozen=True):
    """Why an action may not go on as it is. `code` is the word of the API; `decision` is DENY or REQUIRE_APPROVAL."""

    gate: str
    decision: Decision
    code: str
    reason: str

    @property
    def rule_id(self) -> str:
        """The id under which decisions are recorded."""
        return f"actiongate.{self.gate}"


Gate = Callable[[ActionDescriptor, Facts], Objection | None]

_DESTRUCTIVE: Final = frozenset(
    {
        "delete",
        "destroy",
        "drop",
        "erase",
        "format",
        "kill",
        "overwrite",
        "prune",
        "purge",
        "remove",
        "reset",
        "revoke",
        "rm",
        "shutdown",
        "terminate",
        "truncate",
        "uninstall",
        "wipe",
    }
)
_TENANT_FILTERS: Final = ("tenant", "tenant_id")


def check(action: ActionDescriptor, facts: Facts) -> Objection | None:
    """The first gate's objection; None when every gate lets the action through to the rules."""
    for gate in _GATES:
        objection = gate(action, facts)
        if objection is not None:
            return objection
    return None


def host_to_resolve(action: ActionDescriptor) -> str:
    """The host name whose addresses the URL gate wants to know; "" when it needs none."""
    return urls.host_name(action.target_url) if action.target_url else ""


def _tenant(action: ActionDescriptor, facts: Facts) -> Objection | None:
    named = [name for name in _TENANT_FILTERS if name in action.filters]
    for name in named:
        if (action.filter_text(name) or "").strip().lower() != facts.tenant:
            return _denied("tenant", "access_denied", f"the query's {name} is not the caller's tenant")
    if action.kind is ActionKind.TENANT_QUERY:
        if action.wildcards:
            return _denied("tenant", "access_denied", "a query over tenants may not hold wildcards")
        if not named:
            return _denied("tenant", "access_denied", "the query is not limited to the caller's tenant")
    return None


def _file(action: ActionDescriptor, facts: Facts) -> Objection | None:
    if action.kind is ActionKind.FILE and not action.target_path:
        return _denied("file", "access_denied", "the action names no file")
    fault = paths.fault(action.target_path) if action.target_path else ""
    return _denied("file", "access_denied", fault) if fault else None


def _url(action: ActionDescriptor, facts: Facts) -> Objection | None:
    if action.kind is ActionKind.URL and not action.target_url:
        return _denied("url", "access_denied", "the action names no URL")
    if not action.target_url:
        return None
    fault = urls.fault(action.target_url)
    if fault:
        return _denied("url", "access_denied", fault)
    if urls.host_name(action.target_url):
        if not facts.addresses:
            return _denied("url", "RESOLVER_ERROR", "the URL's host does not resolve")
        if any(urls.is_private(address) for address in facts.addresses):
            return _denied("url", "access_denied", "the URL's host is a private address")
    return None


def _mcp(action: ActionDescriptor, facts: Facts) -> Objection | None:
    if action.kind is ActionKind.MCP_CALL and not (action.server.strip() and action.tool.strip()):
        return _denied("mcp", "access_denied", "the call names no server and tool")
    return None


def _mutation(action: ActionDescriptor, facts: Facts) -> Objection | None:
    words = action.verb.lower().replace("_", " ").replace("-", " ").replace(".", " ").split()
    if _DESTRUCTIVE.isdisjoint(words):
        return None
    return Objection("mutation", Decision.REQUIRE_APPROVAL, "require_human", f'"{action.verb}" destroys something')


def _provenance(action: ActionDescriptor, facts: Facts) -> Objection | None:
    """Only an approval that the control plane itself recorded counts, so a claim leads to a human."""
    if action.kind is not ActionKind.PROVENANCE_CHECK and action.approval_claim is None:
        return None
    return Objection(
        "provenance", Decision.REQUIRE_APPROVAL, "require_human", "an approval is claimed and has to be given here"
    )


_GATES: Final[tuple[Gate, ...]] = (_tenant, _file, _url, _mcp, _mutation, _provenance)


def _denied(gate: str, code: str, reason: str) -> Objection:
    return Objection(gate, Decision.DENY, code, reason)
