"""MCP: what a request calls, what a rule asks of it, and the lists that bound it (spec-safety sections 4.1 and 4.3).

A rule lists what it is about: `tools: [delete_repo]` applies to that tool and to no other. Where a request says the
same field twice in different spellings, every value counts: a rule that restricts applies when any is listed, one that
permits only when all are, so that no second spelling hides the first.
"""

from collections.abc import Callable, Mapping

import msgspec

from cordum.core.policy.document import McpLists, McpMatch
from cordum.core.policy.request import NOTHING, fold_all

FIELDS = ("server", "tool", "resource", "action")
_SPELLINGS = tuple((f"mcp.{field}", f"mcp_{field}", f"mcp{field.capitalize()}") for field in FIELDS)
LABELS = frozenset(name for names in _SPELLINGS for name in names)


class McpCall(msgspec.Struct, frozen=True):
    """What an MCP request names, each in lower case; a field it leaves out is empty."""

    server: frozenset[str] = NOTHING
    tool: frozenset[str] = NOTHING
    resource: frozenset[str] = NOTHING
    action: frozenset[str] = NOTHING

    @property
    def is_any(self) -> bool:
        """Whether this is an MCP request at all."""
        return bool(self.server or self.tool or self.resource or self.action)

    def __str__(self) -> str:
        said: list[tuple[str, frozenset[str]]] = [(field, getattr(self, field)) for field in FIELDS]
        return (
            "; ".join(f"{field} {', '.join(sorted(values))[:200]}" for field, values in said if values)
            or "no MCP request"
        )


NO_CALL = McpCall()
McpTest = Callable[[McpCall], bool]


def call_of(labels: Mapping[str, str]) -> McpCall:
    """The call that a request's labels describe; NO_CALL when it is no MCP request."""
    if LABELS.isdisjoint(labels):
        return NO_CALL
    return McpCall(*(fold_all(labels[name] for name in names if name in labels) for names in _SPELLINGS))


def match_test(match: McpMatch, *, restricts: bool) -> McpTest:
    """Whether a rule's MCP condition holds. `restricts` is whether the rule denies, asks or slows down."""
    tests: list[McpTest] = [lambda call: call.is_any]
    for field in FIELDS:
        wanted, unwanted = fold_all(getattr(match, f"{field}s")), fold_all(getattr(match, f"not_{field}s"))
        if wanted:
            tests.append(_any_of(field, wanted) if restricts else _all_of(field, wanted))
        if unwanted:
            tests.append(_beyond(field, unwanted) if restricts else _none_of(field, unwanted))
    return lambda call: all(test(call) for test in tests)


def _any_of(field: str, wanted: frozenset[str]) -> McpTest:
    return lambda call: not wanted.isdisjoint(getattr(call, field))


def _all_of(field: str, wanted: frozenset[str]) -> McpTest:
    return lambda call: bool(values := getattr(call, field)) and values <= wanted


def _none_of(field: str, unwanted: frozenset[str]) -> McpTest:
    return lambda call: unwanted.isdisjoint(getattr(call, field))


def _beyond(field: str, unwanted: frozenset[str]) -> McpTest:
    return lambda call: not (values := getattr(call, field)) or not values <= unwanted


def wanted_text(match: McpMatch) -> str:
    """A rule's condition, for explanations."""
    said = []
    for field in FIELDS:
        wanted, unwanted = getattr(match, f"{field}s"), getattr(match, f"not_{field}s")
        said += [f"{field} {', '.join(wanted)}"] if wanted else []
        said += [f"{field} not {', '.join(unwanted)}"] if unwanted else []
    return "; ".join(said) or "any MCP request"


def objector(lists: McpLists) -> Callable[[McpCall], str] | None:
    """What the lists have against a call, or an empty text; None for lists that bound nothing."""
    bounds = [
        (field, fold_all(getattr(lists, f"allow_{field}s")), fold_all(getattr(lists, f"deny_{field}s")))
        for field in FIELDS
    ]
    bounds = [(field, allowed, denied) for field, allowed, denied in bounds if allowed or denied]
    if not bounds:
        return None

    def objection(call: McpCall) -> str:
        if not call.is_any:
            return ""
        for field, allowed, denied in bounds:
            values: frozenset[str] = getattr(call, field)
            for value in sorted(values & denied):
                return f'mcp {field} "{value}" denied'
            if allowed and not (values and values <= allowed):
                value = min(values - allowed, default="")
                return f'mcp {field} "{value[:200]}" not allowed'
        return ""

    return objection
